//! Ctrl-C: the first one ends the campaign with what it has so far, the second one ends the process at once.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{consts::SIGINT, flag};

use crate::exit::Verdict;

/// Sets `stop` when the person at the keyboard has had enough.
pub(crate) fn listen(stop: &Arc<AtomicBool>) -> io::Result<()> {
    // In this order: the first signal finds the flag still down, and then raises it.
    flag::register_conditional_shutdown(SIGINT, i32::from(Verdict::Interrupted.code()), stop.clone())?;
    flag::register(SIGINT, stop.clone())?;
    Ok(())
}
