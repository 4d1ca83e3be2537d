//! *Email*: a scheduled worker that sends what waits in an outbox.
//!
//! Mails arrive in a durable outbox at the times of `data/outbox.jsonl`. Every few seconds the worker sends those that wait, one
//! after the other, and strikes each off once the mail server has accepted it. A crash between the two sends a mail
//! twice; nothing may ever strike off one that was not sent.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use shiftwork::{Context, Failure, HostBuilder, Retry, Schedule, StopBudget, Tick, Worker, event::Event};
use shiftwork_sim::{Dependency, Ledger, Scenario, Surface, What, World, millis, secs};

const FILE: &str = include_str!("data/outbox.jsonl");

/// One mail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mail {
    /// Unique.
    pub id: u32,
    /// When the application writes it, in milliseconds since the world began.
    #[serde(default)]
    pub arrives_ms: u64,
    /// To whom.
    pub to: String,
    /// About what.
    pub subject: String,
}

/// Sends mails.
#[mockall::automock]
pub trait Mailer: Send + Sync + 'static {
    /// Sends one; `Ok` is the server's word that it has it.
    fn send(&self, mail: &Mail) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Where the application leaves its mails.
pub trait Outbox: Send + Sync + 'static {
    /// The mails that wait, oldest first.
    fn waiting(&self) -> impl Future<Output = Result<Vec<Mail>, Failure>> + Send;

    /// Strikes one off.
    fn strike_off(&self, id: u32) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Sends what waits.
#[derive(Debug)]
pub struct SendMails<O, M> {
    /// Where mails wait.
    pub outbox: O,
    /// Who sends them.
    pub mailer: M,
}

impl<O: Outbox, M: Mailer> Worker for SendMails<O, M> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        // An outbox that cannot be read is found out before anything runs.
        self.outbox.waiting().await.map(drop)
    }

    async fn cycle(&self, _: Tick, cx: &Context) -> Result<(), Failure> {
        // One recipient after the other: a server that knows its guest answers faster. In which order does not matter.
        let mut recipients: HashMap<String, Vec<Mail>> = HashMap::new();
        for mail in self.outbox.waiting().await? {
            recipients.entry(mail.to.clone()).or_default().push(mail);
        }
        for mail in recipients.into_values().flatten() {
            if cx.stopping() {
                // The rest is for the next start; it waits in the outbox.
                break;
            }
            tokio::select! {
                sent = self.mailer.send(&mail) => sent?,
                () = cx.cancelled() => return Err(Failure::interrupted("asked to stop while a mail was on its way")),
            }
            self.outbox.strike_off(mail.id).await?;
        }
        Ok(())
    }
}

/// The application: what `main` would build around a real outbox and a real mail server.
pub fn application<O: Outbox, M: Mailer>(host: HostBuilder, outbox: O, mailer: M) -> HostBuilder {
    around(host, SendMails { outbox, mailer })
}

fn around(host: HostBuilder, worker: impl Worker<Input = Tick>) -> HostBuilder {
    host.worker("send-mails", Schedule::every(secs(2)), worker)
        .cycle_timeout(secs(30))
        .retry(Retry::exponential().initial(millis(500)).max(secs(10)).attempts_max(4))
        .host()
}

/// The outbox's table, and how often the server accepted each mail.
#[derive(Debug, Clone, Default)]
struct State {
    waiting: BTreeMap<u32, Mail>,
    written: u32,
    accepted: BTreeMap<u32, u32>,
    /// The first mail that was struck off without having been accepted.
    lost: Option<u32>,
}

type Shared = Ledger<State>;

struct SimOutbox {
    database: Dependency,
    state: Shared,
}

impl Outbox for SimOutbox {
    async fn waiting(&self) -> Result<Vec<Mail>, Failure> {
        Ok(self.database.call(async { self.state.lock().waiting.values().cloned().collect() }).await?)
    }

    async fn strike_off(&self, id: u32) -> Result<(), Failure> {
        let struck = async {
            let mut state = self.state.lock();
            if !state.accepted.contains_key(&id) {
                state.lost.get_or_insert(id);
            }
            state.waiting.remove(&id);
        };
        Ok(self.database.call(struck).await?)
    }
}

struct SimMailer {
    smtp: Dependency,
    state: Shared,
}

impl Mailer for SimMailer {
    async fn send(&self, mail: &Mail) -> Result<(), Failure> {
        let accepted = async { *self.state.lock().accepted.entry(mail.id).or_default() += 1 };
        Ok(self.smtp.call(accepted).await?)
    }
}

/// The scenario.
#[derive(Debug)]
pub struct Email;

impl Scenario for Email {
    fn name(&self) -> &'static str {
        "email"
    }

    fn about(&self) -> &'static str {
        "a scheduled worker sends what waits in an outbox, at least once each"
    }

    fn surface(&self) -> Surface {
        Surface { dependencies: vec!["smtp".into(), "outbox".into()], queues: Vec::new(), horizon: secs(60) }
    }

    fn stubborn(&self) -> Vec<String> {
        vec!["smtp".into()]
    }

    fn workers(&self) -> Vec<String> {
        vec!["send-mails".into()]
    }

    fn build(&self, world: &mut World) {
        let state = Shared::default();
        let smtp = world.dependency("smtp");
        let database = world.dependency("outbox");
        let mails: Vec<Mail> = FILE.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let count = u32::try_from(mails.len()).unwrap_or(u32::MAX);
        for mail in mails {
            let state = state.clone();
            world.at(millis(mail.arrives_ms), "mail", move || {
                let mut state = state.lock();
                state.written += 1;
                state.waiting.insert(mail.id, mail);
            });
        }

        let application_state = state.clone();
        world.node("mailer", move |node| {
            let outbox = SimOutbox { database: database.clone(), state: application_state.clone() };
            let mailer = SimMailer { smtp: smtp.clone(), state: application_state.clone() };
            // A client of a mail server may well not hear that it is to end.
            let host = node.host().stop_budget(StopBudget::default().drain(secs(4)));
            around(host, smtp.stubborn(SendMails { outbox, mailer })).run_until_signal()
        });

        let waiting = state.clone();
        world.done_when(move || {
            let state = waiting.lock();
            state.written == count && state.waiting.is_empty()
        });
        let kept = state.clone();
        world.always("a mail stays in the outbox until it was sent", move |_| match kept.lock().lost {
            Some(id) => Err(format!("mail {id} was struck off, and was never accepted")),
            None => Ok(()),
        });
        let mut closed = false;
        world.always("no mail is begun once the worker is to stop", move |record| {
            match &record.what {
                What::Booted { .. } => closed = false,
                What::Host(Event::IntakeClosed { .. }) => closed = true,
                // The sites are numbered as they were made: 0 is smtp.
                What::CallBegan { site, call } if closed && site.0 == 0 => {
                    return Err(format!("call {call} to smtp was begun after intake was closed"));
                }
                _ => {}
            }
            Ok(())
        });
        world.at_end("every mail is sent at least once", move || {
            let state = state.lock();
            match (1..=count).find(|id| !state.accepted.contains_key(id)) {
                Some(id) => Err(format!("mail {id} was never accepted")),
                None => Ok(()),
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_file_is_a_mail() {
        let mails = FILE.lines().map(serde_json::from_str::<Mail>).collect::<Result<Vec<_>, _>>();
        assert_eq!(mails.unwrap().len(), 120);
    }
}
