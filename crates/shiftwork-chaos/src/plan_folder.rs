//! The folder in which a campaign saves its plans: each as soon as it is found, and again once it is smaller.
//!
//! A campaign that is killed has then not found them in vain, however long it was still to shrink them. A plan that is there already stays
//! until then: it may be the small one of an earlier campaign. What comes of a world may be thrown away, since the campaign had enough before
//! that (`campaign/threads.rs`): its plan goes with it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use shiftwork_sim::Plan;

use crate::{
    Failure, corpus,
    failure::{Found, file_name},
    report::ToolCrash,
};

/// A folder of plans, which is made when there is one.
pub(crate) struct PlanFolder {
    folder: PathBuf,
    /// The files of plans that are as they were found, and what each held before.
    as_found: BTreeMap<PathBuf, Option<String>>,
}

impl PlanFolder {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, as_found: BTreeMap::new() }
    }

    /// Tries whether plans can be saved in a folder. One that is not there is not made yet.
    ///
    /// # Errors
    ///
    /// When they cannot.
    pub(crate) fn try_out(folder: &Path) -> io::Result<()> {
        // It will be made in the nearest one that is there; a path without any is in the current one.
        let is_there = |path: &&Path| path.as_os_str().is_empty() || path.exists();
        let nearest = folder.ancestors().find(is_there).unwrap_or(folder);
        let probe = nearest.join(format!(".chaos-{}", std::process::id()));
        match fs::File::create_new(&probe) {
            Ok(_) => fs::remove_file(&probe),
            // A process of this number tries the same, on another machine that shares the folder.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// Saves a plan as it was found, unless there is one of this world already: that has been made smaller, or is the same.
    pub(crate) fn save_as_found(&mut self, found: &Found) -> io::Result<()> {
        let file = self.folder.join(found.file_name());
        let before = fs::read_to_string(&file).ok();
        if before.as_deref().is_some_and(|text| is_plan_of(text, found.scenario)) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        corpus::write(&file, &found.plan)?;
        self.as_found.insert(file, before);
        Ok(())
    }

    /// Saves the plan of a failure in the place of the one that was found.
    pub(crate) fn save(&mut self, failure: &mut Failure) -> io::Result<()> {
        let file = self.folder.join(failure.file_name());
        let before = self.as_found.remove(&file);
        failure.save(&self.folder)?;
        if let Some(before) = before.filter(|_| failure.plan_file.as_ref() != Some(&file)) {
            put_back(&file, before);
        }
        Ok(())
    }

    /// Saves the plan of a world in which the tool crashed, if nothing else brings that back.
    pub(crate) fn save_crash(&self, crash: &mut ToolCrash) -> io::Result<()> {
        if let Some(plan) = &crash.plan {
            let file = self.folder.join(file_name(crash.scenario, "crash", &crash.origin, plan));
            fs::create_dir_all(&self.folder)?;
            corpus::write(&file, plan)?;
            crash.plan_file = Some(file);
        }
        Ok(())
    }

    /// Takes back what was found and came to nothing.
    pub(crate) fn finish(&mut self) {
        for (file, before) in std::mem::take(&mut self.as_found) {
            put_back(&file, before);
        }
    }
}

/// Whether a file holds a plan that can be replayed in this scenario.
fn is_plan_of(text: &str, scenario: &str) -> bool {
    Plan::from_json(text).is_ok_and(|plan| plan.scenario == scenario)
}

/// Has a file hold again what it did. One that cannot be changed stays as it is: its plan breaks a rule, too.
fn put_back(file: &Path, before: Option<String>) {
    drop(match before {
        Some(text) => fs::write(file, text),
        None => fs::remove_file(file),
    });
}

#[cfg(test)]
mod tests {
    use shiftwork_sim::{Fault, RuleName, site};

    use super::*;
    use crate::report::Origin;

    fn found(seed: u64) -> Found {
        Found {
            scenario: "orders",
            origin: Origin::Injected { number: 12 },
            rule: RuleName::Scenario("paid once".to_owned()),
            plan: Plan::quiet("orders", seed),
        }
    }

    #[test]
    fn a_plan_is_there_as_soon_as_it_is_found_and_goes_with_what_is_thrown_away() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("plans");
        let mut plans = PlanFolder::new(folder.clone());
        assert!(!folder.exists(), "nothing was found yet");
        let [new, known] = [found(7), found(8)];
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(known.file_name()), "of another campaign").unwrap();
        for found in [&new, &known] {
            plans.save_as_found(found).unwrap();
            assert_eq!(fs::read_to_string(folder.join(found.file_name())).unwrap(), found.plan.to_json());
        }
        plans.finish();
        assert!(!folder.join(new.file_name()).exists());
        assert_eq!(fs::read_to_string(folder.join(known.file_name())).unwrap(), "of another campaign");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_plan_that_was_made_smaller_before_stays_until_the_new_one_is_smaller_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut plans = PlanFolder::new(folder.path().to_owned());
        let mut large = found(7);
        large.plan.faults = vec![Fault::new(1, site("bank").hang()), Fault::new(2, site("smtp").hang())];
        let file = folder.path().join(large.file_name());
        let saved = || fs::read_to_string(&file).unwrap();
        let small = Plan::quiet("orders", 7);
        corpus::write(&file, &small).unwrap();
        plans.save_as_found(&large).unwrap();
        assert_eq!(saved(), small.to_json());
        plans.finish();
        assert_eq!(saved(), small.to_json(), "what was not replaced is not put back");

        corpus::write(&file, &Plan::quiet("email", 7)).unwrap();
        plans.save_as_found(&large).unwrap();
        assert_eq!(saved(), large.plan.to_json(), "one of another scenario brings nothing back");
    }
}
