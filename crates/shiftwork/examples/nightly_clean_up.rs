//! Removes old files from a folder every night at three, in Vienna, whatever the clocks do.
//!
//! ```sh
//! cargo run -p shiftwork --example nightly_clean_up                    # at night
//! cargo run -p shiftwork --example nightly_clean_up -- '* * * * * *'   # every second, to see it
//! ```

use std::{env, error::Error, fs, io, time::Duration};

use shiftwork::{Context, Environment, Failure, Host, HostReport, Missed, Overlap, Schedule, System, Tick};

const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

async fn clean_up(tick: Tick, cx: Context) -> Result<(), Failure> {
    let folder = env::temp_dir().join("shiftwork-example");
    let now = cx.wall_time();
    // Files are read and removed on a thread that may block, so that this one keeps serving others.
    let removed = tokio::task::spawn_blocking(move || {
        let mut removed = 0;
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let age = now.as_duration().unsigned_abs().checked_sub(age_base(&entry)?);
            if age.is_some_and(|age| age > KEPT) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok::<u32, io::Error>(removed)
    });
    // Two kinds of errors, two question marks: the thread's panic and the folder's trouble. Both are tried again.
    let removed = removed.await??;
    println!("tick {} of {}: removed {removed} files", tick.number, tick.due);
    Ok(())
}

/// When a file was written, since the Unix epoch.
fn age_base(entry: &fs::DirEntry) -> io::Result<Duration> {
    let written = entry.metadata()?.modified()?;
    written.duration_since(std::time::UNIX_EPOCH).map_err(io::Error::other)
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
