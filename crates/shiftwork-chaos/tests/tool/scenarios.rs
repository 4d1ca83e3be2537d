//! Small scenarios: one that keeps every rule, and one for each thing that a campaign must notice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::Poll,
};

use shiftwork::{Context, Failure, Schedule, Tick, queue::Timestamp};
use shiftwork_sim::{Dependency, Scenario, Surface, What, World, millis, secs};

/// All of them, as a program would list them.
pub(crate) fn all() -> Vec<Box<dyn Scenario>> {
    vec![
        Box::new(Mailer),
        Box::new(Twice),
        Box::new(Stuck),
        Box::new(Chance),
        Box::new(Turns),
        Box::new(Unbuildable),
        Box::new(Fickle::default()),
        Box::new(Sights),
        Box::new(Brittle::default()),
        Box::new(Counted),
        Box::new(Dawdles),
    ]
}

fn surface() -> Surface {
    Surface { dependencies: vec!["smtp".to_owned()], queues: Vec::new(), horizon: secs(60) }
}

/// A node with one worker that calls `send` every ten seconds.
fn node<F, Fut>(world: &mut World, send: F)
where
    F: Fn(u32, Tick, Dependency) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let smtp = world.dependency("smtp");
    world.node("mailer", move |node| {
        let (smtp, send, boot) = (smtp.clone(), send.clone(), node.boot());
        let cycle = move |tick: Tick, _: Context| send(boot, tick, smtp.clone());
        node.host().worker("send", Schedule::every(secs(10)), cycle).run_until_signal()
    });
}

/// Keeps every rule.
pub(crate) struct Mailer;

impl Scenario for Mailer {
    fn name(&self) -> &'static str {
        "mailer"
    }

    fn about(&self) -> &'static str {
        "sends a mail every ten seconds"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        node(world, |_, _, smtp| async move { Ok(smtp.call(async {}).await?) });
    }
}

/// Waits for another thread in each of its cycles, which takes 30 ms of real time, and none of the world's.
pub(crate) struct Dawdles;

impl Scenario for Dawdles {
    fn name(&self) -> &'static str {
        "canary-dawdles"
    }

    fn about(&self) -> &'static str {
        "waits for another thread"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        node(world, |_, _, smtp| async move {
            let (say, heard) = mpsc::channel::<()>();
            let other = std::thread::spawn(move || {
                std::thread::park_timeout(millis(30));
                drop(say);
            });
            // A wait without a timeout is for another thread, and so a real one.
            let _it_has_ended = heard.recv();
            drop(other);
            Ok(smtp.call(async {}).await?)
        });
    }
}

/// Sends a mail again when the reply was lost.
pub(crate) struct Twice;

impl Scenario for Twice {
    fn name(&self) -> &'static str {
        "canary-twice"
    }

    fn about(&self) -> &'static str {
        "sends a mail again when it does not know that it was sent"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        let sent = Arc::new(Mutex::new((BTreeSet::new(), None)));
        let seen = sent.clone();
        node(world, move |boot, tick, smtp| {
            let sent = sent.clone();
            async move {
                let send = async {
                    let (mails, twice) = &mut *sent.lock().unwrap();
                    if !mails.insert((boot, tick.number)) {
                        *twice = Some(tick.number);
                    }
                };
                Ok(smtp.call(send).await?)
            }
        });
        world.always("no mail is sent twice", move |_| match seen.lock().unwrap().1 {
            Some(number) => Err(format!("mail {number} was")),
            None => Ok(()),
        });
    }
}

/// As [`Twice`], and interrupts its campaign when a world of a seed runs again: the first thing that is done to shrink a failure.
#[derive(Default)]
pub(crate) struct Interrupts {
    pub(crate) stop: Arc<AtomicBool>,
    seeds: Mutex<BTreeSet<u64>>,
}

impl Scenario for Interrupts {
    fn name(&self) -> &'static str {
        "canary-interrupts"
    }

    fn about(&self) -> &'static str {
        "is interrupted as its failure is shrunk"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        if !self.seeds.lock().unwrap().insert(world.seed()) {
            self.stop.store(true, Ordering::Relaxed);
        }
        Twice.build(world);
    }
}

/// As [`Mailer`], and counts its worlds.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) worlds: Arc<AtomicU64>,
}

impl Scenario for Built {
    fn name(&self) -> &'static str {
        "canary-built"
    }

    fn about(&self) -> &'static str {
        "counts how often it is built"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        self.worlds.fetch_add(1, Ordering::Relaxed);
        Mailer.build(world);
    }
}

/// Never gets done.
pub(crate) struct Stuck;

impl Scenario for Stuck {
    fn name(&self) -> &'static str {
        "canary-stuck"
    }

    fn about(&self) -> &'static str {
        "never gets its work done"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        Mailer.build(world);
        world.done_when(|| false);
    }
}

/// Does what nobody can know beforehand.
pub(crate) struct Chance;

impl Scenario for Chance {
    fn name(&self) -> &'static str {
        "canary-chance"
    }

    fn about(&self) -> &'static str {
        "remembers something from one world to the next"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        numbered(world, &WORLDS);
    }
}

/// A node whose worker says how many worlds there were before this one.
fn numbered(world: &mut World, worlds: &AtomicU64) {
    let number = worlds.fetch_add(1, Ordering::Relaxed);
    node(world, move |_, _, _| async move { Err(Failure::invalid(format!("this is world {number}"))) });
}

/// As [`Chance`], and run by one test alone: what it counts in this process follows from that.
pub(crate) struct Counted;

impl Scenario for Counted {
    fn name(&self) -> &'static str {
        "canary-counted"
    }

    fn about(&self) -> &'static str {
        "counts the worlds of its process"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        numbered(world, &WORLDS);
    }
}

/// Takes another number of turns in each world before it runs a host, and nobody says so.
pub(crate) struct Turns;

impl Scenario for Turns {
    fn name(&self) -> &'static str {
        "canary-turns"
    }

    fn about(&self) -> &'static str {
        "polls a task more often in each world"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let turns = WORLDS.fetch_add(1, Ordering::Relaxed);
        world.node("node", move |node| async move {
            let mut taken = 0;
            std::future::poll_fn(|cx| {
                taken += 1;
                cx.waker().wake_by_ref();
                if taken > turns { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let idle = |_: Tick, _: Context| async { Ok::<(), Failure>(()) };
            // No tick is due when the last signal comes, so that no record depends on whose turn it is.
            node.host().worker("idle", Schedule::every(secs(7)), idle).run_until_signal().await
        });
    }
}

/// Cannot be built for every third seed.
pub(crate) struct Unbuildable;

impl Scenario for Unbuildable {
    fn name(&self) -> &'static str {
        "canary-unbuildable"
    }

    fn about(&self) -> &'static str {
        "panics while it builds"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        assert!(world.seed() % 3 != 1, "no world for seed {}", world.seed());
        Mailer.build(world);
    }
}

/// Breaks a rule in one of the worlds that are built, and in no other: the first, or the one after so many.
#[derive(Default)]
pub(crate) struct Fickle {
    after: u64,
    built: AtomicU64,
}

impl Fickle {
    pub(crate) fn after(worlds: u64) -> Self {
        Self { after: worlds, ..Self::default() }
    }
}

impl Scenario for Fickle {
    fn name(&self) -> &'static str {
        "canary-fickle"
    }

    fn about(&self) -> &'static str {
        "fails once and never again"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        let is_it = self.built.fetch_add(1, Ordering::Relaxed) == self.after;
        Mailer.build(world);
        world.at_end("nobody was first", move || if is_it { Err("this world was".to_owned()) } else { Ok(()) });
    }
}

/// Wants to see something that happens, something that happens in some worlds, and something that cannot.
pub(crate) struct Sights;

impl Scenario for Sights {
    fn name(&self) -> &'static str {
        "canary-sights"
    }

    fn about(&self) -> &'static str {
        "looks out for what never comes"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        Mailer.build(world);
        world.sometimes("a process starts", |record| matches!(record.what, What::Booted { .. }));
        world.sometimes("a process is killed", |record| record.what == What::Crashed);
        world.sometimes("a mail <comes back>", |_| false);
    }
}

/// Breaks a rule in every world, and cannot be built the second time.
#[derive(Default)]
pub(crate) struct Brittle {
    built: AtomicU64,
}

impl Scenario for Brittle {
    fn name(&self) -> &'static str {
        "canary-brittle"
    }

    fn about(&self) -> &'static str {
        "panics when its failure is shrunk"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        assert!(self.built.fetch_add(1, Ordering::Relaxed) != 1, "no second world");
        Mailer.build(world);
        world.at_end("all is well", || Err("it never is".to_owned()));
    }
}

/// As [`Mailer`], and cannot be built when a fault says the date of its world.
pub(crate) struct Undated;

impl Scenario for Undated {
    fn name(&self) -> &'static str {
        "canary-undated"
    }

    fn about(&self) -> &'static str {
        "panics while it builds on any date but the usual one"
    }

    fn surface(&self) -> Surface {
        surface()
    }

    fn build(&self, world: &mut World) {
        let usual: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!(world.wall_time() == usual, "no world of another date");
        Mailer.build(world);
    }
}
