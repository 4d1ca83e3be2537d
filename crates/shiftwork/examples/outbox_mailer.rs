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
    id: u32,
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
    ///
    /// A mail may go twice: when the process dies, or the cycle is dropped, after the server took it and before it is struck off. A
    /// `Message-ID` that is made of its id tells whoever gets it again that it is the same mail.
    async fn send(&self, mail: &Mail) -> Result<(), std::io::Error> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        println!("sent to {}: {}", mail.to, mail.text);
        Ok(())
    }

    /// Stands for a `DELETE`. By its id: another one may have become the first meanwhile.
    fn strike_off(&self, id: u32) {
        self.outbox().retain(|mail| mail.id != id);
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
            self.strike_off(mail.id);
            cx.progress();
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
    // The log. Without a subscriber nobody hears it.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mails = [
        Mail { id: 1, to: "ada@example.org", text: "your order is on its way" },
        Mail { id: 2, to: "ben@example.org", text: "your invoice" },
    ];
    let outbox: Outbox = Arc::new(Mutex::new(mails.into()));
    Host::builder()
        // A pause between cycles, not a rate: a slow mail server is not asked more often for it.
        .worker("mailer", Schedule::with_delay(Duration::from_secs(1)), Mailer { outbox })
        .retry(Retry::exponential().attempts_max(10))
        // A long outbox takes as long as it takes: the limit is that of one mail.
        .no_cycle_timeout()
        .progress_timeout(Duration::from_secs(30))
        .run_until_signal()
        .await
}
