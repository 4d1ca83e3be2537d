//! Shards: their sum is the whole campaign.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
};

use serde_json::Value;
use shiftwork_chaos::Tool;

use crate::{Run, chaos, merge, scenarios, setup};

const CAMPAIGN: [&str; 9] =
    ["mailer", "canary-twice", "canary-sights", "--seeds", "120", "--max-failures", "999", "--json", "-"];

fn shard(folder: &tempfile::TempDir, name: &str, more: &[&str]) -> Run {
    let run = chaos(folder.path(), &[&CAMPAIGN[..], more].concat());
    fs::write(folder.path().join(name), &run.out).unwrap();
    run
}

/// What does not depend on the folder where plans were saved.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn the_sum_of_all_shards_is_the_whole_campaign() {
    let folder = setup();
    let whole = shard(&folder, "whole.json", &[]);
    assert_eq!(whole.code, 1, "{}", whole.err);
    let parts = ["1/3", "2/3", "3/3"];
    for part in parts {
        let run = shard(&folder, &format!("{}.json", &part[..1]), &["--shard", part]);
        let worlds = json(&run.out)["scenarios"][0]["worlds"].as_u64().unwrap();
        assert_eq!(worlds, 40, "{part} of 120");
    }
    // In any order.
    let merged = merge(&folder, &["DIR/3.json", "DIR/1.json", "DIR/2.json"]);
    assert_eq!(merged.code, 1, "{}", merged.err);
    assert!(merged.err.contains("rule_broken: 360 worlds in 3 shards"), "{}", merged.err);
    assert_eq!(merged.out, whole.out);
}

#[test]
fn shards_replay_a_corpus_between_them() {
    let folder = setup();
    let found =
        chaos(folder.path(), &["canary-twice", "--profile", "harsh", "--max-failures", "3", "--save", "DIR/corpus"]);
    assert_eq!(found.code, 1, "{}{}", found.out, found.err);
    fs::write(folder.path().join("corpus/stale.json"), "{\"version\": 0}").unwrap();
    let corpus = ["--corpus", "DIR/corpus"];
    let whole = shard(&folder, "whole.json", &corpus);
    for part in ["1/2", "2/2"] {
        shard(&folder, &format!("{}.json", &part[..1]), &[&corpus[..], &["--shard", part]].concat());
    }
    let merged = merge(&folder, &["DIR/1.json", "DIR/2.json"]);
    assert_eq!(merged.out, whole.out);
    assert_eq!(json(&merged.out)["stale"].as_array().unwrap().len(), 1);
}

/// A stream that takes nothing.
struct Refuses(io::ErrorKind);

impl Write for Refuses {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sum_that_there_is_no_room_for_is_a_crash_of_the_tool_and_one_that_nobody_reads_is_none() {
    let folder = setup();
    assert_eq!(chaos(folder.path(), &["mailer", "--seeds", "2", "--json", "DIR/whole.json"]).code, 0);
    let merge_into = |mut out: Refuses| {
        let args: [OsString; 2] = ["merge".into(), folder.path().join("whole.json").into()];
        let mut err = Vec::new();
        let code = Tool::new(scenarios::all()).run(args, &mut out, &mut err);
        (code, String::from_utf8(err).unwrap())
    };
    let (code, said) = merge_into(Refuses(io::ErrorKind::StorageFull));
    assert_eq!(code, 70, "{said}");
    assert!(said.contains("could not write the report to standard output: "), "{said}");
    assert_eq!(merge_into(Refuses(io::ErrorKind::BrokenPipe)), (0, "kept: 2 worlds in 1 shards\n".to_owned()));
}

#[test]
fn what_cannot_be_merged_is_refused_by_name() {
    let folder = setup();
    let refused = |files: &[&str], words: &[&str]| {
        let run = merge(&folder, files);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{}", run.err);
        assert!(words.iter().all(|word| run.err.contains(word)), "{}", run.err);
    };
    shard(&folder, "one.json", &["--shard", "1/8"]);
    let other = chaos(folder.path(), &["mailer", "--seeds", "2", "--json", "-"]);
    fs::write(folder.path().join("other.json"), &other.out).unwrap();
    fs::write(folder.path().join("bad.json"), "nonsense").unwrap();
    fs::write(folder.path().join("old.json"), "{\"version\": 1}").unwrap();
    refused(&[], &["no report to merge", "merge A.json"]);
    refused(&["DIR/missing.json"], &["missing.json", "No such file"]);
    refused(&["DIR/bad.json"], &["bad.json", "not a report"]);
    refused(&["DIR/old.json"], &["old.json", "version 1", "version 2"]);
    refused(&["DIR/one.json", "DIR/one.json"], &["seed 0", "two reports", "not shards of one campaign"]);
    refused(&["DIR/one.json"], &["there is none of shard 2/8, 3/8, 4/8, 5/8, 6/8, 7/8, 8/8"]);
    shard(&folder, "other_half.json", &["--shard", "2/4"]);
    refused(&["DIR/one.json", "DIR/other_half.json"], &["one has 8 shards, another 4"]);
    shard(&folder, "guided.json", &["--guided", "--shard", "2/8"]);
    refused(&["DIR/one.json", "DIR/guided.json"], &["the search of one is random; of another, guided"]);
    refused(&["DIR/one.json", "DIR/other.json"], &["mailer, canary-twice, canary-sights; of another, mailer"]);
}
