//! Sends what waits in an outbox: the mails that the application wrote together with its data, in one transaction. One that the mail
//! server refuses for good is set aside, and keeps none of the others.
//!
//! ```sh
//! cargo run -p shiftwork --example outbox_mailer
//! ```

use std::{
    collections::VecDeque,
    io,
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

/// Stands for two tables of a database.
#[derive(Default)]
struct Outbox {
    waiting: VecDeque<Mail>,
    /// With what the mail server said, for a person to look at.
    refused: Vec<(Mail, String)>,
}

/// What the mail server says to a mail.
enum Reply {
    Taken,
    /// Not this one, however often it is sent: a 5xx, as for an address that does not exist.
    Refused(String),
}

struct Mailer {
    outbox: Arc<Mutex<Outbox>>,
}

impl Mailer {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands for an SMTP client. An error is about the server, which is down or busy, and so about every mail.
    ///
    /// A mail may go twice: when the process dies, or the cycle is dropped, after the server took it and before it is struck off. A
    /// `Message-ID` that is made of its id tells whoever gets it again that it is the same mail.
    async fn send(&self, mail: &Mail) -> io::Result<Reply> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if !mail.to.contains('@') {
            return Ok(Reply::Refused("550 no such mailbox".to_owned()));
        }
        println!("sent to {}: {}", mail.to, mail.text);
        Ok(Reply::Taken)
    }

    /// Stands for a `DELETE`. By its id: another one may have become the first meanwhile.
    fn strike_off(&self, id: u32) {
        self.outbox().waiting.retain(|mail| mail.id != id);
    }

    /// Stands for a transaction that moves it from one table to the other.
    fn set_aside(&self, mail: Mail, why: String) {
        println!("set aside the mail to {}: {why}", mail.to);
        let mut outbox = self.outbox();
        outbox.waiting.retain(|other| other.id != mail.id);
        outbox.refused.push((mail, why));
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
            let Some(mail) = self.outbox().waiting.front().cloned() else { break };
            // A cycle that fails here, panics or is dropped leaves it where it is.
            let reply = self.send(&mail).await?;
            match reply {
                Reply::Taken => self.strike_off(mail.id),
                // It would be the first again in each cycle, and no other would ever be sent.
                Reply::Refused(why) => self.set_aside(mail, why),
            }
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
        Mail { id: 2, to: "bea at example.org", text: "your refund" },
        Mail { id: 3, to: "ben@example.org", text: "your invoice" },
    ];
    // The application has it, too, and puts its mails there.
    let outbox = Arc::new(Mutex::new(Outbox { waiting: mails.into(), ..Outbox::default() }));
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
