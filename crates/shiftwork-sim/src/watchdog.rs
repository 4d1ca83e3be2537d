//! Finds a world that does not go on: a poll that takes real time, or never returns.
//!
//! Virtual time cannot tell, since it stands still during a poll; rules L2 and L3 speak only when a poll comes back. So a thread looks
//! from outside, in real time, at every world of the process: one poll that lasts too long is named with its task and
//! the world's plan. Nothing can end it from outside; what follows is the program's affair, as a rule its own end.
//!
//! A poll that comes back, and took real time all the same, is told in its world's outcome where that is asked for
//! ([`Options::poll_max_real`](crate::world::Options::poll_max_real)).
//!
//! It is off until a program asks for it, since a machine that is busy, or a debugger, makes every poll look long. It sees
//! polls only with `--cfg tokio_unstable`.

use std::{
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{Plan, world::Shared};

/// A world that does not go on.
#[derive(Debug, Clone)]
pub struct Stuck {
    /// Its plan, which has its scenario and its seed.
    pub plan: Plan,
    /// The task whose poll does not return, and where it was spawned.
    pub task: String,
    /// How long the poll has lasted at least, in real time.
    pub lasted: Duration,
}

/// What a program does about a world that does not go on.
type Act = Box<dyn Fn(&Stuck) + Send>;

/// The worlds that are watched, once somebody watches.
static WATCHED: OnceLock<Mutex<Vec<Watched>>> = OnceLock::new();

/// How often a poll is looked at before it has lasted too long.
const LOOKS: u32 = 8;

/// One world.
struct Watched {
    pulse: Weak<Pulse>,
    shared: Weak<Shared>,
    plan: Plan,
    /// The poll that ran at the last look, and how often it was the same.
    seen: u64,
    looks: u32,
}

/// What a world shows of its polls: their number, odd while one runs.
#[derive(Debug, Default)]
pub(crate) struct Pulse(AtomicU64);

impl Pulse {
    /// A poll begins or ends.
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches every world of this process that begins from here on: `act` is told once of each whose poll has lasted `after`,
/// in real time. The first call of a process counts.
///
/// # Errors
///
/// When the thread that looks cannot be started.
pub fn arm(after: Duration, act: impl Fn(&Stuck) + Send + 'static) -> std::io::Result<()> {
    if WATCHED.set(Mutex::default()).is_err() {
        return Ok(());
    }
    let act: Act = Box::new(act);
    thread::Builder::new().name("watchdog".to_owned()).spawn(move || look_on(after, &act)).map(drop)
}

/// A world begins; its polls beat the pulse that this returns, if somebody watches.
pub(crate) fn watch(plan: &Plan, shared: &Arc<Shared>) -> Option<Arc<Pulse>> {
    let pulse = Arc::new(Pulse::default());
    let watched = Watched {
        pulse: Arc::downgrade(&pulse),
        shared: Arc::downgrade(shared),
        plan: plan.clone(),
        seen: 0,
        looks: 0,
    };
    WATCHED.get()?.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    Some(pulse)
}

fn look_on(after: Duration, act: &Act) {
    // Nobody ever rings: it is a sleep that the house allows.
    let (mutex, never) = (Mutex::new(()), Condvar::new());
    let mut guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        guard = never.wait_timeout(guard, after / LOOKS).unwrap_or_else(PoisonError::into_inner).0;
        let stuck: Vec<Stuck> = {
            let Some(worlds) = WATCHED.get() else { return };
            let mut worlds = worlds.lock().unwrap_or_else(PoisonError::into_inner);
            worlds.retain(|world| world.pulse.strong_count() > 0);
            worlds.iter_mut().filter_map(|world| world.look(after)).collect()
        };
        for stuck in &stuck {
            act(stuck);
        }
    }
}

impl Watched {
    fn look(&mut self, after: Duration) -> Option<Stuck> {
        let beats = self.pulse.upgrade()?.0.load(Ordering::Relaxed);
        if beats != self.seen || beats.is_multiple_of(2) {
            (self.seen, self.looks) = (beats, 0);
            return None;
        }
        self.looks += 1;
        // The poll may have begun right after the look before the first that saw it; it has lasted this long at least.
        if self.looks != LOOKS {
            return None;
        }
        let task = self.shared.upgrade().and_then(|shared| shared.polled_task());
        let task = task.unwrap_or_else(|| "a task that could not be told".to_owned());
        Some(Stuck { plan: self.plan.clone(), task, lasted: after })
    }
}

#[cfg(all(test, tokio_unstable))]
mod tests {
    use std::sync::mpsc;

    use shiftwork::{Context, Failure, Schedule, Signal, Tick};

    use crate::{Script, millis, secs};

    #[test]
    fn a_poll_that_does_not_return_is_told_with_its_task_and_its_plan() {
        let (told, stuck) = mpsc::channel();
        super::arm(millis(80), move |stuck| drop(told.send(stuck.clone()))).unwrap();
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Arc::new(std::sync::Mutex::new(released));
        let world = std::thread::spawn(move || {
            Script::new().seed(17).at(secs(5), Signal::Terminate).run_once(move |world| {
                world.node("node", move |node| {
                    let released = released.clone();
                    let hang = move |_: Tick, _: Context| {
                        // A wait without a timeout is for another thread, and so a real one.
                        let _released = released.lock().unwrap().recv();
                        async { Ok::<(), Failure>(()) }
                    };
                    node.host().worker("hang", Schedule::every(secs(10)), hang).run_until_signal()
                });
            })
        });
        let found = stuck.recv_timeout(secs(60)).unwrap();
        assert_eq!((found.plan.seed, found.lasted), (17, millis(80)));
        assert!(found.task.contains("spawned at "), "{}", found.task);
        drop(release);
        world.join().unwrap().assert_rules_kept();
    }
}
