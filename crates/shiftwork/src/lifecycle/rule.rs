//! The numbered rules of `docs/lifecycle.md`. An invariant and a test name the rule that they check.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! rules {
    ($($rule:ident = $title:literal,)*) => {
        /// A rule of the lifecycle. `docs/lifecycle.md` has the whole text of each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Rule {
            $(#[doc = $title] $rule,)*
        }

        impl Rule {
            /// Every rule, in the order of the specification.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            /// Its number, as in `T1`.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self {
                    $(Rule::$rule => stringify!($rule),)*
                }
            }

            /// What it says, in one line.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {
                    $(Rule::$rule => $title,)*
                }
            }
        }
    };
}

rules! {
    S1 = "a worker starts after the workers that it comes after are ready",
    S2 = "no cycle starts before every worker is ready",
    S3 = "a start hook has a time limit",
    S4 = "a failed or interrupted start stops what had started, in reverse order",
    S5 = "the root cause of a failed start is reported",
    S6 = "a body that never ran is reported as such",
    S7 = "a service is ready when it says so",
    S8 = "what ends before its host runs did not start",
    C1 = "a failed cycle does not end its worker",
    C2 = "attempts are counted from 1 and capped by the policy",
    C3 = "a retry waits as long as the policy says",
    C4 = "bad input is moved aside at once",
    C5 = "a panic is caught, counts as an attempt, and leaves its siblings alone",
    C6 = "a cycle that runs past its timeout is cancelled and counts as an attempt",
    C7 = "an input that is given up is moved aside and escalated",
    C8 = "every cycle that starts ends, and every failure is said",
    C9 = "no more cycles run side by side than declared",
    C10 = "what a cycle puts off comes again unspent, and what it drops is gone",
    C11 = "a cycle that stops making progress is cancelled and counts as an attempt",
    C12 = "cycles begin no more often than the rate limit says",
    F1 = "a worker is restarted as its fault policy says, and no more often",
    F2 = "a worker's restart leaves the others alone",
    F3 = "a service that returns unasked has faulted",
    F4 = "a group is restarted as its strategy says",
    F5 = "the restarts of a group are counted together",
    Q1 = "a delivery is acknowledged only after its cycle succeeded",
    Q2 = "a delivery has one live attempt at a time",
    Q3 = "nothing that was pushed is lost",
    Q4 = "a host that has stopped holds no lease",
    Q5 = "a delivery whose leases keep lapsing is moved aside",
    Q6 = "a lost lease interrupts its cycle",
    Q7 = "deliveries of one ordering key are worked on one at a time, in order",
    Q8 = "a lease is renewed only while its cycle may run",
    Q9 = "each input of a batch has a verdict of its own",
    Q10 = "what failed or crashed before runs in a batch of its own",
    Q11 = "a worker that claims again what it still works on ends that first",
    D1 = "a fixed rate does not drift",
    D2 = "ticks of a schedule overlap only where that is allowed",
    D3 = "missed ticks are counted, and served as the policy says",
    D4 = "a fixed delay is kept between cycles",
    D5 = "a tick of the calendar comes due at its time, and once",
    D6 = "a tick that does not wait ends the cycle before it",
    B1 = "an open breaker starts no cycle but its probes",
    B2 = "retries keep within their budget, and those that it holds back are not lost",
    P1 = "no cycle starts while its worker is paused",
    P2 = "what is in flight when its worker is paused goes on",
    P3 = "a trigger is served at once and moves nothing else",
    T1 = "no cycle starts after intake closed",
    T2 = "workers stop in the reverse of their start order",
    T3 = "a stop ends within its budget",
    T4 = "what a stop interrupts is returned and its attempt not spent",
    T5 = "a second signal aborts, a third leaves",
    T6 = "no task outlives its host",
    T7 = "intake stays open for the delay before the drain",
    T8 = "stragglers are named at each step of a stop",
    T9 = "a process that was told to end ends in time",
    T10 = "a worker that is stopped alone is drained, and the others go on",
    V1 = "a host reports a verdict for every worker",
    V2 = "the exit code is that of the worst thing that happened",
    L1 = "once faults heal, work is done again",
    L2 = "nothing runs for ever without time passing",
    L3 = "no poll blocks its thread",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id(), self.title())
    }
}
