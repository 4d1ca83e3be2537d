//! *Orders*: a queue worker that charges each order of a file exactly once.
//!
//! The queue holds the lines of `data/orders.jsonl` as they came: parsing is the worker's job, so that a bad line is handled apart, with
//! its number and its reason, and never costs its siblings. The payment service knows an order by its idempotency key;
//! a charge that is repeated after a lost reply or a crash does nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use serde::Deserialize;
use shiftwork::{
    Breaker, Context, Failure, HostBuilder, QueueSourceExt, Retry, Schedule, Tick, Worker,
    queue::{DeadLetterCause, Queue, Timestamp},
};
use shiftwork_sim::{Dependency, Ledger, Scenario, SimQueue, Surface, World, dependency::Latency, millis, secs};

const FILE: &str = include_str!("data/orders.jsonl");

/// The longest line that is taken for an order, in bytes.
const LINE_MAX: usize = 16 * 1024;

/// One line of the file, as it is queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: u32,
    /// As it came.
    pub text: Arc<str>,
}

/// The lines of the file, read once for all worlds.
pub fn lines() -> impl Iterator<Item = Line> {
    static LINES: LazyLock<Vec<Line>> =
        LazyLock::new(|| (1..).zip(FILE.lines()).map(|(number, text)| Line { number, text: text.into() }).collect());
    LINES.iter().cloned()
}

/// What each valid order costs, and which lines are bad.
struct Expected {
    charges: BTreeMap<String, u64>,
    bad: BTreeSet<u32>,
}

static EXPECTED: LazyLock<Expected> = LazyLock::new(|| Expected {
    charges: lines().filter_map(|line| parse(&line).ok()).map(|order| (order.id, order.amount_cents)).collect(),
    bad: lines().filter(|line| parse(line).is_err()).map(|line| line.number).collect(),
});

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// Unique; the idempotency key of its charge.
    pub id: String,
    /// Who pays.
    pub customer: String,
    /// How much, in hundredths of the currency; never 0.
    pub amount_cents: u64,
    /// In which currency.
    pub currency: Currency,
}

/// What orders are paid in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "ISO 4217 says what they are")]
pub enum Currency {
    Eur,
    Usd,
    Gbp,
    Chf,
}

/// Reads one line as an order.
///
/// # Errors
///
/// An invalid failure that names the line and what is wrong with it.
pub fn parse(line: &Line) -> Result<Order, Failure> {
    let number = line.number;
    if line.text.len() > LINE_MAX {
        let length = line.text.len();
        return Err(Failure::invalid(format!(
            "line {number}: {length} bytes are more than the {LINE_MAX} of an order"
        )));
    }
    let order: Order =
        serde_json::from_str(&line.text).map_err(|error| Failure::invalid(format!("line {number}: {error}")))?;
    if order.id.is_empty() {
        return Err(Failure::invalid(format!("line {number}: an order needs an id")));
    }
    if order.amount_cents == 0 {
        return Err(Failure::invalid(format!("line {number}: an order of nothing cannot be charged")));
    }
    Ok(order)
}

/// The payment service, as the worker sees it.
pub trait Payments: Send + Sync + 'static {
    /// Charges an order. Repeating it with the same order does nothing more.
    fn charge(&self, order: &Order) -> impl Future<Output = Result<(), Failure>> + Send;
}

struct ChargeOrders<P> {
    payments: P,
}

/// Looks after the queue: an operator wants to know when it grows, and when dead letters wait for a person.
struct WatchQueue<Q> {
    orders: Q,
}

impl<Q: Queue<Line>> Worker for WatchQueue<Q> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        // A queue that cannot be asked now cannot be worked either: better not to start than to find out later.
        self.orders.depth(Timestamp::UNIX_EPOCH).await?;
        Ok(())
    }

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        let depth = self.orders.depth(cx.wall_time()).await?;
        if depth.dead > 0 {
            tracing::warn!(dead = depth.dead, unsettled = depth.unsettled(), "dead letters wait for review");
        }
        Ok(())
    }
}

impl<P: Payments> Worker for ChargeOrders<P> {
    type Input = Line;

    async fn cycle(&self, line: Line, _: &Context) -> Result<(), Failure> {
        let order = parse(&line)?;
        self.payments.charge(&order).await
    }
}

/// The application: what `main` would build around a real queue and a real payment service.
pub fn application<Q: Queue<Line> + Clone, P: Payments>(host: HostBuilder, orders: Q, payments: P) -> HostBuilder {
    // Outages last longer than a policy for a single bad order would: what must not happen is that one fills the
    // dead letters, so the attempts outlast it.
    let patient = Retry::exponential().initial(millis(500)).max(secs(30)).attempts_max(25);
    host.worker("watch", Schedule::every(secs(10)), WatchQueue { orders: orders.clone() })
        .cycle_timeout(secs(8))
        .worker("charge", orders.source().lease(secs(30)), ChargeOrders { payments })
        .concurrency(4)
        .cycle_timeout(secs(10))
        .retry(patient)
        // While the service is down there is no point in trying one order after the other.
        .breaker(Breaker::after(6).probe_every(secs(2)).probe_max(secs(20)))
        // A deploy that goes wrong kills the process again and again; that is not the order's fault.
        .crashes_max(50)
        .after("watch")
        .host()
}

/// What the payment service has booked, in cents, by idempotency key.
type Charges = Ledger<BTreeMap<String, u64>>;

struct SimPayments {
    dependency: Dependency,
    charges: Charges,
}

impl Payments for SimPayments {
    async fn charge(&self, order: &Order) -> Result<(), Failure> {
        // A key that was seen before books nothing more.
        let book = async { *self.charges.lock().entry(order.id.clone()).or_insert(order.amount_cents) };
        self.dependency.call(book).await?;
        Ok(())
    }
}

/// The scenario.
#[derive(Debug)]
pub struct Orders;

impl Scenario for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn about(&self) -> &'static str {
        "a queue worker charges each of a thousand orders exactly once, whatever its lines are like"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["payments".into()], queues: vec!["orders".into()], horizon: secs(45) }
    }

    fn workers(&self) -> Vec<String> {
        ["watch", "charge"].map(str::to_owned).to_vec()
    }

    fn build(&self, world: &mut World) {
        let charges = Charges::default();
        // A thousand charges by four lanes take about half a minute: faults have something to strike.
        let dependency = world.dependency_with("payments", Latency::uniform(millis(50), millis(200)));
        let queue: SimQueue<Line> = world.queue("orders");
        queue.seed(lines());

        let (orders, booked) = (queue.clone(), charges.clone());
        world.node("charger", move |node| {
            let payments = SimPayments { dependency: dependency.clone(), charges: booked.clone() };
            application(node.host(), orders.clone(), payments).run_until_signal()
        });

        let waiting = queue.clone();
        world.done_when(move || waiting.inspect_depth().unsettled() == 0);
        world.at_end("every valid order is charged, and nothing else", move || check_charges(&charges));
        world.at_end("every bad line is in the dead letters with its reason", move || check_dead_letters(&queue));
    }
}

fn check_charges(charges: &Charges) -> Result<(), String> {
    let charges = charges.lock();
    let valid = &EXPECTED.charges;
    for (id, amount_cents) in valid {
        match charges.get(id) {
            Some(booked) if booked == amount_cents => {}
            Some(booked) => return Err(format!("{id} of {amount_cents} cents was booked with {booked}")),
            None => return Err(format!("{id} was never charged")),
        }
    }
    match charges.keys().find(|id| !valid.contains_key(*id)) {
        Some(id) => Err(format!("{id} was charged, though no valid line has it")),
        None => Ok(()),
    }
}

fn check_dead_letters(queue: &SimQueue<Line>) -> Result<(), String> {
    let mut missing = EXPECTED.bad.clone();
    for letter in queue.inspect_dead_letters() {
        // What nobody can decode is of another producer.
        let Ok(line) = &letter.payload else { continue };
        if !EXPECTED.bad.contains(&line.number) {
            return Err(format!("line {} is in the dead letters ({}), though it is good", line.number, letter.cause));
        }
        let reason = letter.history.last().map(|failure| failure.message.as_str()).unwrap_or_default();
        if letter.cause != DeadLetterCause::Invalid || !reason.starts_with(&format!("line {}: ", line.number)) {
            return Err(format!("line {} was moved aside as {} for {reason:?}", line.number, letter.cause));
        }
        // It may have been stored twice.
        missing.remove(&line.number);
    }
    match missing.first() {
        Some(number) => Err(format!("line {number} is bad, and not in the dead letters")),
        None => Ok(()),
    }
}

/// How long a quiet world of the scenario takes about, for tests that want to strike in its middle.
pub const TAKES_ABOUT: Duration = secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_a_thousand_lines_of_every_sort() {
        assert_eq!(lines().count(), 1000);
        let good: Vec<Order> = lines().filter_map(|line| parse(&line).ok()).collect();
        let ids: BTreeSet<&str> = good.iter().map(|order| &*order.id).collect();
        assert!(ids.len() < good.len(), "some are duplicate");
        assert!(lines().any(|line| line.text.len() > LINE_MAX), "some are huge");
        assert!(lines().any(|line| parse(&line).is_err() && line.text.len() < LINE_MAX), "some are malformed");
    }

    #[test]
    fn a_malformed_order_is_refused_with_its_line_and_the_reason() {
        let line = |text: &str| Line { number: 7, text: text.into() };
        let message = |text: &str| parse(&line(text)).unwrap_err().cause().to_string();
        assert_eq!(message(""), "invalid: line 7: EOF while parsing a value at line 1 column 0");
        let doubloons = r#"{"id":"a","customer":"b","amount_cents":1,"currency":"DOUBLOON"}"#;
        assert!(message(doubloons).contains("DOUBLOON") && message(doubloons).contains("`EUR`"));
    }
}
