//! A visit to every exhibit, on all cores; the results in the order of the exhibits.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    exhibit::Exhibit,
    visit::{Rigour, Visit, visit},
};

/// Visits them all.
///
/// # Panics
///
/// When the world of an exhibit cannot be built.
pub fn tour<'e>(exhibits: &[&'e Exhibit], rigour: Rigour, jobs: NonZeroUsize) -> Vec<Visit<'e>> {
    let next = AtomicUsize::new(0);
    let visits: Vec<Mutex<Option<Visit<'e>>>> = exhibits.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for index in 0..jobs.get() {
            // Named, so that a panic in here is told from those in worlds.
            let guide = thread::Builder::new().name(format!("zoo {index}")).spawn_scoped(scope, || {
                while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|it| *it < exhibits.len()) {
                    let done = visit(exhibits[index], rigour);
                    *visits[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
                }
            });
            if let Err(error) = guide {
                assert!(index > 0, "could not start a thread: {error}");
                break;
            }
        }
    });
    visits
        .into_iter()
        .map(|visit| visit.into_inner().unwrap_or_else(PoisonError::into_inner).expect("every exhibit was visited"))
        .collect()
}
