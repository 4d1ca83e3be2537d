//! The cargo that every command starts: which one, on which workspace, with which flags.
//!
//! 1. It is the cargo that started xtask, so that `cargo +nightly xtask …` stays on nightly.
//! 2. It works on this workspace and in the caller's directory, so that a relative path in passed-on arguments means what
//!    the caller meant.
//! 3. Its code sees `--cfg tokio_unstable`. `.cargo/config.toml` says so, but a set `RUSTFLAGS` silences that file
//!    without a word, and worlds would be less than they can be.

use std::{
    env,
    ffi::OsStr,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, Stdio},
};

/// How a command ended: well, or with the exit code to pass on.
pub(crate) type Outcome = Result<(), ExitCode>;

/// The shell's code for a program that could not be started.
const NOT_STARTED: u8 = 127;

/// Starts cargo commands.
pub(crate) struct Cargo {
    program: OsString,
    /// A flags variable that needed an addition, and its new value.
    flags: Option<(&'static str, String)>,
}

impl Cargo {
    /// Reads `CARGO` and the flags variables, and says on stderr which of them it adds to.
    pub(crate) fn from_environment() -> Self {
        let flags = FLAGS_VARIABLES.iter().find_map(|&(variable, separator)| {
            let flags = env::var(variable).ok()?;
            Some(with_tokio_unstable(&flags, separator).map(|value| (variable, value)))
        });
        let flags = flags.flatten();
        if let Some((variable, _)) = &flags {
            eprintln!("xtask: {variable} is set and overrides .cargo/config.toml; adding `--cfg tokio_unstable` to it");
        }
        Self { program: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), flags }
    }

    /// `cargo SUBCOMMAND --manifest-path … ARGS`, not yet started.
    pub(crate) fn command<I>(&self, subcommand: &[&str], args: I) -> Command
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut command = Command::new(&self.program);
        if let Some((variable, value)) = &self.flags {
            command.env(variable, value);
        }
        command.args(subcommand).arg("--manifest-path").arg(Self::workspace_root().join("Cargo.toml")).args(args);
        command
    }

    /// The same as who builds the simulator without `--cfg tokio_unstable` would have it, in a target folder of its own, so that
    /// neither build throws away what the other has made.
    pub(crate) fn command_without_unstable<I>(&self, subcommand: &[&str], args: I) -> Command
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        // It is built once and runs for a second: what optimises it takes longer.
        let plain = ["--config", "profile.dev.opt-level=0", "--config", "profile.dev.package.'*'.opt-level=0"];
        let mut command = self.command(&[subcommand, &plain].concat(), args);
        // Set to nothing, it silences `.cargo/config.toml`.
        command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "");
        command.env("CARGO_TARGET_DIR", Self::workspace_root().join("target/without-unstable"));
        command
    }

    /// `cargo SUBCOMMAND` on the workspace of another folder, all of whose code sees these flags as well.
    pub(crate) fn command_in(&self, folder: &Path, subcommand: &[&str], flags: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let set = FLAGS_VARIABLES.iter().find_map(|&it| Some((it, env::var(it.0).ok()?)));
        let ((variable, separator), present) = set.unwrap_or((FLAGS_VARIABLES[1], String::new()));
        command.env(variable, appended(&present, flags, separator));
        command.args(subcommand).arg("--manifest-path").arg(folder.join("Cargo.toml"));
        command
    }

    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) fn workspace_root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace").to_owned()
    }

    /// Whether `cargo NAME` is installed.
    pub(crate) fn has(&self, name: &str) -> bool {
        Command::new(&self.program)
            .args([name, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Runs `command` to its end.
pub(crate) fn run(mut command: Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(exit_code(status)),
        Err(error) => Err(not_started(&command, &error)),
    }
}

/// Becomes `command` where the system can, so that a signal meant for a campaign reaches the campaign and nothing is left
/// in between that would die of it first. Elsewhere it is [`run`].
pub(crate) fn hand_over(command: Command) -> Outcome {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let mut command = command;
        let error = command.exec();
        Err(not_started(&command, &error))
    }
    #[cfg(not(unix))]
    run(command)
}

fn not_started(command: &Command, error: &std::io::Error) -> ExitCode {
    eprintln!("xtask: could not start {}: {error}", command.get_program().display());
    ExitCode::from(NOT_STARTED)
}

/// The child's code; for a child that a signal ended, 128 + its number, as a shell has it.
fn exit_code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let code = {
        use std::os::unix::process::ExitStatusExt;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    };
    #[cfg(not(unix))]
    let code = status.code();
    // Exit codes of Windows are wider than ours; whatever does not fit is still a failure.
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0).unwrap_or(1))
}

/// The variables that override the flags of `.cargo/config.toml`, and what separates flags in each. cargo reads the first
/// that is set, even to nothing.
const FLAGS_VARIABLES: [(&str, char); 2] = [("CARGO_ENCODED_RUSTFLAGS", '\x1f'), ("RUSTFLAGS", ' ')];

/// `flags` with `--cfg tokio_unstable`, or `None` if it is there already.
fn with_tokio_unstable(flags: &str, separator: char) -> Option<String> {
    let there =
        flags.split(separator).map(str::trim).any(|flag| matches!(flag, "tokio_unstable" | "--cfg=tokio_unstable"));
    if there { None } else { Some(appended(flags, &["--cfg", "tokio_unstable"], separator)) }
}

/// `flags` followed by `more`, without an empty flag between them.
pub(crate) fn appended(flags: &str, more: &[&str], separator: char) -> String {
    let mut all = flags.trim_end_matches(separator).to_owned();
    for flag in more {
        if !all.is_empty() {
            all.push(separator);
        }
        all.push_str(flag);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustflags_without_the_cfg_get_it() {
        assert_eq!(with_tokio_unstable("-D warnings", ' ').as_deref(), Some("-D warnings --cfg tokio_unstable"));
        assert_eq!(with_tokio_unstable("-D warnings ", ' ').as_deref(), Some("-D warnings --cfg tokio_unstable"));
        // Another cfg whose name only begins alike is not the one.
        assert_eq!(
            with_tokio_unstable("--cfg tokio_unstable_io", ' ').as_deref(),
            Some("--cfg tokio_unstable_io --cfg tokio_unstable")
        );
    }

    #[test]
    fn empty_rustflags_get_it_too_since_they_override_the_file_as_well() {
        assert_eq!(with_tokio_unstable("", ' ').as_deref(), Some("--cfg tokio_unstable"));
        assert_eq!(with_tokio_unstable("  ", ' ').as_deref(), Some("--cfg tokio_unstable"));
    }

    #[test]
    fn rustflags_with_the_cfg_stay() {
        assert_eq!(with_tokio_unstable("--cfg tokio_unstable", ' '), None);
        assert_eq!(with_tokio_unstable("-D warnings --cfg=tokio_unstable -Cdebuginfo=0", ' '), None);
    }

    #[test]
    fn encoded_rustflags_keep_their_separator() {
        assert_eq!(
            with_tokio_unstable("-D\x1fwarnings", '\x1f').as_deref(),
            Some("-D\x1fwarnings\x1f--cfg\x1ftokio_unstable")
        );
        assert_eq!(with_tokio_unstable("--cfg\x1ftokio_unstable", '\x1f'), None);
    }

    #[test]
    fn the_root_is_the_workspace() {
        let manifest = std::fs::read_to_string(Cargo::workspace_root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[cfg(unix)]
    #[test]
    fn exit_codes_pass_through() {
        use std::os::unix::process::ExitStatusExt;
        let debug = |code: ExitCode| format!("{code:?}");
        // A raw wait status holds the code in its second byte and the signal in its first.
        assert_eq!(debug(exit_code(ExitStatus::from_raw(3 << 8))), debug(ExitCode::from(3)));
        assert_eq!(debug(exit_code(ExitStatus::from_raw(15))), debug(ExitCode::from(143)));
    }
}
