//! Imports a file's lines and ends. What could not be imported is told by the exit code: 0 only if everything was.
//!
//! ```sh
//! cargo run -p shiftwork --example batch
//! cargo run -p shiftwork --example batch -- 'apple 3' 'pear x'   # exits 70
//! ```

use std::{env, error::Error, sync::Arc};

use shiftwork::{Failure, Host, HostReport, ServiceContext};

fn parse(line: &str) -> Result<(&str, u32), Box<dyn Error + Send + Sync>> {
    let (name, count) = line.split_once(' ').ok_or_else(|| format!("{line:?} is not a name and a count"))?;
    let count = count.parse().map_err(|error| format!("the count of {line:?}: {error}"))?;
    Ok((name, count))
}

async fn import(cx: ServiceContext, lines: Arc<Vec<String>>) -> Result<(), Failure> {
    for (line, number) in lines.iter().zip(1..) {
        if cx.stopping() {
            // Asked to end early. That is no success: a failure makes it visible, and the next run begins anew.
            return Err(Failure::interrupted(format!("stopped before line {number}")));
        }
        // No other run will make the line right.
        let (name, count) = parse(line).map_err(Failure::fatal)?;
        println!("imported {count} × {name}");
        // Lets a signal be heard between two lines.
        tokio::task::yield_now().await;
    }
    println!("imported {} lines", lines.len());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> HostReport {
    // The log. Without a subscriber nobody hears it.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut lines: Vec<String> = env::args().skip(1).collect();
    if lines.is_empty() {
        lines = ["apple 3", "pear 5", "plum 8"].map(str::to_owned).into();
    }
    let lines = Arc::new(lines);
    // A job ends its host when it is done. Its failure is a fault: the process does not exit 0.
    Host::builder().job("import", move |cx| import(cx, lines.clone())).run_until_signal().await
}
