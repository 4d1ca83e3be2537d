//! How cycles begin: no more often than they may, and in a batch together (C12, Q9, and C5 and T4 for the call of a batch).

use std::time::Duration;

use shiftwork::{
    FailureKind, RateLimit, Rule,
    config::RateLimitConfig,
    event::{CycleId, Declaration, SourceKind},
};

use super::{Panicked, Verdicts, Worker, interruptions::comes_of_being_asked};

/// How the cycles of a worker with a rate limit began; those of a batch count once.
///
/// However many there were, one of them tells whether the limit is kept: the one since which there were most beyond
/// what the time since then allows. What is too many since any other one is too many since that.
pub(super) struct Beginnings {
    /// The last.
    last: Duration,
    /// The one that tells, and how many there were since, itself included.
    since: Duration,
    count: u64,
    /// From when on a whole burst may begin again.
    full_at: Duration,
    /// The space between two, once the burst is used up.
    apart: Duration,
}

impl Beginnings {
    fn new(limit: RateLimit, at: Duration) -> Self {
        let written = RateLimitConfig::from(limit);
        let (per, cycles) = (written.per.unwrap_or_default(), written.cycles.unwrap_or(1).max(1));
        // Up to the next nanosecond, so that what is spaced like this never comes to more.
        let apart = per.as_nanos().div_ceil(u128::from(cycles));
        let apart = Duration::from_nanos(u64::try_from(apart).unwrap_or(u64::MAX));
        Self { last: at, since: at, count: 0, full_at: at, apart }
    }
}

/// A batch: cycles numbered in a row that begin at one instant, and end at one.
pub(super) struct Batch {
    pub(super) task: u32,
    first: u64,
    cycles: u64,
    began: Duration,
    started: u64,
    ended: u64,
    /// When its call ended.
    pub(super) over: Option<Duration>,
    pub(super) panicked: Option<Panicked>,
}

impl Batch {
    fn has(&self, cycle: CycleId) -> bool {
        (self.first..self.first + self.cycles).contains(&cycle.0)
    }
}

impl Worker {
    /// Rule C12: no time that ends now has had more beginnings than the limit allows.
    pub(super) fn begins_in_time(&mut self, cycle: CycleId, verdicts: &mut Verdicts<'_>) {
        let Some(limit) = self.declared.rate_limit else { return };
        let (at, name) = (verdicts.at, &self.declared.name);
        let began = self.began.get_or_insert_with(|| Beginnings::new(limit, at));
        began.last = at;
        began.full_at = began.full_at.max(at).saturating_add(began.apart);
        began.count += 1;
        let (count, time) = (began.count, at.saturating_sub(began.since));
        let most = limit.at_most(time);
        verdicts.demand(
            Rule::C12,
            count <= most,
            || format!("at most {most} cycles of {name} begin within {time:?}"),
            || format!("cycle {cycle} was number {count}"),
        );
        // The time since has allowed for all before this one, but for the burst, which is whole again: from here on this one tells.
        if count - 1 <= most - limit.at_most(Duration::ZERO) {
            (began.since, began.count) = (at, 1);
        }
    }

    /// How many other lanes may keep a place of the limit while one waits for room. Those of a queue have theirs before they ask it, and
    /// a batch is one; the others begin as soon as they have one.
    fn places_max(&self) -> u32 {
        let Declaration { source, concurrency, batch, .. } = &self.declared;
        if *source != SourceKind::Queue {
            return 0;
        }
        let lanes = batch.map_or(*concurrency, |batches| concurrency.div_ceil(batches.size().max(1)));
        u32::try_from(lanes).unwrap_or(u32::MAX).saturating_sub(1)
    }

    /// From when on there is room for a cycle more, whoever has a place meanwhile; `None` before the first.
    fn room_at(&self) -> Option<Duration> {
        let (limit, began) = (self.declared.rate_limit?, self.began.as_ref()?);
        let free = RateLimitConfig::from(limit).burst?.saturating_sub(1);
        let behind = free.saturating_sub(self.places_max());
        Some(began.full_at.saturating_sub(began.apart.saturating_mul(behind)))
    }

    /// Rule C12: the limit is said to hold what it may hold, and once. There must be no room for one cycle more.
    pub(super) fn limit_reached(&mut self, verdicts: &mut Verdicts<'_>) {
        let (name, at) = (&self.declared.name, verdicts.at);
        let last = self.began.as_ref().map_or(Duration::ZERO, |began| began.last);
        let room_at = self.room_at();
        // A lane that waits for room goes on at a whole millisecond, and later if its thread is blocked.
        let late = Duration::from_millis(1) + verdicts.held_up_since(last);
        verdicts.demand(
            Rule::C12,
            room_at.is_some_and(|room_at| at.saturating_sub(late) < room_at),
            || format!("the rate limit of {name} holds it back only when it is used up"),
            || match room_at {
                Some(room_at) => format!("there was room for a cycle from {room_at:?} on, and it is said at {at:?}"),
                None => "no cycle of it has begun".to_owned(),
            },
        );
        verdicts.demand(
            Rule::C12,
            self.limited_since.is_none(),
            || format!("it is said once that the rate limit of {name} holds it back"),
            || "it was said again".to_owned(),
        );
        self.limited_since = Some(at);
    }

    /// Rule C12: and once that it no longer does.
    pub(super) fn limit_eased(&mut self, after: Duration, verdicts: &mut Verdicts<'_>) {
        let (name, since) = (&self.declared.name, self.limited_since.take());
        let at = verdicts.at;
        verdicts.demand(
            Rule::C12,
            since.is_some_and(|since| at - since == after),
            || format!("the rate limit of {name} eases that long after it was reached"),
            || format!("after {after:?}, and it was reached {since:?} into the world"),
        );
    }

    /// Rule C12: nothing holds a worker back that has ended.
    pub(super) fn limit_forgotten(&mut self, verdicts: &mut Verdicts<'_>) {
        let forgotten = self.limited_since.take().is_some();
        let name = &self.declared.name;
        verdicts.demand(
            Rule::C12,
            !forgotten,
            || format!("the rate limit of {name} no longer holds it back when it has ended"),
            || "nobody has said so".to_owned(),
        );
    }

    /// Rule Q9: a batch is no larger than it may be.
    pub(super) fn batch_started(&mut self, task: u32, first: CycleId, cycles: u32, verdicts: &mut Verdicts<'_>) {
        let size = self.declared.batch.map_or(0, |batches| batches.size());
        verdicts.demand(
            Rule::Q9,
            (1..=size).contains(&(cycles as usize)),
            || format!("a batch of {} has from 1 to {size} inputs", self.declared.name),
            || format!("the one from cycle {first} on has {cycles}"),
        );
        self.begins_in_time(first, verdicts);
        self.batches.push(Batch {
            task,
            first: first.0,
            cycles: cycles.into(),
            began: verdicts.at,
            started: 0,
            ended: 0,
            over: None,
            panicked: None,
        });
    }

    /// A fault has said that the time of this cycle is up, or that of the batch that begins with it.
    pub(super) fn time_is_up(&mut self, cycle: CycleId) {
        let batch = self.batches.iter().find(|batch| batch.has(cycle) && batch.over.is_none());
        for running in &mut self.running {
            running.time_is_up |= running.cycle == cycle || batch.is_some_and(|batch| batch.has(running.cycle));
        }
    }

    /// Rules C5 and T4, for the call of a batch; what its cycles say of themselves is heard next.
    pub(super) fn batch_ended(&mut self, first: CycleId, failure: Option<FailureKind>, verdicts: &mut Verdicts<'_>) {
        let name = &self.declared.name;
        let batch = self.batches.iter_mut().find(|batch| batch.first == first.0 && batch.over.is_none());
        let complete = batch.as_ref().is_some_and(|batch| batch.started == batch.cycles);
        let panicked = batch.as_ref().and_then(|batch| batch.panicked).is_some_and(|it| it.ends_it(verdicts.at));
        verdicts.demand(
            Rule::Q9,
            complete,
            || format!("a batch of {name} that ends has begun, with every cycle of it"),
            || format!("the one from cycle {first} on has not"),
        );
        verdicts.demand(
            Rule::C5,
            !panicked || failure == Some(FailureKind::Panic),
            || format!("the batch of {name} from cycle {first} on panicked, and is said to have"),
            || format!("it is said to have ended: {failure:?}"),
        );
        let asked_to_end = batch.as_ref().is_some_and(|batch| {
            comes_of_being_asked(failure) && self.running.iter().any(|it| it.asked_to_end && batch.has(it.cycle))
        });
        verdicts.demand(
            Rule::T4,
            !asked_to_end,
            || format!("a batch of {name} that was asked to end, and fails, was interrupted"),
            || format!("the one from cycle {first} on is said to have failed by itself: {failure:?}"),
        );
        if let Some(batch) = batch {
            batch.over = Some(verdicts.at);
        }
    }

    /// Rule Q9: the cycles of a batch worker begin with their batch, and on its task.
    pub(super) fn started_in_batch(&mut self, cycle: CycleId, task: u32, verdicts: &mut Verdicts<'_>) {
        if self.declared.batch.is_none() {
            return;
        }
        let (name, at) = (&self.declared.name, verdicts.at);
        let batch = self.batches.iter_mut().find(|batch| batch.has(cycle));
        let in_time = batch.as_ref().is_some_and(|batch| batch.task == task && batch.began == at);
        verdicts.demand(
            Rule::Q9,
            in_time,
            || format!("a cycle of {name} begins with its batch"),
            || format!("cycle {cycle} began by itself"),
        );
        if let Some(batch) = batch {
            batch.started += 1;
        }
    }

    /// Rule Q9: and they end with it.
    pub(super) fn ended_in_batch(&mut self, cycle: CycleId, verdicts: &mut Verdicts<'_>) {
        if self.declared.batch.is_none() {
            return;
        }
        let (name, at) = (&self.declared.name, verdicts.at);
        let batch = self.batches.iter_mut().find(|batch| batch.has(cycle));
        let in_time = batch.as_ref().is_some_and(|batch| batch.over == Some(at));
        verdicts.demand(
            Rule::Q9,
            in_time,
            || format!("the cycles of a batch of {name} end when its call does"),
            || format!("cycle {cycle} ended by itself"),
        );
        if let Some(batch) = batch {
            batch.ended += 1;
        }
        self.batches.retain(|batch| batch.ended < batch.cycles);
    }
}
