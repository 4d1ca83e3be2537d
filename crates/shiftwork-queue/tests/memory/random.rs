//! Random operations on the queue and on the model: every result and every look inside must be the same.
//!
//! Times, keys and priorities are few, so that they collide. The clock also goes back.

use proptest::{collection::vec, option, prelude::*, sample::Index};
use shiftwork_queue::{
    DeadLetter, DeadLetterCause, DeliveryId, Lease, MemoryQueue, Message, Priority, Settlement, memory::Stage,
};

use crate::{
    driver::{Driver, at, failure},
    model::Model,
};

#[derive(Debug, Clone)]
enum Op {
    Push(Vec<New>),
    PushUndecodable,
    Claim { max: usize, lease: i64 },
    Renew { which: Vec<Which>, offset: i64 },
    Settle { which: Which, how: How },
    SettleMany(Vec<(Which, How)>),
    AckAndClaim { which: Which, max: usize, lease: i64 },
    Requeue(Index),
    Discard(Index),
    Prune { before: i64, limit: usize },
    Step(i64),
}

#[derive(Debug, Clone)]
struct New {
    delay: Option<i64>,
    priority: i16,
    key: Option<u8>,
    line: Option<u8>,
}

/// One of the leases that were granted so far.
#[derive(Debug, Clone)]
enum Which {
    /// Among the newest few, which are mostly good.
    Fresh(Index),
    /// Among all, which are mostly stale.
    Any(Index),
}

#[derive(Debug, Clone)]
enum How {
    Ack,
    Retry { delay: i64 },
    DeadLetter,
    Return,
    Snooze { delay: i64 },
}

fn new() -> impl Strategy<Value = New> {
    let priority = prop_oneof![4 => Just(0), 1 => -1..=1_i16];
    let (key, line) = (option::weighted(0.3, 0..3_u8), option::weighted(0.4, 0..2_u8));
    (option::weighted(0.3, -4..12_i64), priority, key, line).prop_map(|(delay, priority, key, line)| New {
        delay,
        priority,
        key,
        line,
    })
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![3 => any::<Index>().prop_map(Which::Fresh), 1 => any::<Index>().prop_map(Which::Any)]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        Just(How::Ack),
        (-3..12_i64).prop_map(|delay| How::Retry { delay }),
        Just(How::DeadLetter),
        Just(How::Return),
        (-3..12_i64).prop_map(|delay| How::Snooze { delay }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => vec(new(), 0..4).prop_map(Op::Push),
        1 => Just(Op::PushUndecodable),
        8 => (0..4_usize, 1..9_i64).prop_map(|(max, lease)| Op::Claim { max, lease }),
        2 => (vec(which(), 0..3), -3..9_i64).prop_map(|(which, offset)| Op::Renew { which, offset }),
        6 => (which(), how()).prop_map(|(which, how)| Op::Settle { which, how }),
        3 => vec((which(), how()), 0..4).prop_map(Op::SettleMany),
        3 => (which(), 0..3_usize, 1..9_i64).prop_map(|(which, max, lease)| Op::AckAndClaim { which, max, lease }),
        1 => any::<Index>().prop_map(Op::Requeue),
        1 => any::<Index>().prop_map(Op::Discard),
        1 => (-20..3_i64, 0..3_usize).prop_map(|(before, limit)| Op::Prune { before, limit }),
        4 => (-3..7_i64).prop_map(Op::Step),
    ]
}

/// The queue and the model, side by side.
struct Pair {
    real: Driver<u32>,
    model: Model,
    now: i64,
    granted: Vec<Lease>,
    payloads: u32,
}

impl Pair {
    fn new(capacity: Option<usize>) -> Self {
        let queue = capacity.map_or_else(MemoryQueue::new, MemoryQueue::bounded);
        Self { real: Driver { queue }, model: Model::new(capacity), now: 100, granted: Vec::new(), payloads: 0 }
    }

    fn lease(&self, which: &Which) -> Option<Lease> {
        let newest = &self.granted[self.granted.len().saturating_sub(4)..];
        let (leases, index) = match which {
            Which::Fresh(index) => (newest, index),
            Which::Any(index) => (&self.granted[..], index),
        };
        (!leases.is_empty()).then(|| *index.get(leases))
    }

    /// A dead letter, or another delivery when the index falls behind them.
    fn letter(&self, index: Index) -> DeliveryId {
        let letters = self.model.dead_letters();
        letters.get(index.index(letters.len() + 1)).map_or(DeliveryId(1), |letter| letter.id)
    }

    fn message(&mut self, new: &New) -> Message<u32> {
        let New { delay, priority, key, line } = *new;
        self.payloads += 1;
        let mut message = Message::new(self.payloads).priority(Priority(priority));
        if let Some(delay) = delay {
            message = message.not_before(at(self.now + delay));
        }
        if let Some(key) = key {
            message = message.unique_key(format!("key {key}"));
        }
        if let Some(line) = line {
            message = message.ordering_key(format!("line {line}"));
        }
        message
    }

    fn apply(&mut self, op: Op) {
        let now = at(self.now);
        match op {
            Op::Push(news) => {
                let messages: Vec<Message<u32>> = news.iter().map(|new| self.message(new)).collect();
                let expected = self.model.push(messages.clone(), now);
                let real = self.real.push_all(messages, self.now);
                assert_eq!(real.as_ref().ok(), expected.as_ref());
                assert_eq!(real.is_err_and(|error| error.is_full()), expected.is_none());
            }
            Op::PushUndecodable => {
                let expected = self.model.add_undecodable("damaged", now);
                assert_eq!(self.real.queue.push_undecodable("damaged", now), expected);
            }
            Op::Claim { max, lease } => {
                let expected = self.model.claim(max, at(self.now + lease), now);
                let (claimed, next) = self.real.claim_for(max, lease, self.now);
                assert_eq!(claimed, expected);
                self.granted.extend(claimed.iter().map(|delivery| delivery.lease));

                let exact = self.model.next(now);
                assert_eq!(next.is_some(), exact.is_some());
                assert!(next <= exact, "told {next:?}, but something is due at {exact:?}");
                assert!(next.is_none_or(|next| next > now), "told {next:?} at {now}");
            }
            Op::Renew { which, offset } => {
                let leases: Vec<Lease> = which.iter().filter_map(|which| self.lease(which)).collect();
                let expected = self.model.renew(&leases, at(self.now + offset));
                assert_eq!(self.real.renew(&leases, self.now + offset), expected);
            }
            Op::Settle { which, how } => {
                let Some(lease) = self.lease(&which) else { return };
                let settlement = self.settlement(&how);
                let expected = self.model.settle(lease, settlement.clone(), now);
                let real = self.real.settle(lease, settlement, self.now);
                assert_eq!(real.is_ok(), expected);
                assert_eq!(real.is_err_and(|error| error.is_lease_lost()), !expected);
            }
            Op::SettleMany(many) => {
                let settlements =
                    many.iter().filter_map(|(which, how)| Some((self.lease(which)?, self.settlement(how))));
                let settlements: Vec<_> = settlements.collect();
                let one_by_one = settlements.iter().cloned();
                let expected: Vec<bool> =
                    one_by_one.map(|(lease, settlement)| self.model.settle(lease, settlement, now)).collect();
                let real = self.real.settle_many(settlements, self.now);
                assert_eq!(real.iter().map(Result::is_ok).collect::<Vec<_>>(), expected);
                assert!(real.iter().flat_map(|answer| answer.as_ref().err()).all(|error| error.is_lease_lost()));
            }
            Op::AckAndClaim { which, max, lease: lasts } => {
                let Some(lease) = self.lease(&which) else { return };
                let expected = self.model.settle(lease, Settlement::Ack, now);
                let expected_claims =
                    if expected { self.model.claim(max, at(self.now + lasts), now) } else { Vec::new() };
                let (settled, claimed) = self.real.ack_and_claim(lease, (max, lasts), self.now);
                assert_eq!(settled.is_ok(), expected);
                assert_eq!(claimed, expected_claims);
                self.granted.extend(claimed.iter().map(|delivery| delivery.lease));
            }
            Op::Requeue(index) => {
                let id = self.letter(index);
                assert_eq!(self.real.requeue(id, self.now), self.model.requeue(id, now));
            }
            Op::Discard(index) => {
                let id = self.letter(index);
                assert_eq!(self.real.discard(id), self.model.discard(id));
            }
            Op::Prune { before, limit } => {
                let before = self.now + before;
                assert_eq!(self.real.prune(before, limit), self.model.prune(at(before), limit));
            }
            Op::Step(seconds) => self.now += seconds,
        }
    }

    fn settlement(&self, how: &How) -> Settlement {
        let failure = failure(&format!("at {}", self.now));
        match how {
            How::Ack => Settlement::Ack,
            How::Retry { delay } => Settlement::Retry { at: at(self.now + delay), failure },
            How::DeadLetter => Settlement::DeadLetter { cause: DeadLetterCause::Exhausted, failure },
            How::Return => Settlement::Return,
            How::Snooze { delay } => Settlement::Snooze { until: at(self.now + delay) },
        }
    }

    fn check(&self) {
        let entries = self.real.snapshot(self.now);
        assert_eq!(entries, self.model.entries(at(self.now)));
        let letters = self.letters();
        assert_eq!(letters, self.model.dead_letters());

        let count = |wanted: fn(&Stage) -> bool| entries.iter().filter(|entry| wanted(&entry.stage)).count();
        let ready = count(|stage| matches!(stage, Stage::Ready));
        let delayed = count(|stage| matches!(stage, Stage::Delayed { .. } | Stage::Behind));
        let leased = count(|stage| matches!(stage, Stage::Leased { .. }));
        assert_eq!(self.real.depth(self.now), [ready, delayed, leased, letters.len()]);

        // Rule 1, in the real queue's numbers: whatever was added is somewhere.
        let Model { added, acknowledged, discarded, .. } = self.model;
        assert_eq!(added, acknowledged + discarded + entries.len() + letters.len());
    }

    /// All dead letters, by pages.
    fn letters(&self) -> Vec<DeadLetter<u32>> {
        let mut letters = Vec::new();
        loop {
            let page = self.real.dead_letters(letters.last().map(|letter: &DeadLetter<u32>| letter.id), 2);
            if page.is_empty() {
                return letters;
            }
            letters.extend(page);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_the_model_does(
        capacity in option::weighted(0.3, 0..8_usize),
        ops in vec(op(), 0..120),
    ) {
        let mut pair = Pair::new(capacity);
        for op in ops {
            pair.apply(op);
            pair.check();
        }
    }
}
