//! Send the request, wait for the reply, and give up when that takes too long. The reply comes all the same, and waits on the connection for
//! whoever reads next: every later request gets the answer to the one before. Where connections are shared, one customer sees what is
//! another's.
//!
//! Only a call that is dropped while its caller goes on shows it. What else goes wrong with a request does so before it is sent or after its
//! reply was read; and what drops the whole cycle, or ends the process, drops the cycle's connection as well.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    exhibit::{Area, Exhibit, Profile, Sites},
    props::every_second,
};
use shiftwork::{Context, Failure, Tick, Worker};
use shiftwork_sim::{Dependency, DependencyError, Ledger, World};
use tokio::task::yield_now;

const RULE: &str = "every price is that of its article";

pub const EXHIBIT: Exhibit = Exhibit {
    name: "reply-left-on-the-connection",
    about: "a call that is given up leaves its reply on the connection, where the next one reads it",
    area: Area::Cancel,
    rule: RULE,
    sites: Sites { dependencies: &["supplier"], queues: &[], nodes: &[], stubborn: &[], horizon_secs: 60 },
    profile: Profile::Harsh,
    budget: 600,
    needs_two_faults: false,
    leaves_out: &[],
    bug: build::<true>,
    twin: build::<false>,
};

/// What the supplier asks for an article.
fn price_of(article: u32) -> u32 {
    100 * article
}

/// A connection to the supplier, who answers in the order of the requests.
#[derive(Default)]
struct Connection {
    replies: VecDeque<u32>,
}

impl Connection {
    /// Sends a request, and reads the next reply.
    async fn ask(&mut self, article: u32) -> Option<u32> {
        self.replies.push_back(price_of(article));
        // It is on its way.
        yield_now().await;
        self.replies.pop_front()
    }
}

struct Prices<const BUG: bool> {
    supplier: Dependency,
    prices: Ledger<BTreeMap<u32, u32>>,
}

impl<const BUG: bool> Prices<BUG> {
    async fn look_up(&self, kept: &mut Option<Connection>, article: u32) -> Result<Option<u32>, DependencyError> {
        if BUG {
            let connection = kept.get_or_insert_default();
            self.supplier.call(connection.ask(article)).await
        } else {
            // Only who has read the reply puts it back.
            let mut connection = kept.take().unwrap_or_default();
            let price = self.supplier.call(connection.ask(article)).await?;
            *kept = Some(connection);
            Ok(price)
        }
    }
}

impl<const BUG: bool> Worker for Prices<BUG> {
    type Input = Tick;

    async fn cycle(&self, _: Tick, _: &Context) -> Result<(), Failure> {
        let mut connection = None;
        for article in 1..=5 {
            // What is not known now keeps its price until the next round.
            if let Ok(Some(price)) = self.look_up(&mut connection, article).await {
                self.prices.lock().insert(article, price);
            }
        }
        Ok(())
    }
}

fn build<const BUG: bool>(world: &mut World) {
    let supplier = world.dependency("supplier");
    let prices: Ledger<BTreeMap<u32, u32>> = Ledger::default();
    let shown = prices.clone();
    world.always(RULE, move |_| match shown.lock().iter().find(|(article, price)| **price != price_of(**article)) {
        Some((article, price)) => Err(format!("article {article} was given for {price}")),
        None => Ok(()),
    });
    every_second(world, move || Prices::<BUG> { supplier: supplier.clone(), prices: prices.clone() });
}
