//! Ctrl-C and SIGTERM: the first one ends the campaign with what it has so far, the second one ends the process at once.

use std::{
    io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::exit::Verdict;

/// Sets `stop` when the person at the keyboard has had enough, or the machine is wanted for something else: Kubernetes and CI servers say so by
/// SIGTERM.
pub(crate) fn listen(stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag still down, and then raises it.
        flag::register_conditional_shutdown(signal, i32::from(Verdict::Interrupted.code()), stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(())
}

/// Whether what takes its time goes on.
pub(crate) fn goes_on_unless(stop: &AtomicBool) -> ControlFlow<()> {
    if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
