//! What an application has beneath it, told as lines: in which order its tasks go on, when its timers fire, what runs beside it, and what
//! becomes of a call.
//!
//! None of it depends on how fast a machine is: what must come first is many milliseconds earlier, or comes first by rule.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use shiftwork::Failure;
use shiftwork_sim::millis;
use tokio::{task::JoinSet, time::Instant};

use super::Outside;

/// Three tasks go to the back of the queue after each turn. Then one that never has to wait is cut short for the one behind it.
pub(super) async fn takes_turns(outside: &impl Outside) {
    let mut tasks = JoinSet::new();
    for task in 1..=3 {
        let outside = outside.clone();
        tasks.spawn(async move {
            for turn in 1..=3 {
                outside.hears(format!("task {task} has turn {turn}"));
                to_the_back().await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}

    let received = Arc::new(AtomicU32::new(0));
    let counted = received.clone();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..300 {
        sender.send(number).expect("the channel has its receiver");
    }
    drop(sender);
    tasks.spawn(async move {
        while receiver.recv().await.is_some() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let outside = outside.clone();
    tasks.spawn(async move {
        let so_far = received.load(Ordering::Relaxed);
        outside.hears(format!("the task behind it goes on when it has received {so_far} of 300"));
    });
    while tasks.join_next().await.is_some() {}
}

/// Lets every task go on that can.
async fn to_the_back() {
    let mut was_there = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut was_there, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The longest wait begins first, and none of them is a whole number of milliseconds.
pub(super) async fn waits(outside: &impl Outside) {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for asked in [40_400, 25_300, 10_200].map(Duration::from_micros) {
        let outside = outside.clone();
        tasks.spawn(async move {
            tokio::time::sleep(asked).await;
            let when = if began.elapsed() < asked { "before its time" } else { "not before its time" };
            outside.hears(format!("the wait for {asked:?} is over, {when}"));
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Work on a blocking thread takes longer than a task beside it.
pub(super) async fn blocks_a_thread(outside: &impl Outside) -> Result<(), Failure> {
    let said = outside.clone();
    let work = tokio::task::spawn_blocking(move || {
        // Nothing is ever sent.
        let (_sender, receiver) = mpsc::channel::<()>();
        let _timed_out = receiver.recv_timeout(millis(100));
        said.hears("the blocking work is done".to_owned());
    });
    tokio::time::sleep(millis(5)).await;
    outside.hears("a task goes on beside the blocking work".to_owned());
    work.await?;
    outside.hears("what came of it is there".to_owned());
    Ok(())
}

/// How many calls have had their effect, once this one has.
pub(super) async fn calls(outside: &impl Outside) -> Result<(), Failure> {
    let effects = outside.call().await?;
    outside.hears(format!("calls that had their effect: {effects}"));
    Ok(())
}
