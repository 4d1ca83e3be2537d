//! The planted races. Each body returns whether all went well, and does in tokio's own order of tasks.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex as StdMutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, Semaphore, mpsc, oneshot},
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};

/// A race, by what is wrong.
pub(crate) struct Race {
    pub(crate) name: &'static str,
    pub(crate) body: fn() -> Body,
}

type Body = Pin<Box<dyn Future<Output = bool> + Send>>;

const SECOND: Duration = Duration::from_secs(1);

macro_rules! races {
    ($($name:literal => $body:ident,)*) => {
        vec![$(Race { name: $name, body: || Box::pin($body()) },)*]
    };
}

/// Every one.
pub(crate) fn all() -> Vec<Race> {
    races! {
        "read, await, write back" => lost_update,
        "check, await, act" => double_init,
        "notified before it listens" => lost_wake_up,
        "peeked, then taken twice" => double_take,
        "the first spawned runs first" => spawn_order,
        "what is ready is had in one poll" => one_poll,
        "a lock that is never held for long" => try_lock_gives_up,
        "one turn is enough to drain" => flag_before_last_item,
        "an empty channel is done" => close_before_send,
        "a timeout means it did not happen" => timer_tie,
        "joined in the order of spawning" => join_order,
        "an older answer overwrites a newer" => stale_write,
        "counted in by the task itself" => late_count,
        "two writes seen as one" => torn_read,
        "two locks in two orders" => lock_order,
    }
}

/// A small await of tokio's, as there are many in real code: it yields only if it must.
async fn pass(gate: &Semaphore) {
    drop(gate.acquire().await);
}

fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(100))
}

async fn lost_update() -> bool {
    let (counter, gate) = (Arc::new(AtomicU32::new(0)), gate());
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let (counter, gate) = (counter.clone(), gate.clone());
        tasks.spawn(async move {
            let read = counter.load(Relaxed);
            pass(&gate).await;
            counter.store(read + 1, Relaxed);
        });
    }
    while tasks.join_next().await.is_some() {}
    counter.load(Relaxed) == 3
}

async fn double_init() -> bool {
    let (made, is_made, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)), gate());
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let (made, is_made, gate) = (made.clone(), is_made.clone(), gate.clone());
        tasks.spawn(async move {
            if !is_made.load(Relaxed) {
                pass(&gate).await;
                made.fetch_add(1, Relaxed);
                is_made.store(true, Relaxed);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    made.load(Relaxed) == 1
}

async fn lost_wake_up() -> bool {
    let (ready, notify, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()), gate());
    let waiter = {
        let (ready, notify, gate) = (ready.clone(), notify.clone(), gate.clone());
        tokio::spawn(async move {
            if !ready.load(Relaxed) {
                pass(&gate).await;
                notify.notified().await;
            }
        })
    };
    let waker = tokio::spawn(async move {
        ready.store(true, Relaxed);
        notify.notify_waiters();
    });
    drop(waker.await);
    timeout(SECOND, waiter).await.is_ok()
}

async fn double_take() -> bool {
    let (slot, gate) = (Arc::new(StdMutex::new(Some(7))), gate());
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let (slot, gate) = (slot.clone(), gate.clone());
        tasks.spawn(async move {
            let is_there = slot.lock().expect("no holder panics").is_some();
            if !is_there {
                return true;
            }
            pass(&gate).await;
            slot.lock().expect("no holder panics").take().is_some()
        });
    }
    let mut well = true;
    while let Some(taken) = tasks.join_next().await {
        well &= taken.unwrap_or(false);
    }
    well
}

async fn spawn_order() -> bool {
    let (loaded, gate) = (Arc::new(AtomicBool::new(false)), gate());
    let load = {
        let loaded = loaded.clone();
        tokio::spawn(async move {
            pass(&gate).await;
            loaded.store(true, Relaxed);
        })
    };
    let read = tokio::spawn(async move { loaded.load(Relaxed) });
    let well = read.await.unwrap_or(false);
    drop(load.await);
    well
}

async fn one_poll() -> bool {
    let (sender, mut items) = mpsc::channel(8);
    for _ in 0..4 {
        let _ = sender.send(()).await;
    }
    let consumer = tokio::spawn(async move {
        let mut taken = 0;
        while let Poll::Ready(Some(())) = poll_fn(|cx| Poll::Ready(items.poll_recv(cx))).await {
            taken += 1;
        }
        taken
    });
    consumer.await.unwrap_or(0) == 4
}

async fn try_lock_gives_up() -> bool {
    let (account, gate) = (Arc::new(Mutex::new(0)), gate());
    let mut tasks = JoinSet::new();
    let (slow, held) = (account.clone(), gate.clone());
    tasks.spawn(async move {
        let mut account = slow.lock().await;
        pass(&held).await;
        *account += 1;
    });
    let quick = account.clone();
    tasks.spawn(async move {
        if let Ok(mut account) = quick.try_lock() {
            *account += 1;
        }
    });
    while tasks.join_next().await.is_some() {}
    let sum = *account.lock().await;
    sum == 2
}

async fn flag_before_last_item() -> bool {
    let (sender, mut items) = mpsc::unbounded_channel();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let consumer = {
        let (stop, done) = (stop.clone(), done.clone());
        tokio::spawn(async move {
            while let Some(()) = items.recv().await {
                if stop.load(Relaxed) {
                    return;
                }
                done.fetch_add(1, Relaxed);
            }
        })
    };
    for _ in 0..3 {
        let _ = sender.send(());
    }
    yield_now().await;
    stop.store(true, Relaxed);
    drop(sender);
    drop(consumer.await);
    done.load(Relaxed) == 3
}

async fn close_before_send() -> bool {
    let (sender, mut items) = mpsc::channel(8);
    let producer = tokio::spawn(async move {
        let mut sent = 0;
        for item in 0..4 {
            sent += u32::from(sender.send(item).await.is_ok());
        }
        sent
    });
    let consumer = tokio::spawn(async move {
        while items.try_recv().is_ok() {}
        items.close();
    });
    drop(consumer.await);
    producer.await.unwrap_or(0) == 4
}

async fn timer_tie() -> bool {
    let limit = Duration::from_millis(10);
    let done = Arc::new(AtomicBool::new(false));
    let (sender, answer) = oneshot::channel();
    let work = {
        let done = done.clone();
        tokio::spawn(async move {
            sleep(limit).await;
            done.store(true, Relaxed);
            let _ = sender.send(());
        })
    };
    yield_now().await;
    let in_time = timeout(limit, answer).await.is_ok();
    drop(work.await);
    // Whoever is told that it took too long undoes what was never done.
    in_time == done.load(Relaxed)
}

async fn join_order() -> bool {
    let gate = gate();
    let mut tasks = JoinSet::new();
    for number in 0..3 {
        let gate = gate.clone();
        tasks.spawn(async move {
            pass(&gate).await;
            number
        });
    }
    let mut joined = Vec::new();
    while let Some(number) = tasks.join_next().await {
        joined.extend(number.ok());
    }
    joined == [0, 1, 2]
}

async fn stale_write() -> bool {
    let (origin, cache, gate) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(0)), gate());
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let (origin, cache, gate) = (origin.clone(), cache.clone(), gate.clone());
        tasks.spawn(async move {
            let version = origin.fetch_add(1, Relaxed);
            pass(&gate).await;
            cache.store(version, Relaxed);
        });
    }
    while tasks.join_next().await.is_some() {}
    cache.load(Relaxed) == 2
}

async fn late_count() -> bool {
    let (running, done, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), gate());
    for _ in 0..3 {
        let (running, done, gate) = (running.clone(), done.clone(), gate.clone());
        tokio::spawn(async move {
            pass(&gate).await;
            running.fetch_add(1, Relaxed);
            sleep(Duration::from_millis(5)).await;
            done.fetch_add(1, Relaxed);
            running.fetch_sub(1, Relaxed);
        });
    }
    // Long enough for any of them to have begun, one would think.
    for _ in 0..3 {
        yield_now().await;
    }
    while running.load(Relaxed) > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    done.load(Relaxed) == 3
}

async fn torn_read() -> bool {
    let (left, right, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), gate());
    let writer = {
        let (left, right) = (left.clone(), right.clone());
        tokio::spawn(async move {
            for _ in 0..3 {
                left.fetch_add(1, Relaxed);
                pass(&gate).await;
                right.fetch_add(1, Relaxed);
            }
        })
    };
    let reader = tokio::spawn(async move { left.load(Relaxed) == right.load(Relaxed) });
    let well = reader.await.unwrap_or(false);
    drop(writer.await);
    well
}

async fn lock_order() -> bool {
    let (one, other) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
    let mut tasks = JoinSet::new();
    for (first, second) in [(one.clone(), other.clone()), (other, one)] {
        tasks.spawn(async move {
            let _first = first.lock().await;
            let _second = second.lock().await;
        });
    }
    timeout(SECOND, async { while tasks.join_next().await.is_some() {} }).await.is_ok()
}
