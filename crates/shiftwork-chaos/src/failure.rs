//! A rule that broke: shrunk, saved, with the line that replays it.

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use shiftwork_sim::{
    Outcome, Plan, RuleName, Scenario, Violation,
    explore::{self, Progress, Shrunk, Without},
};

use crate::{
    CampaignProfile, Verdict,
    campaign::world::{How, guarded},
    corpus, interruption,
    report::{Origin, hash_of},
};

/// A world in which a rule broke, and the smallest plan that was found to break it.
#[derive(Debug)]
pub struct Failure {
    /// Whose world.
    pub scenario: &'static str,
    /// Where the plan came from.
    pub origin: Origin,
    /// The world's seed.
    pub seed: u64,
    /// What broke first, as it was found.
    pub violation: Violation,
    /// The plan as it was found.
    pub found: Plan,
    /// The world of the smallest plan, with its timeline. A plan from a file is not shrunk.
    pub outcome: Outcome,
    /// How many worlds shrinking took.
    pub shrink_worlds: u32,
    /// What happens without each thing that is left in the smallest plan; empty if shrinking was interrupted.
    pub without: Vec<Without>,
    /// Whether the same rule broke when the world was run again. If it did not, the world is not deterministic.
    pub reproduced: bool,
    /// Where [its plan](Failure::plan) is kept.
    pub plan_file: Option<PathBuf>,
}

/// A rule that broke, and whose plan is still to be made smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In whose world.
    pub scenario: &'static str,
    /// Where the plan came from.
    pub origin: Origin,
    /// What broke.
    pub rule: RuleName,
    /// The plan as it was found.
    pub plan: Plan,
}

/// How far the shrinking of a failure has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shrinking {
    /// Whose world.
    pub scenario: &'static str,
    /// The world's seed.
    pub seed: u64,
    /// What broke.
    pub rule: RuleName,
    /// How many worlds it took so far.
    pub worlds: u32,
    /// How many it may take.
    pub worlds_max: u32,
    /// How many faults are left in the smallest plan so far.
    pub faults: usize,
}

/// What is told of a failure whose world is not done.
pub(crate) enum Meanwhile {
    /// There is one.
    Found(Found),
    /// Its plan is being made smaller.
    Shrinking(Shrinking),
}

impl Found {
    /// The name that its plan has when it is saved, now and when it is smaller.
    pub(crate) fn file_name(&self) -> String {
        file_name(self.scenario, &in_a_file_name(self.rule.name()), &self.origin, &self.plan)
    }
}

/// How the tool crashed as a failure was run again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CrashedAgain {
    pub(crate) message: String,
    /// The smaller plan in whose world it did; `None` for the one that was found.
    pub(crate) plan: Option<Plan>,
}

impl Failure {
    /// Shrinks what `outcome` found, unless its plan came from a file; `tell` hears of it, and of each world that this takes, and breaks when
    /// nobody waits for a smaller plan any more. If a scenario panics meanwhile, its first panic comes beside the failure, which gets smaller
    /// all the same, if by other plans: the rule broke, whatever else does.
    pub(crate) fn shrunk(
        scenario: &dyn Scenario,
        origin: Origin,
        outcome: &Outcome,
        violation: &Violation,
        how: How<'_>,
        tell: &dyn Fn(Meanwhile) -> ControlFlow<()>,
    ) -> (Self, Option<CrashedAgain>) {
        let rule = &violation.rule;
        let plan_file = origin.file().map(Path::to_path_buf);
        let heard = if plan_file.is_none() {
            let (scenario, origin, plan) = (scenario.name(), origin.clone(), outcome.plan.clone());
            tell(Meanwhile::Found(Found { scenario, origin, rule: rule.clone(), plan }))
        } else {
            ControlFlow::Break(())
        };
        let goes_on = |heard: ControlFlow<()>| {
            if heard.is_break() { heard } else { interruption::goes_on_unless(how.stop) }
        };
        let mut progress = |Progress { worlds, worlds_max, smallest }: Progress<'_>| {
            let (scenario, seed, faults) = (scenario.name(), outcome.plan.seed, smallest.faults.len());
            let rule = rule.clone();
            goes_on(tell(Meanwhile::Shrinking(Shrinking { scenario, seed, rule, worlds, worlds_max, faults })))
        };
        let again = || unshrunk(explore::run_plan(scenario, &outcome.plan, true));
        let may_shrink = goes_on(heard).is_continue();
        let shrunk = guarded(|| {
            if may_shrink {
                explore::shrink(scenario, &outcome.plan, rule, how.shrink_worlds_max, &mut progress)
            } else {
                again()
            }
        });
        let crashed =
            |said: &str, plan| CrashedAgain { message: format!("as its failure was run again: {said}"), plan };
        let crash = match &shrunk {
            Ok(shrunk) => shrunk.crash.as_ref().map(|crash| crashed(&crash.said, Some(crash.plan.clone()))),
            Err(panic) => Some(crashed(panic, None)),
        };
        let shrunk = shrunk.or_else(|_| guarded(again));
        let reproduced = shrunk.as_ref().is_ok_and(|shrunk| shrunk.outcome.broke_first(&violation.rule));
        let Shrunk { outcome: smallest, worlds, without, crash: _ } =
            shrunk.unwrap_or_else(|_| unshrunk(outcome.clone()));
        let failure = Self {
            scenario: scenario.name(),
            origin,
            seed: outcome.plan.seed,
            violation: violation.clone(),
            found: outcome.plan.clone(),
            reproduced,
            outcome: smallest,
            shrink_worlds: worlds,
            without,
            plan_file,
        };
        (failure, crash)
    }

    /// The rule that broke.
    #[must_use]
    pub fn rule(&self) -> &RuleName {
        &self.violation.rule
    }

    /// What this failure alone would come to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.reproduced {
            Verdict::DeterminismLost
        } else if self.rule().is_liveness() {
            Verdict::LivenessLost
        } else {
            Verdict::RuleBroken
        }
    }

    /// Whether its plan is the smallest that was found: not that of one from a file, nor of one that did not break its rule again, whose plan
    /// stays as it was found.
    pub(crate) fn is_shrunk(&self) -> bool {
        self.reproduced && self.origin.file().is_none()
    }

    /// Whether its plan may get smaller yet, if its campaign was interrupted: what is left in it was not tried without.
    pub(crate) fn is_cut_short(&self) -> bool {
        let plan = &self.outcome.plan;
        self.reproduced && self.without.is_empty() && !(plan.faults.is_empty() && plan.order.is_plain())
    }

    /// The smallest plan that breaks the rule; as it was found, if the rule did not break again.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        if self.reproduced { &self.outcome.plan } else { &self.found }
    }

    /// Saves [its plan](Failure::plan) in `folder`, unless it came from a file, or did not break the rule again and follows from its seed.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made or the file not be written.
    pub fn save(&mut self, folder: &Path) -> io::Result<()> {
        let name = match (&self.origin, self.reproduced) {
            (Origin::Saved(_), _) | (Origin::Generated(_), false) => return Ok(()),
            (Origin::Generated(_) | Origin::Injected { .. } | Origin::Changed { .. }, true) => self.file_name(),
            (Origin::Injected { .. } | Origin::Changed { .. }, false) => {
                let what = format!("{}-once", in_a_file_name(self.rule().name()));
                file_name(self.scenario, &what, &self.origin, &self.found)
            }
        };
        let file = folder.join(name);
        fs::create_dir_all(folder)?;
        corpus::write(&file, self.plan())?;
        self.plan_file = Some(file);
        Ok(())
    }

    /// The name that its plan has when it is saved, if it breaks the rule.
    pub(crate) fn file_name(&self) -> String {
        file_name(self.scenario, &in_a_file_name(self.rule().name()), &self.origin, &self.found)
    }

    /// The line that replays the smallest plan, if that is in a file. `command` is what starts the program.
    #[must_use]
    pub fn replay_line(&self, command: &str) -> Option<String> {
        self.plan_file.as_ref().filter(|_| self.reproduced).map(|file| replay_line(command, file))
    }

    /// The line that runs the world again as it was found, if a seed says all about it, or else its plan is in a file.
    #[must_use]
    pub fn again_line(&self, command: &str) -> Option<String> {
        match &self.origin {
            Origin::Generated(profile) => Some(again_line(command, self.scenario, self.seed, profile)),
            Origin::Saved(_) | Origin::Injected { .. } | Origin::Changed { .. } => {
                self.plan_file.as_ref().filter(|_| !self.reproduced).map(|file| replay_line(command, file))
            }
        }
    }
}

/// A name that says which world the plan is of, so that campaigns under another profile or from another base seed leave it alone. `what` is
/// the rule that broke, or what there was else; `found` the plan as it was found.
pub(crate) fn file_name(scenario: &str, what: &str, origin: &Origin, found: &Plan) -> String {
    let seed = found.seed;
    // Which plan has a number that is not a seed depends on all the options of a campaign.
    let hash = || format!("{:08x}", hash_of(found.to_json().bytes()) >> 32);
    let world = match origin {
        Origin::Generated(profile) => format!("{}-{seed}", profile.in_a_file_name()),
        Origin::Injected { number } => format!("{seed}-x{number}-{}", hash()),
        Origin::Changed { number } => format!("{seed}-g{number}-{}", hash()),
        Origin::Saved(_) => seed.to_string(),
    };
    format!("{}-{what}-{world}.json", in_a_file_name(scenario))
}

/// A world whose plan stays as it is.
fn unshrunk(outcome: Outcome) -> Shrunk {
    Shrunk { outcome, worlds: 0, without: Vec::new(), crash: None }
}

pub(crate) fn replay_line(command: &str, file: &Path) -> String {
    format!("{command} --plan {}", in_a_shell(&file.to_string_lossy()))
}

pub(crate) fn again_line(command: &str, scenario: &str, seed: u64, profile: &CampaignProfile) -> String {
    format!("{command} {} --seed {seed} --profile {}", in_a_shell(scenario), profile.in_a_shell())
}

/// A scenario's, a rule's or a profile's name without what a file's name should not have: some scenarios are called by a path, and a
/// scenario's own invariant by a sentence.
pub(crate) fn in_a_file_name(called: &str) -> String {
    let mut name = String::new();
    for c in called.chars().take(60) {
        if c.is_alphanumeric() {
            name.extend(c.to_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.trim_end_matches('-').to_owned()
}

/// A word as a shell reads it back.
pub(crate) fn in_a_shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicBool};

    use shiftwork::{Context, Schedule, Tick, queue::Timestamp};
    use shiftwork_sim::{
        Fault,
        explore::{FaultMix, Profile},
        node,
        plan::dst_forward,
        secs, site,
    };

    use super::*;
    use crate::{
        Campaign,
        profile::OwnProfile,
        report::Ended,
        small::Small,
        table::{Detail, Text},
    };

    /// The profile that a file holds.
    fn own(file: &str) -> CampaignProfile {
        CampaignProfile::Own(Arc::new(OwnProfile { file: file.into(), mix: FaultMix::HARSH }))
    }

    /// Breaks a rule whatever happens.
    const BROKEN: Small = Small {
        name: "broken",
        build: |world| {
            world.node("node", |node| {
                let tidy = |_: Tick, _: Context| async { Ok::<(), shiftwork::Failure>(()) };
                node.host().worker("tidy", Schedule::every(secs(5)), tidy).run_until_signal()
            });
            world.at_end("all is well", || Err("it never is".to_owned()));
        },
    };

    /// As [`BROKEN`], and cannot be built unless a fault says the date of its world.
    const DATED: Small = Small {
        name: "dated",
        build: |world| {
            let usual: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            assert!(world.wall_time() != usual, "no world without a date");
            (BROKEN.build)(world);
        },
    };

    /// A failure whose plan has two faults for nothing, if whoever is told goes on like this when it is found and when it is shrunk.
    fn shrunk(found: ControlFlow<()>, shrinking: ControlFlow<()>) -> Failure {
        let faults =
            vec![Fault::new(1_000, node("node").crash(secs(1))), Fault::new(4_000, node("node").crash(secs(1)))];
        let plan = Plan { faults, ..Plan::quiet("broken", 1) };
        let outcome = explore::run_plan(&BROKEN, &plan, false);
        let tell = |told: Meanwhile| match told {
            Meanwhile::Found(_) => found,
            Meanwhile::Shrinking(_) => shrinking,
        };
        let (violation, origin) = (&outcome.violations[0], Origin::Injected { number: 0 });
        let stop = AtomicBool::new(false);
        let how = How { shrink_worlds_max: 100, poll_max_real: None, stop: &stop };
        let (failure, crash) = Failure::shrunk(&BROKEN, origin, &outcome, violation, how, &tell);
        assert_eq!((failure.reproduced, crash), (true, None));
        failure
    }

    #[test]
    fn a_failure_gets_smaller_though_a_smaller_plan_crashes_the_tool_and_that_plan_is_kept() {
        let dst = || dst_forward("Europe/Vienna");
        let crash = || node("node").crash(secs(1));
        let faults = vec![Fault::new(1_000, crash()), Fault::new(4_000, dst()), Fault::new(6_000, crash())];
        let plan = Plan { faults, ..Plan::quiet("dated", 1) };
        let outcome = explore::run_plan(&DATED, &plan, false);
        let (stop, tell) = (AtomicBool::new(false), |_: Meanwhile| GOES_ON);
        let how = How { shrink_worlds_max: 200, poll_max_real: None, stop: &stop };
        let origin = Origin::Generated(Profile::Harsh.into());
        let (failure, crash) = Failure::shrunk(&DATED, origin, &outcome, &outcome.violations[0], how, &tell);
        assert!(failure.reproduced);
        assert_eq!(failure.outcome.plan.faults, [Fault::new(0, dst())]);
        let message = "as its failure was run again: no world without a date".to_owned();
        assert_eq!(crash, Some(CrashedAgain { message, plan: Some(Plan::quiet("dated", 1)) }));
    }

    const GOES_ON: ControlFlow<()> = ControlFlow::Continue(());
    const BREAKS: ControlFlow<()> = ControlFlow::Break(());

    #[test]
    fn a_plan_is_made_smaller_only_for_as_long_as_somebody_waits_for_it() {
        let check = |found, shrinking| {
            let failure = shrunk(found, shrinking);
            (failure.shrink_worlds, failure.outcome.plan.faults.len())
        };
        assert_eq!(check(GOES_ON, GOES_ON).1, 0);
        assert_eq!(check(GOES_ON, BREAKS).0, 1);
        assert_eq!(check(BREAKS, GOES_ON), (0, 2));
    }

    #[test]
    fn the_report_says_that_shrinking_was_interrupted() {
        let said = |failure: Failure, ended: Ended| {
            let mut report = Campaign::over([]).run();
            report.ended = ended;
            report.failures.push(failure);
            Text { report: &report, command: "chaos", detail: Detail::Wrong }.to_string()
        };
        let line = "shrunk from 2 faults to 2 in 0 worlds (shrinking was interrupted; `--minimize` goes on with it)\n";
        let cut = said(shrunk(BREAKS, BREAKS), Ended::Interrupted);
        assert!(cut.contains(line), "{cut}");
        for whole in [said(shrunk(GOES_ON, GOES_ON), Ended::Interrupted), said(shrunk(BREAKS, BREAKS), Ended::Complete)]
        {
            assert!(whole.contains("shrunk from 2 faults to ") && !whole.contains("shrinking was"), "{whole}");
        }
    }

    #[test]
    fn a_sentence_becomes_a_file_name() {
        assert_eq!(in_a_file_name("T1"), "t1");
        assert_eq!(in_a_file_name("no mail is sent twice (ever)!"), "no-mail-is-sent-twice-ever");
        assert_eq!(in_a_file_name("../a/b"), "a-b");
    }

    #[test]
    fn a_file_is_named_after_its_world_and_lies_in_its_folder() {
        let check = |scenario: &'static str, origin: Origin, name: &str| {
            let rule = RuleName::Scenario("Paid once!".to_owned());
            let found = Found { scenario, origin, rule, plan: Plan::quiet(scenario, 7) };
            assert_eq!(found.file_name(), name);
        };
        check("orders", Origin::Generated(Profile::Harsh.into()), "orders-paid-once-harsh-7.json");
        check("orders", Origin::Generated(Profile::Hostile.into()), "orders-paid-once-hostile-7.json");
        check("orders", Origin::Generated(own("mixes/deploys.json")), "orders-paid-once-deploys-json-7.json");
        check("billing/charge", Origin::Generated(Profile::Harsh.into()), "billing-charge-paid-once-harsh-7.json");
        check("../billing", Origin::Generated(Profile::Harsh.into()), "billing-paid-once-harsh-7.json");
    }

    #[test]
    fn a_number_that_is_of_another_world_under_other_options_names_another_file() {
        let name = |origin: &Origin, faults: &[Fault]| {
            let plan = Plan { faults: faults.to_vec(), ..Plan::quiet("orders", 7) };
            file_name("orders", "paid-once", origin, &plan)
        };
        for (origin, number) in [(Origin::Injected { number: 12 }, "x12"), (Origin::Changed { number: 12 }, "g12")] {
            let (quiet, hang) = (name(&origin, &[]), name(&origin, &[Fault::new(1, site("bank").hang())]));
            assert_ne!(quiet, hang);
            for name in [&quiet, &hang] {
                let hash = name.strip_prefix(&format!("orders-paid-once-7-{number}-")).unwrap().strip_suffix(".json");
                assert_eq!(hash.unwrap().len(), 8, "{name}");
            }
            assert_eq!(name(&origin, &[]), quiet, "the same world names the same file");
        }
    }

    #[test]
    fn the_line_of_a_world_as_it_was_found_can_be_pasted() {
        let line = |scenario: &str| again_line("cargo xtask chaos", scenario, 7, &Profile::Harsh.into());
        assert_eq!(line("billing/charge"), "cargo xtask chaos billing/charge --seed 7 --profile harsh");
        assert_eq!(line("it's paid"), r"cargo xtask chaos 'it'\''s paid' --seed 7 --profile harsh");
        let line = again_line("cargo xtask chaos", "orders", 7, &own("my mixes/deploys.json"));
        assert_eq!(line, "cargo xtask chaos orders --seed 7 --profile 'my mixes/deploys.json'");
    }

    #[test]
    fn a_replay_line_can_be_pasted() {
        let line = |file: &str| replay_line("cargo xtask chaos", Path::new(file));
        assert_eq!(line(".chaos/email-t1-harsh-7.json"), "cargo xtask chaos --plan .chaos/email-t1-harsh-7.json");
        assert_eq!(line("my plans/it's.json"), r"cargo xtask chaos --plan 'my plans/it'\''s.json'");
    }
}
