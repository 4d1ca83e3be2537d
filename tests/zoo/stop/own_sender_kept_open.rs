//! The writer ends when its channel is closed; the channel is closed when the last sender is dropped; and the last sender is a field of
//! the one who waits for the writer.

use std::{sync::Mutex, sync::PoisonError};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::every_second,
};
use shiftwork::{
    Context, Failure, Tick, Worker,
    event::{Event, WorkerPhase},
};
use shiftwork_sim::{What, World};
use tokio::{sync::mpsc, task::JoinHandle};

const RULE: &str = "no worker is left behind in its stop hook";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "own-sender-kept-open",
    about: "a stop hook waits for the end of a channel whose sender it holds",
    area: Area::Stop,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 30 },
    profile: Profile::Gentle,
    budget: 20,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Log<const BUG: bool> {
    lines: Mutex<Option<mpsc::UnboundedSender<u64>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl<const BUG: bool> Worker for Log<BUG> {
    type Input = Tick;

    async fn start(&self) -> Result<(), Failure> {
        let (sender, mut lines) = mpsc::unbounded_channel();
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let writer = tokio::spawn(async move { while lines.recv().await.is_some() {} });
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }

    async fn cycle(&self, tick: Tick, _: &Context) -> Result<(), Failure> {
        if let Some(lines) = &*self.lines.lock().unwrap_or_else(PoisonError::into_inner) {
            lines.send(tick.number)?;
        }
        Ok(())
    }

    async fn stop(&self) -> Result<(), Failure> {
        if !BUG {
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            writer.await?;
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    world.always(RULE, |record| match &record.what {
        What::Host(Event::WorkerAbandoned { phase: WorkerPhase::Closing, .. }) => Err("one was".to_owned()),
        _ => Ok(()),
    });
    every_second(world, || Log::<BUG> { lines: Mutex::new(None), writer: Mutex::new(None) });
}
