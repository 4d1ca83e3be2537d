//! Sends what waits in an outbox: the mails that the application wrote together with its data, in one transaction.
//!
//! ```sh
//! cargo run -p shiftwork --example outbox_mailer
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shiftwork::{Context, Failure, Host, HostReport, Retry, Schedule, Tick, Worker};

#[derive(Clone)]
struct Mail {
    to: &'static str,
    text: &'static str,
}

/// Stands for a table of a database.
type Outbox = Arc<Mutex<VecDeque<Mail>>>;

struct Mailer {
    outbox: Outbox,
}

impl Mailer {
    fn outbox(&self) -> MutexGuard<'_, VecDeque<Mail>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands for an SMTP client.
    async fn send(&self, mail: &Mail) -> Result<(), std::io::Error> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        println!("sent to {}: {}", mail.to, mail.text);
        Ok(())
    }
}

impl Worker for Mailer {
    type Input = Tick;

    /// Ready once this returns. What fails here stops the host before anything runs.
    async fn start(&self) -> Result<(), Failure> {
        println!("connected to the mail server");
        Ok(())
    }

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        // A stop that comes while a long outbox is sent need not wait for the whole of it.
        while !cx.stopping() {
            let Some(mail) = self.outbox().front().cloned() else { break };
            // Struck off only once it is sent: a cycle that fails here, panics or is dropped leaves it where it is.
            self.send(&mail).await?;
            self.outbox().pop_front();
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        println!("disconnected from the mail server");
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> HostReport {
    let mails = [("ada@example.org", "your order is on its way"), ("ben@example.org", "your invoice")];
    let outbox: Outbox = Arc::new(Mutex::new(mails.map(|(to, text)| Mail { to, text }).into()));
    Host::builder()
        // A pause between cycles, not a rate: a slow mail server is not asked more often for it.
        .worker("mailer", Schedule::with_delay(Duration::from_secs(1)), Mailer { outbox })
        .retry(Retry::exponential().attempts_max(10))
        .cycle_timeout(Duration::from_secs(60))
        .run_until_signal()
        .await
}
