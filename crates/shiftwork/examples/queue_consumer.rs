//! Charges the orders of a queue, several at a time, with settings from a file. What cannot be charged is moved aside for a
//! person to look at.
//!
//! ```sh
//! cargo run -p shiftwork --example queue_consumer
//! ```

use std::{error::Error, time::Duration};

use shiftwork::{
    Config, Context, Environment, Failure, Host, HostReport, QueueSourceExt, Retry, System,
    queue::{MemoryQueue, Message, Queue, QueueError},
};

#[derive(Debug, Clone)]
struct Order {
    number: u32,
    cents: i64,
}

async fn charge(order: Order, cx: Context) -> Result<(), Failure> {
    if order.cents <= 0 {
        // No retry makes it right: it becomes a dead letter at once.
        return Err(Failure::invalid(format!("order {} is about {} cents", order.number, order.cents)));
    }
    if order.number == 3 && cx.attempt() == 1 {
        // Any error through `?` is like this: transient, tried again with backoff.
        return Err(Failure::transient("the payment provider is busy"));
    }
    // At least once: after a crash an order may come again, so the provider gets a key that it knows it by.
    println!("charged order {} at attempt {}", order.number, cx.attempt());
    Ok(())
}

/// What would be a file beside the program.
const SETTINGS: &str = r#"
    [worker.charge]
    concurrency = 4
    retry = { attempts_max = 5, initial = "50ms" }
"#;

/// All of them, a page at a time.
async fn show_dead_letters(orders: &MemoryQueue<Order>) -> Result<(), QueueError> {
    let mut after = None;
    loop {
        let letters = orders.dead_letters(after, 100).await?;
        let Some(last) = letters.last() else { return Ok(()) };
        after = Some(last.id);
        for letter in &letters {
            println!("moved aside as {}: {:?}", letter.cause, letter.payload);
        }
    }
}

#[tokio::main]
async fn main() -> Result<HostReport, Box<dyn Error>> {
    // The log. Without a subscriber nobody hears it.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let config: Config = toml::from_str(SETTINGS)?;
    let orders = MemoryQueue::new();
    let messages = [1250, 300, 4999, -1].into_iter().zip(1..);
    let messages = messages.map(|(cents, number)| Message::new(Order { number, cents })).collect();
    orders.push(messages, System.now()).await?;

    let report = Host::builder()
        .worker("charge", orders.clone().source(), charge)
        .retry(Retry::exponential())
        .cycle_timeout(Duration::from_secs(30))
        // Called for an order that is given up: its attempts are exhausted, or it has ended its process again and again. Page
        // somebody here.
        .on_escalation(|it| eprintln!("{}: {} after {} failed attempts", it.worker, it.cause.message, it.attempts))
        .config(config)
        .run_until_signal()
        .await;

    // The report is the exit code, whatever becomes of this.
    if let Err(error) = show_dead_letters(&orders).await {
        eprintln!("could not read the dead letters: {error}");
    }
    Ok(report)
}
