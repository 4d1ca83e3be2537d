//! Which part of a campaign a process runs, as the command line or a Kubernetes Indexed Job says it.

use crate::{Shard, cli::UsageError};

/// What Kubernetes calls the number of a pod in an Indexed Job, from 0.
const JOB_INDEX: &str = "JOB_COMPLETION_INDEX";

/// How many pods the job has. Kubernetes does not tell, so that the manifest must.
const JOB_COUNT: &str = "JOB_COMPLETIONS";

/// The shard of `--shard`, or else that of the job.
pub(crate) fn asked_for(
    argument: Option<&str>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Shard, UsageError> {
    if let Some(argument) = argument {
        let parsed =
            argument.split_once('/').and_then(|(number, of)| Shard::new(number.parse().ok()?, of.parse().ok()?));
        return parsed.ok_or_else(|| {
            UsageError(format!(
                "--shard {argument:?} is not I/N with 1 <= I <= N: of four shards the first is 1/4, the last 4/4"
            ))
        });
    }
    let Some(index) = environment(JOB_INDEX) else { return Ok(Shard::WHOLE) };
    let Some(count) = environment(JOB_COUNT) else {
        let message = format!(
            "{JOB_INDEX} is set and {JOB_COUNT} is not: set it to the job's completions, or give --shard (1/1 is the whole campaign)"
        );
        return Err(UsageError(message));
    };
    let parsed = index
        .parse()
        .ok()
        .zip(count.parse().ok())
        .and_then(|(index, count): (u64, u64)| Shard::new(index.checked_add(1)?, count));
    parsed.ok_or_else(|| {
        UsageError(format!("{JOB_INDEX}={index:?} and {JOB_COUNT}={count:?} are no shard: the index must be a number from 0 to one less than the count"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(argument: Option<&str>, variables: &[(&str, &str)]) -> Result<Shard, String> {
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        asked_for(argument, &environment).map_err(|UsageError(message)| message)
    }

    fn shard(number: u64, of: u64) -> Result<Shard, String> {
        Ok(Shard::new(number, of).unwrap())
    }

    #[test]
    fn a_shard_comes_from_the_argument_or_from_the_job() {
        let job = [("JOB_COMPLETION_INDEX", "2"), ("JOB_COMPLETIONS", "8")];
        assert_eq!(check(None, &[]), Ok(Shard::WHOLE));
        assert_eq!(check(None, &job), shard(3, 8));
        assert_eq!(check(Some("1/4"), &job), shard(1, 4));
    }

    #[test]
    fn what_is_no_shard_is_refused_with_what_is_accepted() {
        for argument in ["0/4", "5/4", "1", "a/b", "1/0", ""] {
            let message = check(Some(argument), &[]).unwrap_err();
            assert!(message.contains("1 <= I <= N") && message.contains(argument), "{message}");
        }
        let message = check(None, &[("JOB_COMPLETION_INDEX", "2")]).unwrap_err();
        assert!(message.contains("JOB_COMPLETIONS is not"), "{message}");
        let message = check(None, &[("JOB_COMPLETION_INDEX", "8"), ("JOB_COMPLETIONS", "8")]).unwrap_err();
        assert!(message.contains("one less than the count"), "{message}");
    }
}
