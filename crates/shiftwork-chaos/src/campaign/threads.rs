//! Work on all cores, and its results in the order of the work.
//!
//! Threads take numbers from a counter and send back what they made of them; the calling thread folds the results in the order of the
//! numbers. When the fold has had enough after some number, everything that other threads have already done beyond it is
//! thrown away, and what they are still at is not waited for: they hear of it when they say something. So what is folded depends neither on
//! the number of threads nor on how fast each one is. Only what a thread says of a number that it is still at comes as it happens: it is for a
//! person who waits, and nothing is made of it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    num::NonZeroUsize,
    ops::ControlFlow,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

/// What the calling thread is told.
pub(crate) enum Told<T, N> {
    /// What came of a number; in the order of the numbers.
    Done(u64, T),
    /// How it goes with a number that is not done; as it happens.
    Meanwhile(N),
}

/// As [`run_and_tell_in_order`], of work that says nothing meanwhile.
///
/// # Panics
///
/// When `work` does, and when not even one thread can be started.
pub(crate) fn run_in_order<T: Send>(
    threads: NonZeroUsize,
    count: Option<u64>,
    stop: &(dyn Fn() -> bool + Sync),
    work: &(dyn Fn(u64) -> T + Sync),
    fold: &mut dyn FnMut(u64, T) -> ControlFlow<()>,
) {
    run_and_tell_in_order(
        threads,
        count,
        stop,
        &|number, _: &dyn Fn(Infallible) -> ControlFlow<()>| work(number),
        &mut |told| match told {
            Told::Done(number, result) => fold(number, result),
            Told::Meanwhile(never) => match never {},
        },
    );
}

/// What is done for each number, and may say something meanwhile. It is told to break when nothing will be made of the number any more.
pub(crate) type Work<'a, T, N> = dyn Fn(u64, &dyn Fn(N) -> ControlFlow<()>) -> T + Sync + 'a;

/// Does `work` for the numbers from 0 up to `count` on `threads` threads, and folds what comes out in their order, until it is told
/// to break. What `work` says meanwhile is folded as it comes. Once `stop` says so, no further number is begun; those that were begun are
/// still folded.
///
/// # Panics
///
/// When `work` does, and when not even one thread can be started.
pub(crate) fn run_and_tell_in_order<T: Send, N: Send>(
    threads: NonZeroUsize,
    count: Option<u64>,
    stop: &(dyn Fn() -> bool + Sync),
    work: &Work<'_, T, N>,
    fold: &mut dyn FnMut(Told<T, N>) -> ControlFlow<()>,
) {
    let next = AtomicU64::new(0);
    let enough = AtomicBool::new(false);
    let (sender, results) = mpsc::channel();
    let run = |sender: mpsc::Sender<Told<T, N>>| {
        let tell = |note| {
            // Nobody listens any more once there is enough.
            if sender.send(Told::Meanwhile(note)).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        while !enough.load(Ordering::Relaxed) && !stop() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if count.is_some_and(|count| number >= count)
                || sender.send(Told::Done(number, work(number, &tell))).is_err()
            {
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
        'folding: for told in results {
            match told {
                Told::Done(number, result) => drop(waiting.insert(number, result)),
                meanwhile @ Told::Meanwhile(_) => {
                    if fold(meanwhile).is_break() {
                        break 'folding;
                    }
                }
            }
            while let Some(result) = waiting.remove(&due) {
                let flow = fold(Told::Done(due, result));
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
    fn what_is_said_of_a_number_meanwhile_comes_before_it_and_changes_nothing() {
        for threads in [1, 2, 7] {
            let (mut said, mut folded) = (Vec::new(), Vec::new());
            let work = |number, tell: &dyn Fn(u64) -> ControlFlow<()>| {
                assert!(tell(number).is_continue(), "{number} is waited for");
                number * 10
            };
            run_and_tell_in_order(NonZeroUsize::new(threads).unwrap(), Some(50), &|| false, &work, &mut |told| {
                match told {
                    Told::Meanwhile(number) => said.push(number),
                    Told::Done(number, result) => {
                        assert!(said.contains(&number), "{number} came before what was said of it");
                        folded.push(result);
                    }
                }
                ControlFlow::Continue(())
            });
            said.sort_unstable();
            assert_eq!((said, folded), (Vec::from_iter(0..50), (0..50).map(|number| number * 10).collect()));
        }
    }

    #[test]
    fn what_would_be_thrown_away_is_told_to_break() {
        for threads in [1, 2, 7] {
            // Only the first one ends by itself.
            let work = |number: u64, tell: &dyn Fn(u64) -> ControlFlow<()>| {
                while number > 0 && tell(number).is_continue() {
                    thread::yield_now();
                }
            };
            let mut folded = Vec::new();
            run_and_tell_in_order(
                NonZeroUsize::new(threads).unwrap(),
                None,
                &|| false,
                &work,
                &mut |told| match told {
                    Told::Meanwhile(_) => ControlFlow::Continue(()),
                    Told::Done(number, ()) => {
                        folded.push(number);
                        ControlFlow::Break(())
                    }
                },
            );
            assert_eq!(folded, [0]);
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
