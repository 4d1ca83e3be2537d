//! Read a frame, or send a ping when a second has passed. The read has taken its header off the stream when the ping wins, and the future that
//! knew it is dropped.

use std::{collections::BTreeSet, sync::atomic::AtomicU32, sync::atomic::Ordering};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::{every_second, flag, never, waiting},
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, Ledger, World, secs};
use tokio::time::sleep;

const RULE: &str = "frames are handled in order";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "frame-dropped-in-select",
    about: "a half-read frame is dropped when the other branch of a `select!` is ready",
    area: Area::Cancel,
    rule: RULE,
    sites: Sites { dependencies: &[], queues: &["wire"], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 400,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

struct Connection<const BUG: bool> {
    wire: Dependency,
    /// What the other side has to send and was not told to be done.
    unconfirmed: Ledger<BTreeSet<u32>>,
    out_of_order: Ledger<bool>,
}

impl<const BUG: bool> Connection<BUG> {
    /// Takes the header of the next frame off the stream, then waits for its body.
    async fn read(&self, position: &AtomicU32) -> Result<u32, Failure> {
        let frame = position.fetch_add(1, Ordering::Relaxed);
        self.wire.call(async {}).await?;
        Ok(frame)
    }

    async fn next_frame(&self, position: &AtomicU32) -> Result<u32, Failure> {
        let mut read = Box::pin(self.read(position));
        loop {
            tokio::select! {
                frame = &mut read => return frame,
                () = sleep(secs(1)) => {
                    // Time for a ping; then the read goes on.
                    if BUG {
                        read = Box::pin(self.read(position));
                    }
                }
            }
        }
    }
}

impl<const BUG: bool> Worker for Connection<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        // A new connection begins with what was not confirmed on the last one.
        let Some(first) = self.unconfirmed.lock().first().copied() else { return Ok(()) };
        let position = AtomicU32::new(first);
        for _ in 0..3 {
            let Some(expected) = self.unconfirmed.lock().first().copied() else { return Ok(()) };
            let frame = self.next_frame(&position).await?;
            if frame != expected {
                *self.out_of_order.lock() = true;
            }
            self.unconfirmed.lock().remove(&frame);
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let wire = world.dependency("wire");
    let (unconfirmed, out_of_order) = (waiting(150), flag());
    never(world, RULE, &out_of_order);
    every_second(world, move || Connection::<BUG> {
        wire: wire.clone(),
        unconfirmed: unconfirmed.clone(),
        out_of_order: out_of_order.clone(),
    });
}
