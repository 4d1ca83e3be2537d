//! smoke
use shiftwork_sim::{Plan, Scenario, explore};
use shiftwork_tests::{email::Email, orders::Orders};

#[test]
fn quiet() {
    for scenario in [&Email as &dyn Scenario, &Orders] {
        let outcome = explore::run_plan(scenario, &Plan::quiet(scenario.name(), 1), true);
        println!("{}", outcome);
        println!("{:?} {}", outcome.stats.virtual_time, outcome.stats.records);
        let n = outcome.timeline.records().len();
        println!("{}", outcome.timeline.tail(std::time::Duration::MAX, 20));
        outcome.assert_rules_kept();
        let _ = n;
    }
}

#[test]
fn many() {
    for scenario in [&Email as &dyn Scenario, &Orders] {
        for seed in 0..3000 {
            let profile =
                [explore::Profile::Gentle, explore::Profile::Harsh, explore::Profile::Hostile][seed as usize % 3];
            let candidate = explore::generate(scenario, profile, seed);
            let outcome = explore::run_plan(scenario, &candidate.plan(), false);
            if !outcome.is_ok() {
                let rule = outcome.violations[0].rule.clone();
                let shrunk = explore::shrink(scenario, candidate, &rule, 200);
                panic!("seed {seed} worlds {}: {}", shrunk.worlds, shrunk.outcome);
            }
        }
    }
}
