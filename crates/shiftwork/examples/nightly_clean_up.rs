//! Removes old files from a folder every night at three, in Vienna, whatever the clocks do. Which night was the last one is kept in a
//! file, so that those are made up for which passed while the program was down, from its first start on.
//!
//! ```sh
//! cargo run -p shiftwork --example nightly_clean_up                    # at night
//! cargo run -p shiftwork --example nightly_clean_up -- '* * * * * *'   # every second, to see it
//! ```

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use shiftwork::{
    Context, Environment, Failure, Host, HostReport, Missed, Overlap, Schedule, System, Tick, queue::Timestamp,
};

const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

async fn clean_up(tick: Tick, cx: Context) -> Result<(), Failure> {
    let folder = env::temp_dir().join("shiftwork-example");
    let now = cx.wall_time();
    // Set when this cycle is over, however it ends: a thread cannot be dropped, so it has to look.
    let over = Arc::new(AtomicBool::new(false));
    let _tells = Tells(over.clone());
    // Files are read and removed on a thread that may block, so that this one keeps serving others.
    let now = now.as_duration().unsigned_abs();
    let removed = tokio::task::spawn_blocking(move || {
        let removed = remove_old(&folder, now, &over)?;
        // Only now: a night that was cut short is owed.
        write_mark(tick.due)?;
        Ok::<_, io::Error>(removed)
    });
    // Two kinds of errors, two question marks: the thread's panic and the folder's trouble. Both are tried again.
    let removed = removed.await??;
    println!("clean-up of {}: removed {removed} files, and made up for {} nights", tick.due, tick.missed);
    Ok(())
}

/// Where it is kept when the last clean-up was due.
fn mark() -> PathBuf {
    env::temp_dir().join("shiftwork-example.mark")
}

/// When that was; `None` where there is no mark yet. One that is no time is told and counts as none: if nothing ran until somebody
/// looks, more nights would be left out.
fn read_mark() -> io::Result<Option<Timestamp>> {
    let mark = mark();
    let text = match fs::read_to_string(&mark) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(about(&mark, &error)),
    };
    match text.trim().parse::<Timestamp>() {
        Ok(due) => Ok(Some(due)),
        Err(error) => {
            tracing::error!(mark = %mark.display(), %error, "not a time: no night before this start is owed");
            Ok(None)
        }
    }
}

/// Written beside it and renamed once it is on the disk: after a power cut there is the old one or the new one, and none that is empty.
fn write_mark(due: Timestamp) -> io::Result<()> {
    let (mark, new) = (mark(), mark().with_extension("new"));
    let write = || {
        let mut file = fs::File::create(&new)?;
        file.write_all(due.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &mark)
    };
    write().map_err(|error| about(&new, &error))
}

/// The error, with the file that it is about.
fn about(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
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
    // The log. Without a subscriber nobody hears it.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let expression = env::args().nth(1).unwrap_or_else(|| "0 3 * * *".to_owned());
    let at_night = Schedule::cron(&expression)?
        .zone("Europe/Vienna")?
        // One clean-up makes up for all that were missed, and two at once would be in each other's way.
        .missed(Missed::Merge)
        .overlap(Overlap::Skip);
    let last = match read_mark()? {
        Some(last) => last,
        // Nights are owed from here on, the first one too if the program is down then.
        None => {
            let now = System.now();
            write_mark(now)?;
            now
        }
    };
    let at_night = at_night.since(last);
    match at_night.next_after(System.now()) {
        Some(due) => println!("next clean-up at {due}"),
        None => println!("there is no next clean-up"),
    }
    Ok(Host::builder().worker("clean-up", at_night, clean_up).run_until_signal().await)
}
