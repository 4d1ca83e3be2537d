//! Removes old files from a folder every night at three, in Vienna, whatever the clocks do.
//!
//! ```sh
//! cargo run -p shiftwork --example nightly_clean_up                    # at night
//! cargo run -p shiftwork --example nightly_clean_up -- '* * * * * *'   # every second, to see it
//! ```

use std::{
    env,
    error::Error,
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use shiftwork::{Context, Environment, Failure, Host, HostReport, Missed, Overlap, Schedule, System, Tick};

const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

async fn clean_up(tick: Tick, cx: Context) -> Result<(), Failure> {
    let folder = env::temp_dir().join("shiftwork-example");
    let now = cx.wall_time();
    // Set when this cycle is over, however it ends: a thread cannot be dropped, so it has to look.
    let over = Arc::new(AtomicBool::new(false));
    let _tells = Tells(over.clone());
    // Files are read and removed on a thread that may block, so that this one keeps serving others.
    let now = now.as_duration().unsigned_abs();
    let removed = tokio::task::spawn_blocking(move || remove_old(&folder, now, &over));
    // Two kinds of errors, two question marks: the thread's panic and the folder's trouble. Both are tried again.
    let removed = removed.await??;
    println!("tick {} of {}: removed {removed} files", tick.number, tick.due);
    Ok(())
}

/// Tells the thread that works for a cycle when that is over: past its timeout, say. The next one would have it beside itself.
struct Tells(Arc<AtomicBool>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Removes the files that were written long before `now`, since the Unix epoch, until that is over. One that cannot be removed
/// keeps none of the others, and is the error in the end.
fn remove_old(folder: &Path, now: Duration, over: &AtomicBool) -> io::Result<u32> {
    let (mut removed, mut trouble) = (0, None);
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        if over.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let entry = entry?;
        match is_old(&entry, now).and_then(|old| if old { fs::remove_file(entry.path()).map(|()| 1) } else { Ok(0) }) {
            Ok(count) => removed += count,
            // Somebody else has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => trouble = trouble.or(Some(error)),
        }
    }
    match trouble {
        None => Ok(removed),
        Some(error) => Err(io::Error::new(error.kind(), format!("removed {removed} files, and not one: {error}"))),
    }
}

/// Whether it is a file, and was written long before.
fn is_old(entry: &fs::DirEntry, now: Duration) -> io::Result<bool> {
    let about = entry.metadata()?;
    let written = about.modified()?.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    Ok(about.is_file() && now.checked_sub(written).is_some_and(|age| age > KEPT))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<HostReport, Box<dyn Error>> {
    let expression = env::args().nth(1).unwrap_or_else(|| "0 3 * * *".to_owned());
    let at_night = Schedule::cron(&expression)?
        .zone("Europe/Vienna")?
        // One clean-up makes up for all that were missed, and two at once would be in each other's way.
        .missed(Missed::Merge)
        .overlap(Overlap::Skip);
    match at_night.next_after(System.now()) {
        Some(due) => println!("next clean-up at {due}"),
        None => println!("there is no next clean-up"),
    }
    Ok(Host::builder().worker("clean-up", at_night, clean_up).run_until_signal().await)
}
