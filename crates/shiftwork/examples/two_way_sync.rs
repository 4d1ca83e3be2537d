//! Keeps two systems in step. When the other side is down, a breaker pauses the work instead of hammering it, probes, and
//! resumes by itself.
//!
//! ```sh
//! cargo run -p shiftwork --example two_way_sync
//! ```

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use shiftwork::{Breaker, Context, Event, Failure, Host, HostReport, Retry, Schedule, Tick, Worker};

/// Each contact with the version at which it was written last.
type Contacts = BTreeMap<&'static str, u64>;

/// Stands for the other system, which is down for its first calls.
#[derive(Default)]
struct Remote {
    contacts: Mutex<Contacts>,
    calls: AtomicU32,
}

impl Remote {
    fn call(&self) -> io::Result<MutexGuard<'_, Contacts>> {
        if self.calls.fetch_add(1, Ordering::Relaxed) < 4 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(self.contacts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Sync {
    local: Mutex<Contacts>,
    remote: Arc<Remote>,
}

impl Worker for Sync {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let mut remote = self.remote.call()?;
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        // The newer version wins on both sides. To do it twice changes nothing: a cycle that was cut short is just run again.
        let (to_remote, to_local) = (newer(&local, &remote), newer(&remote, &local));
        println!("in step: {} out, {} in", to_remote.len(), to_local.len());
        remote.extend(to_remote);
        local.extend(to_local);
        Ok(())
    }
}

fn newer(from: &Contacts, than: &Contacts) -> Contacts {
    from.iter()
        .filter(|(name, version)| than.get(*name) < Some(version))
        .map(|(name, version)| (*name, *version))
        .collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> HostReport {
    // The log. Without a subscriber nobody hears it.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let remote = Arc::new(Remote::default());
    remote.contacts.lock().unwrap_or_else(PoisonError::into_inner).insert("ben", 2);
    let sync = Sync { local: Mutex::new([("ada", 1), ("ben", 1)].into()), remote };
    Host::builder()
        .listener(|_, event: &Event| match event {
            Event::BreakerOpened { failures, .. } => println!("paused after {failures} failures"),
            Event::BreakerClosed { .. } => println!("the other side is back"),
            _ => {}
        })
        .worker("sync", Schedule::with_delay(Duration::from_millis(100)), sync)
        // The next tick looks at everything again, so a failed one need not be tried again by itself.
        .retry(Retry::never())
        // A service would probe every few seconds.
        .breaker(Breaker::after(3).probe_every(Duration::from_millis(200)))
        .run_until_signal()
        .await
}
