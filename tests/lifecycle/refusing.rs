//! A store that works for all but one: it refuses one delivery's settlement, every claim or every other one, or leaves one renewal unanswered,
//! or panics where it is asked something, or does not know when there is something to claim. It also counts claims and renewals, which are
//! no events.

use std::{
    collections::{BTreeSet, VecDeque},
    future::{Future, pending},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use metrics_util::debugging::DebuggingRecorder;
use shiftwork::{
    Batch, BatchContext, BatchWorker, Batches, Context, Environment, ExitStatus, Failure, Host, QueueSourceExt,
    RateLimit, Retry, Signal, System,
    event::{Event, Settle},
    queue::{
        Claim, DeadLetter, Delivery, DeliveryId, Depth, Lease, MemoryQueue, Message, Pushed, Queue, QueueError,
        Settlement, Timestamp,
    },
};
use shiftwork_sim::{Outcome, Script, SimQueue, millis, secs, site};

use crate::worlds::{Steady, attempts, time_of};

/// What it does not do.
#[derive(Clone)]
pub(crate) struct Refusing<Q> {
    store: Q,
    /// It refuses every claim.
    every_claim: bool,
    /// It refuses every other claim, from the first on.
    every_other_claim: bool,
    /// It panics once this claim is made, counted from 0.
    panics_at_claim: Option<u32>,
    /// What is due is locked by somebody else: a claim finds nothing, and names a time that is over.
    locked: bool,
    /// It says that it has changed whenever it is asked to tell of that.
    restless: bool,
    /// How many there were.
    claims: Arc<AtomicU32>,
    settlement_of: Option<u32>,
    /// It refuses that of what it could not decode, too.
    settlement_of_undecodable: bool,
    /// How many renewals stay without an answer.
    renewals: Arc<AtomicU32>,
    /// How many panic.
    panics: Arc<AtomicU32>,
    /// A settlement that it does not accept panics.
    settling_panics: bool,
    /// It panics once a delivery was claimed with a settlement.
    claiming_panics: bool,
    /// It panics whenever it is asked how full it is.
    counting_panics: bool,
    refused: Arc<Mutex<Option<DeliveryId>>>,
    /// The delivery of each renewal.
    renewed: Arc<Mutex<Vec<DeliveryId>>>,
}

impl<Q> Refusing<Q> {
    pub(crate) fn every_claim(store: Q) -> Self {
        Self { every_claim: true, ..Self::new(store) }
    }

    pub(crate) fn every_other_claim(store: Q) -> Self {
        Self { every_other_claim: true, ..Self::new(store) }
    }

    fn new(store: Q) -> Self {
        let (refused, renewed) = (Arc::default(), Arc::default());
        Self {
            store,
            every_claim: false,
            every_other_claim: false,
            panics_at_claim: None,
            locked: false,
            restless: false,
            claims: Arc::default(),
            settlement_of: None,
            settlement_of_undecodable: false,
            renewals: Arc::default(),
            panics: Arc::default(),
            settling_panics: false,
            claiming_panics: false,
            counting_panics: false,
            refused,
            renewed,
        }
    }
}

impl<Q: Queue<u32>> Queue<u32> for Refusing<Q> {
    async fn push(&self, messages: Vec<Message<u32>>, now: Timestamp) -> Result<Vec<Pushed>, QueueError> {
        self.store.push(messages, now).await
    }

    async fn claim(
        &self,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<u32>>,
    ) -> Result<Option<Timestamp>, QueueError> {
        let number = self.claims.fetch_add(1, Ordering::Relaxed);
        if self.every_claim || (self.every_other_claim && number.is_multiple_of(2)) {
            return Err(QueueError::unavailable("the pool is exhausted"));
        }
        if self.locked {
            return Ok(Some(claim.now));
        }
        let next = self.store.claim(claim, claimed).await?;
        assert_ne!(self.panics_at_claim, Some(number), "the cursor is closed");
        for delivery in claimed.iter() {
            let refuses = match &delivery.payload {
                Ok(job) => self.settlement_of == Some(*job),
                Err(_) => self.settlement_of_undecodable,
            };
            if refuses {
                *self.refused.lock().unwrap() = Some(delivery.lease.delivery);
            }
        }
        Ok(next)
    }

    async fn renew(&self, leases: &[Lease], until: Timestamp) -> Result<Vec<Lease>, QueueError> {
        if self.renewals.load(Ordering::Relaxed) > 0 {
            self.renewals.fetch_sub(1, Ordering::Relaxed);
            return pending().await;
        }
        if self.panics.load(Ordering::Relaxed) > 0 {
            self.panics.fetch_sub(1, Ordering::Relaxed);
            panic!("the pool is poisoned");
        }
        self.renewed.lock().unwrap().extend(leases.iter().map(|lease| lease.delivery));
        self.store.renew(leases, until).await
    }

    async fn settle(&self, lease: Lease, settlement: Settlement, now: Timestamp) -> Result<(), QueueError> {
        let refused = *self.refused.lock().unwrap() == Some(lease.delivery);
        assert!(!refused || !self.settling_panics, "the row is corrupt");
        if refused {
            return Err(QueueError::unavailable("the row violates a constraint"));
        }
        self.store.settle(lease, settlement, now).await
    }

    async fn ack_and_claim(
        &self,
        lease: Lease,
        claim: Claim,
        claimed: &mut VecDeque<Delivery<u32>>,
    ) -> Result<(), QueueError> {
        if !self.claiming_panics {
            return self.settle(lease, Settlement::Ack, claim.now).await;
        }
        self.store.ack_and_claim(lease, claim, claimed).await?;
        assert!(claimed.is_empty(), "the cursor is closed");
        Ok(())
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        let (changed, restless) = (self.store.changed(), self.restless);
        async move {
            if !restless {
                changed.await;
            }
        }
    }

    async fn depth(&self, now: Timestamp) -> Result<Depth, QueueError> {
        assert!(!self.counting_panics, "the index is corrupt");
        self.store.depth(now).await
    }

    async fn dead_letters(&self, after: Option<DeliveryId>, limit: usize) -> Result<Vec<DeadLetter<u32>>, QueueError> {
        self.store.dead_letters(after, limit).await
    }

    async fn requeue(&self, id: DeliveryId, now: Timestamp) -> Result<bool, QueueError> {
        self.store.requeue(id, now).await
    }

    async fn discard(&self, id: DeliveryId) -> Result<bool, QueueError> {
        self.store.discard(id).await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        self.store.prune(before, limit).await
    }
}

/// Is done with a batch at once.
struct Quick;

impl BatchWorker for Quick {
    type Input = u32;

    async fn cycle(&self, _: &mut Batch<u32>, _: &BatchContext) -> Result<(), Failure> {
        Ok(())
    }
}

/// Three jobs, one after the other, each of which takes so long.
fn run(settlement_of: Option<u32>, renewals: u32, takes: u64, lease: u64) -> Outcome {
    Script::new().at(secs(400), Signal::Terminate).run_once(move |world| {
        let store = world.queue("jobs");
        store.seed(1..=3);
        let queue = Refusing { settlement_of, renewals: Arc::new(AtomicU32::new(renewals)), ..Refusing::new(store) };
        world.node("node", move |node| {
            let work = move |_: u32, _: Context| async move {
                tokio::time::sleep(secs(takes)).await;
                Ok::<(), Failure>(())
            };
            let source = queue.clone().source().lease(secs(lease));
            node.host().worker("jobs", source, work).run_until_signal()
        });
    })
}

#[test]
fn a_store_that_names_a_time_that_is_over_is_asked_less_and_less() {
    let claims = Arc::<AtomicU32>::default();
    let counts = claims.clone();
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(move |world| {
        let store: SimQueue<u32> = world.queue("jobs");
        let queue = Refusing { locked: true, claims: counts, ..Refusing::new(store) };
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            node.host().worker("jobs", queue.clone().source(), work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    // Two at once, ten in the first second, and one in each second from there.
    let claims = claims.load(Ordering::Relaxed);
    assert!((18..=22).contains(&claims), "{claims}");
}

#[test]
fn a_store_that_says_all_the_time_that_it_has_changed_is_asked_no_more_often_than_its_cooldown() {
    let claims = Arc::<AtomicU32>::default();
    let counts = claims.clone();
    let outcome = Script::new().at(secs(10), Signal::Terminate).run_once(move |world| {
        let store: SimQueue<u32> = world.queue("jobs");
        let queue = Refusing { restless: true, claims: counts, ..Refusing::new(store) };
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let source = queue.clone().source().cooldown(millis(100));
            node.host().worker("jobs", source, work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let claims = claims.load(Ordering::Relaxed);
    assert!((98..=102).contains(&claims), "{claims}");
}

#[test]
fn a_settlement_that_is_always_refused_holds_its_lane_no_longer_than_its_lease() {
    let outcome = run(Some(1), 0, 1, 120);
    let given_up = time_of(&outcome, |event| matches!(event, Event::SettleFailed { .. }));
    assert!(given_up.is_some_and(|at| at <= secs(121)), "{given_up:?}");
    // The others have their turn then.
    assert!(outcome.count(|event| matches!(event, Event::Settled { .. })) >= 2);
}

#[test]
fn a_dead_letter_that_is_refused_keeps_no_place_of_a_rate_limit_from_other_batches() {
    let outcome = Script::new().at(secs(60), Signal::Terminate).run_once(|world| {
        let store: SimQueue<u32> = world.queue("jobs");
        store.seed_undecodable("half a row");
        let later = store.clone();
        world.at(secs(5), "jobs", move || later.seed(1..=3));
        let queue = Refusing { settlement_of_undecodable: true, ..Refusing::new(store) };
        world.node("node", move |node| {
            node.host()
                .batch_worker("jobs", queue.clone().source().lease(secs(30)), Batches::of(3), Quick)
                .concurrency(2)
                .rate_limit(RateLimit::of(1, secs(1)))
                .run_until_signal()
        });
    });
    let began = time_of(&outcome, |event| matches!(event, Event::BatchStarted { .. }));
    assert!(began.is_some_and(|at| at <= secs(7)), "{began:?}");
}

#[test]
fn c8_a_store_that_panics_over_what_is_moved_aside_ends_no_batch_in_the_middle() {
    let outcome = Script::new().run_once(|world| {
        let store: SimQueue<u32> = world.queue("jobs");
        store.seed_undecodable("half a row");
        store.seed(1..=3);
        let queue = Refusing { settlement_of_undecodable: true, settling_panics: true, ..Refusing::new(store) };
        world.node("node", move |node| {
            node.host().batch_worker("jobs", queue.clone().source(), Batches::of(4), Steady).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::WorkerFaulted { .. })), Some(secs(0)));
    assert_eq!(outcome.count(|event| matches!(event, Event::CycleEnded { failure: None, .. })), 3);
    assert_eq!(outcome.count(|event| matches!(event, Event::Settled { settle: Settle::Ack, .. })), 3);
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::HostStopped { .. })), Some(secs(5)));
}

#[test]
fn c8_a_store_that_panics_over_one_settlement_is_asked_for_the_others_of_its_batch() {
    let outcome = Script::new().run_once(|world| {
        let store: SimQueue<u32> = world.queue("jobs");
        store.seed(1..=3);
        // It settles many one after the other, and so has struck off the first when it comes to the second.
        let queue = Refusing { settlement_of: Some(2), settling_panics: true, ..Refusing::new(store) };
        world.node("node", move |node| {
            node.host().batch_worker("jobs", queue.clone().source(), Batches::of(3), Steady).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::WorkerFaulted { .. })), Some(secs(5)));
    assert_eq!(outcome.count(|event| matches!(event, Event::CycleEnded { failure: None, .. })), 3);
    assert_eq!(outcome.count(|event| matches!(event, Event::Settled { settle: Settle::Ack, .. })), 1);
    assert_eq!(outcome.count(|event| matches!(event, Event::SettleFailed { .. })), 2);
}

#[test]
fn q4_what_was_claimed_with_a_settlement_that_has_panicked_is_returned() {
    let mut seen = None;
    let outcome = Script::new().run_once(|world| {
        let store: SimQueue<u32> = world.queue("jobs");
        store.seed(1..=2);
        seen = Some(store.clone());
        let queue = Refusing { claiming_panics: true, ..Refusing::new(store) };
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async {
                tokio::time::sleep(secs(1)).await;
                Ok::<(), Failure>(())
            };
            node.host().worker("jobs", queue.clone().source(), work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::WorkerFaulted { .. })), Some(secs(1)));
    assert_eq!(outcome.count(|event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. })), 1);
    let depth = seen.unwrap().inspect_depth();
    assert_eq!((depth.ready, depth.leased), (1, 0));
}

/// A world in which the store has two jobs and panics at once, over its first claim or the one after that; the worker runs them in batches
/// of three, or one by one.
fn panics_once_it_has_claimed(panics_at_claim: u32, batches: Option<Batches>) -> Outcome {
    let mut seen = None;
    let outcome = Script::new().run_once(|world| {
        let store: SimQueue<u32> = world.queue("jobs");
        store.seed(1..=2);
        seen = Some(store.clone());
        let queue = Refusing { panics_at_claim: Some(panics_at_claim), ..Refusing::new(store) };
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async { Ok::<(), Failure>(()) };
            let (host, source) = (node.host(), queue.clone().source());
            match batches {
                Some(batches) => host.batch_worker("jobs", source, batches, Quick).run_until_signal(),
                None => host.worker("jobs", source, work).run_until_signal(),
            }
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::WorkerFaulted { .. })), Some(secs(0)));
    let depth = seen.unwrap().inspect_depth();
    assert_eq!((depth.ready, depth.leased), (2, 0), "{}", outcome.timeline);
    outcome
}

fn given_back(outcome: &Outcome) -> usize {
    outcome.count(|event| matches!(event, Event::SettledUnrun { settle: Settle::Return, .. }))
}

#[test]
fn q4_what_a_lane_had_claimed_when_its_store_panicked_is_returned() {
    assert_eq!(given_back(&panics_once_it_has_claimed(0, None)), 1);
}

#[test]
fn q4_what_a_batch_had_claimed_when_its_store_panicked_is_returned() {
    assert_eq!(given_back(&panics_once_it_has_claimed(0, Some(Batches::of(3)))), 2);
}

#[test]
fn q4_what_a_batch_had_taken_when_its_store_panicked_is_returned() {
    // It lingers for a third.
    assert_eq!(given_back(&panics_once_it_has_claimed(1, Some(Batches::of(3).linger(secs(5))))), 2);
}

#[test]
fn c8_a_store_that_panics_over_what_is_given_back_is_a_fault_and_that_has_failed() {
    let slow = site("jobs").slow(secs(2)).lasting(secs(1));
    let outcome = Script::new().at(secs(0), slow).at(millis(1_500), Signal::Terminate).run_once(|world| {
        let store: SimQueue<u32> = world.queue("jobs");
        store.seed(1..=3);
        let queue = Refusing { settlement_of: Some(1), settling_panics: true, ..Refusing::new(store) };
        world.node("node", move |node| {
            node.host().batch_worker("jobs", queue.clone().source(), Batches::of(3), Quick).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::WorkerFaulted { .. })), Some(secs(2)));
    assert_eq!(outcome.count(|event| matches!(event, Event::SettleFailed { cycle: None, .. })), 3);
}

#[test]
fn c8_a_store_that_panics_over_a_settlement_is_a_fault_and_that_has_failed() {
    let renewed = Arc::<Mutex<Vec<DeliveryId>>>::default();
    let seen = renewed.clone();
    let outcome = Script::new().run_once(move |world| {
        let store: SimQueue<u32> = world.queue("jobs");
        store.seed(1..=2);
        let settling_panics = true;
        let queue = Refusing { settlement_of: Some(1), settling_panics, renewed: seen, ..Refusing::new(store) };
        world.node("node", move |node| {
            let work = |job: u32, _: Context| async move {
                tokio::time::sleep(secs(u64::from(job) * 5)).await;
                Ok::<(), Failure>(())
            };
            let source = queue.clone().source().lease(secs(9));
            node.host().worker("jobs", source, work).concurrency(2).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::SettleFailed { .. })), Some(secs(5)));
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::WorkerFaulted { .. })), Some(secs(5)));
    assert_eq!(time_of(&outcome, |event| matches!(event, Event::Settled { .. })), Some(secs(10)));
    // Both at 3 s, and then only what is still worked on.
    let renewed = renewed.lock().unwrap();
    assert_eq!(renewed.iter().filter(|it| **it == renewed[0]).count(), 1, "{renewed:?}");
    assert_eq!(renewed.len(), 4);
}

#[test]
fn c12_a_batch_begins_when_its_place_was_taken_though_the_store_blocks_over_what_is_moved_aside() {
    // The first claim takes 100 ms, so that it is the settlement that is struck; later ones take no time.
    let slow = site("jobs").slow(millis(100)).lasting(millis(60));
    let script = Script::new().at(secs(0), slow).at(millis(75), site("jobs").block(millis(9)));
    let outcome = script.at(secs(20), Signal::Terminate).run_once(|world| {
        let jobs: SimQueue<u32> = world.queue("jobs");
        jobs.seed_undecodable("half a row");
        jobs.seed(1..=9);
        world.node("node", move |node| {
            node.host()
                .batch_worker("jobs", jobs.clone().source(), Batches::of(4), Quick)
                .rate_limit(RateLimit::of(1, secs(1)))
                .run_until_signal()
        });
    });
    assert!(outcome.stats.struck[1], "{}", outcome.timeline);
    outcome.assert_rules_kept();
    assert!(outcome.count(|event| matches!(event, Event::BatchStarted { .. })) >= 3);
}

#[test]
fn c12_a_batch_begins_as_its_limit_says_whatever_the_store_makes_of_what_is_moved_aside() {
    let outcome = Script::new().at(secs(20), Signal::Terminate).run_once(|world| {
        let store: SimQueue<u32> = world.queue("jobs");
        store.seed_undecodable("half a row");
        store.seed(1..=3);
        let later = store.clone();
        world.at(secs(5), "jobs", move || later.seed(4..=6));
        let queue = Refusing { settlement_of_undecodable: true, ..Refusing::new(store) };
        world.node("node", move |node| {
            node.host()
                .batch_worker("jobs", queue.clone().source().lease(secs(30)), Batches::of(4), Quick)
                .concurrency(2)
                .rate_limit(RateLimit::of(1, secs(1)))
                .run_until_signal()
        });
    });
    let batches = outcome.events().filter_map(|(at, event)| match event {
        Event::BatchStarted { cycles, .. } => Some((at.as_secs(), *cycles)),
        _ => None,
    });
    assert_eq!(batches.collect::<Vec<_>>(), [(0, 3), (5, 3)], "{}", outcome.timeline);
}

#[test]
fn a_renewal_that_hangs_does_not_end_all_renewal() {
    let outcome = run(None, 1, 100, 30);
    outcome.assert_rules_kept();
    assert_eq!(outcome.count(|event| matches!(event, Event::RenewalFailed { .. })), 1);
    assert_eq!(outcome.count(|event| matches!(event, Event::LeaseLost { .. })), 0);
    assert_eq!(attempts(&outcome).len(), 3);
}

#[test]
fn q6_a_renewal_that_panics_is_a_fault_and_what_drains_then_keeps_its_lease() {
    let renewed = Arc::<Mutex<Vec<DeliveryId>>>::default();
    let seen = renewed.clone();
    let outcome = Script::new().run_once(move |world| {
        let store = world.queue("jobs");
        store.seed([1]);
        let queue = Refusing { panics: Arc::new(AtomicU32::new(1)), renewed: seen, ..Refusing::new(store) };
        world.node("node", move |node| {
            let work = |_: u32, _: Context| async {
                tokio::time::sleep(secs(15)).await;
                Ok::<(), Failure>(())
            };
            node.host().worker("jobs", queue.clone().source().lease(secs(6)), work).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let faulted = time_of(&outcome, |event| matches!(event, Event::WorkerFaulted { .. }));
    assert_eq!(faulted, Some(secs(2)));
    // Every two seconds from 4 s to 14 s.
    assert_eq!(renewed.lock().unwrap().len(), 6);
    assert_eq!(outcome.count(|event| matches!(event, Event::Settled { .. })), 1);
}

/// On the test's own thread, which is the one that has a recorder: without one, no store is measured.
#[tokio::test(start_paused = true)]
async fn q6_a_store_that_panics_whenever_it_is_measured_is_renewed_at_all_the_same() {
    let recorder = DebuggingRecorder::new();
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let store = MemoryQueue::new();
    store.push(vec![Message::new(1)], System.now()).await.unwrap();
    let queue = Refusing { counting_panics: true, ..Refusing::new(store) };
    let renewed = queue.renewed.clone();
    let work = |_: u32, _: Context| async {
        tokio::time::sleep(secs(15)).await;
        Ok::<(), Failure>(())
    };
    let failed = Arc::<AtomicU32>::default();
    let counts = failed.clone();
    let report = Host::builder()
        .listener(move |_: tokio::time::Instant, event: &Event| {
            if let Event::MeasureFailed { .. } = event {
                counts.fetch_add(1, Ordering::Relaxed);
            }
        })
        .worker("jobs", queue.source().lease(secs(6)).measure_every(secs(4)), work)
        .run_until(tokio::time::sleep(secs(2)))
        .await;
    assert_eq!(report.exit, ExitStatus::Clean);
    assert_eq!(report.worker("jobs").unwrap().cycles.succeeded, 1);
    // At once, and every four seconds.
    assert_eq!(failed.load(Ordering::Relaxed), 4);
    // Every two seconds from 2 s to 14 s.
    assert_eq!(renewed.lock().unwrap().len(), 7);
}

/// A thread that is blocked stands still in real time, so no world can have one.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn q8_a_renewal_that_has_panicked_knows_which_leases_it_has_given_up() {
    let store = MemoryQueue::new();
    store.push(vec![Message::new(1), Message::new(2)], System.now()).await.unwrap();
    let queue = Refusing::new(store);
    let (panics, renewed) = (queue.panics.clone(), queue.renewed.clone());
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let (blocked, other_runs) = (Arc::new(Mutex::new(blocked)), Arc::<AtomicBool>::default());
    let is_over = Arc::<AtomicBool>::default();
    let ends = is_over.clone();
    let work = move |job: u32, cx: Context| {
        let (blocked, other_runs, is_over) = (blocked.clone(), other_runs.clone(), is_over.clone());
        async move {
            if job == 1 {
                // What this thread has woken, no other takes from it.
                while !other_runs.load(Ordering::Relaxed) {
                    tokio::time::sleep(millis(5)).await;
                }
                blocked.lock().unwrap().recv_timeout(secs(30)).unwrap();
            }
            other_runs.store(true, Ordering::Relaxed);
            while !is_over.load(Ordering::Relaxed) {
                cx.progress();
                tokio::time::sleep(millis(5)).await;
            }
            Ok::<(), Failure>(())
        }
    };
    let (says, mut said) = tokio::sync::mpsc::unbounded_channel();
    let host = Host::builder()
        .listener(move |_: tokio::time::Instant, event: &Event| {
            if let Event::LeaseGivenUp { delivery, .. } = event {
                let _ = says.send(*delivery);
            }
        })
        .worker("jobs", queue.source().lease(millis(300)), work)
        .concurrency(2)
        .progress_timeout(millis(600));
    let watch = tokio::spawn(async move {
        let given_up = said.recv().await.unwrap();
        let before = renewed.lock().unwrap().len();
        panics.store(1, Ordering::Relaxed);
        let mut since = Vec::new();
        // Fifteen renewals of the other are longer than the one that is blocked had its lease.
        for _ in 0..4_000 {
            since = renewed.lock().unwrap()[before..].to_vec();
            if since.iter().filter(|renewed| **renewed != given_up).count() >= 15 {
                break;
            }
            tokio::time::sleep(millis(5)).await;
        }
        ends.store(true, Ordering::Relaxed);
        release.send(()).unwrap();
        (given_up, since, said)
    });
    let report = host.run_until(pending()).await;
    let (given_up, since, mut said) = watch.await.unwrap();
    assert_eq!(report.exit, ExitStatus::WorkerFault);
    assert!(since.len() >= 15 && !since.contains(&given_up), "{given_up} in {since:?}");
    assert_ne!(said.recv().await, Some(given_up), "it was said");
}

#[test]
fn after_a_panic_no_renewal_of_its_lease_is_seen() {
    let renewed = Arc::<Mutex<Vec<DeliveryId>>>::default();
    let seen = renewed.clone();
    let outcome = Script::new().at(secs(90), Signal::Terminate).run_once(move |world| {
        let store = world.queue("jobs");
        store.seed(1..=3);
        let queue = Refusing { renewed: seen, ..Refusing::new(store) };
        world.node("node", move |node| {
            let work = |job: u32, _: Context| async move {
                tokio::time::sleep(secs(12)).await;
                assert_ne!(job, 1, "of one among three");
                tokio::time::sleep(secs(70)).await;
                Ok::<(), Failure>(())
            };
            let late = Retry::exponential().initial(secs(200)).max(secs(200)).jitter_percent(0);
            let source = queue.clone().source().lease(secs(30));
            node.host().worker("jobs", source, work).concurrency(3).retry(late).run_until_signal()
        });
    });
    outcome.assert_rules_kept();
    let renewed = renewed.lock().unwrap().clone();
    let ids: BTreeSet<DeliveryId> = renewed.iter().copied().collect();
    let times: Vec<usize> = ids.iter().map(|id| renewed.iter().filter(|it| *it == id).count()).collect();
    // Each is at 10 s; its siblings are every ten seconds, to their end at 82 s.
    assert_eq!(times, [1, 8, 8]);
}
