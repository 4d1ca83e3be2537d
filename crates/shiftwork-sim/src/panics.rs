//! Panics in worlds, which a program that runs many of them does not want to see.
//!
//! Worker code panics in thousands of worlds, because the plan says so or because it is what is tested; it is caught, and the outcome says
//! what came of it. A world runs on a thread without a name (`world.rs`): whoever wants the panics of its own threads to be seen
//! gives them one.

use std::{panic, thread};

/// From now on, panics in worlds pass without a word; those of threads with a name are told as before. It is for programs, which
/// call it once, before their first world: the panic hook belongs to the whole process.
pub fn silence() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().name().is_some() {
            usual(panic);
        }
    }));
}
