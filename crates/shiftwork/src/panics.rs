//! Where a panic happened.
//!
//! A caught panic is a payload without a place; only a panic hook is told the place. So the first host of a process puts
//! one in front of the hook that is there: it notes message and place for its thread and passes the panic on. Whoever
//! catches a panic on that thread asks for the note.
//!
//! 1. A cycle that does not panic pays nothing: no flag is set around its polls, because it need not be known where a
//!    panic happens for it to be noted.
//! 2. A note is believed only by a panic with the same message. One that went past the hook (`resume_unwind`) would
//!    otherwise be given the place of an earlier one.
//! 3. Whoever asks is done with the panic: what it carries is dropped here, where it may panic once more and nobody is the worse for it.
//!
//! A program that sets a hook of its own after its first host has started, and does not chain it to the one before, loses
//! the places and nothing else.

use std::{
    any::Any,
    cell::RefCell,
    mem,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook},
    sync::Once,
};

/// What the hook was told of a panic.
struct Note {
    message: Option<String>,
    /// File and line.
    place: String,
}

thread_local! {
    /// The last panic of this thread that nobody has asked for.
    static LAST: RefCell<Option<Note>> = const { RefCell::new(None) };
}

/// From now on, panics are noted. Once for a process; later calls do nothing.
pub(crate) fn note_places() {
    static HOOK: Once = Once::new();
    // The hook cannot be changed on a thread that panics; the next host may try.
    if std::thread::panicking() {
        return;
    }
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            note(panic);
            before(panic);
        }));
    });
}

fn note(panic: &PanicHookInfo<'_>) {
    let Some(location) = panic.location() else { return };
    let message = message(panic.payload()).map(str::to_owned);
    let note = Note { message, place: format!("{}:{}", location.file(), location.line()) };
    // A thread that is ending keeps no notes.
    let _ = LAST.try_with(|last| last.replace(Some(note)));
}

/// What a caught panic said, and where it happened, if that is known.
pub(crate) fn said(panic: Box<dyn Any + Send>) -> String {
    let said = message(&*panic);
    let note = last();
    let place = note.filter(|note| note.message.as_deref() == said).map(|note| note.place);
    let said = said.unwrap_or("a panic without a message");
    let said = place.map_or_else(|| said.to_owned(), |place| format!("{said} ({place})"));
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // It says nothing new, and what it carries may go on like that.
        mem::forget(another);
        drop(last());
    }
    said
}

/// The note of this thread, for whoever asks first.
fn last() -> Option<Note> {
    LAST.try_with(RefCell::take).ok().flatten()
}

fn message(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<&'static str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;

    fn check(panic: impl FnOnce() + std::panic::UnwindSafe) -> String {
        note_places();
        said(catch_unwind(panic).unwrap_err())
    }

    #[test]
    fn a_panic_has_its_place() {
        let line = line!() + 1;
        let said = check(|| panic!("the index is corrupt"));
        assert_eq!(said, format!("the index is corrupt ({}:{line})", file!()));
        let said = check(|| drop("no".parse::<u8>().unwrap().to_string()));
        assert!(said.starts_with("called `Result::unwrap()` on an `Err` value: ParseIntError"), "{said}");
        assert!(said.contains(file!()), "{said}");
        assert!(check(|| std::panic::panic_any(7)).starts_with("a panic without a message ("));
    }

    #[test]
    fn a_panic_that_no_hook_was_told_of_has_no_place_and_not_anothers_either() {
        drop(catch_unwind(|| panic!("an earlier one")));
        assert_eq!(check(|| resume_unwind(Box::new("injected".to_owned()))), "injected");
        drop(catch_unwind(|| panic!("an earlier one")));
        check(|| panic!("asked for"));
        assert_eq!(check(|| resume_unwind(Box::new("asked for"))), "asked for", "a note is asked for once");
    }

    #[test]
    fn a_panic_that_panics_as_it_is_dropped_has_said_what_it_said() {
        struct Rude;
        impl Drop for Rude {
            fn drop(&mut self) {
                panic!("as it is dropped");
            }
        }
        assert!(check(|| std::panic::panic_any(Rude)).starts_with("a panic without a message ("));
        assert_eq!(check(|| resume_unwind(Box::new("as it is dropped"))), "as it is dropped", "its note is gone");
    }

    #[test]
    fn a_panic_that_user_code_catches_and_passes_on_keeps_its_place() {
        let said = check(|| resume_unwind(catch_unwind(|| panic!("passed on")).unwrap_err()));
        assert!(said.starts_with("passed on (") && said.contains(file!()), "{said}");
    }
}
