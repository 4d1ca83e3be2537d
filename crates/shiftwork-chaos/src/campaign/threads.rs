//! Work on all cores, and its results in the order of the work.
//!
//! Threads take numbers from a counter and send back what they made of them; the calling thread folds the results in the order of the
//! numbers. When the fold has had enough after some number, everything that other threads have already done beyond it is
//! thrown away. So what is folded depends neither on the number of threads nor on how fast each one is.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    ops::ControlFlow,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

/// Does `work` for the numbers from 0 up to `count` on `threads` threads, and folds what comes out in their order, until it is told
/// to break. Once `stop` says so, no further number is begun; those that were begun are still folded.
///
/// # Panics
///
/// When `work` does.
pub(crate) fn run_in_order<T: Send>(
    threads: NonZeroUsize,
    count: Option<u64>,
    stop: &(dyn Fn() -> bool + Sync),
    work: &(dyn Fn(u64) -> T + Sync),
    fold: &mut dyn FnMut(u64, T) -> ControlFlow<()>,
) {
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let (sender, results) = mpsc::channel();
    let run = |sender: mpsc::Sender<(u64, T)>| {
        while !enough.load(Ordering::Relaxed) && !stop() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if count.is_some_and(|count| number >= count) || sender.send((number, work(number))).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for index in 0..threads.get() {
            let sender = sender.clone();
            let spawned = thread::Builder::new()
                // Named, so that panics of the tool are told from those in worlds (`shiftwork_sim::panics`).
                .name(format!("campaign {index}"))
                .spawn_scoped(scope, || run(sender));
            if let Err(error) = spawned {
                assert!(index > 0, "could not start a thread: {error}");
                break;
            }
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut due = 0;
        'folding: for (number, result) in results {
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&due) {
                let flow = fold(due, result);
                due += 1;
                if flow.is_break() {
                    break 'folding;
                }
            }
        }
        enough.store(true, Ordering::Relaxed);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(threads: usize, count: Option<u64>, enough: usize) -> Vec<u64> {
        let mut folded = Vec::new();
        let threads = NonZeroUsize::new(threads).unwrap();
        run_in_order(threads, count, &|| false, &|number| number * 10, &mut |number, result| {
            assert_eq!(result, number * 10);
            folded.push(number);
            if folded.len() == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        folded
    }

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            assert_eq!(check(threads, Some(100), usize::MAX), Vec::from_iter(0..100));
            assert_eq!(check(threads, Some(0), usize::MAX), [0; 0]);
            assert_eq!(check(threads, Some(2), usize::MAX), [0, 1]);
        }
    }

    #[test]
    fn the_fold_can_end_it_at_an_exact_place() {
        for threads in [1, 2, 7] {
            assert_eq!(check(threads, None, 5), [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn what_was_begun_before_a_stop_is_folded_without_a_gap() {
        let stop = AtomicBool::new(false);
        let mut folded = Vec::new();
        run_in_order(
            NonZeroUsize::new(3).unwrap(),
            None,
            &|| stop.load(Ordering::Relaxed),
            &|number| {
                if number == 20 {
                    stop.store(true, Ordering::Relaxed);
                }
            },
            &mut |number, ()| {
                folded.push(number);
                ControlFlow::Continue(())
            },
        );
        assert!(folded.len() > 20);
        assert_eq!(folded, Vec::from_iter(0..folded.len() as u64));
    }
}
