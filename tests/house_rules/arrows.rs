//! Which crate of the workspace may know which.
//!
//! Dependencies of every sort count, those of tests and build scripts too: a core that needs its simulator to be tested
//! can no longer be changed without it. Tests that need both live in `tests/`.

use std::{env, fs, path::Path, process::Command};

use serde::Deserialize;

/// Each package, and all of the workspace that it may depend on. Nobody may depend on a package that stands in no list.
const ARROWS: [(&str, &[&str]); 7] = [
    ("shiftwork-queue", &[]),
    ("shiftwork", &["shiftwork-queue"]),
    ("shiftwork-sim", &["shiftwork", "shiftwork-queue"]),
    ("shiftwork-chaos", &["shiftwork", "shiftwork-sim"]),
    ("shiftwork-tests", &["shiftwork", "shiftwork-queue", "shiftwork-sim", "shiftwork-chaos"]),
    ("shiftwork-benches", &["shiftwork", "shiftwork-queue", "shiftwork-sim", "shiftwork-chaos"]),
    ("xtask", &[]),
];

/// A package of the workspace, as cargo describes it.
#[derive(Deserialize)]
pub(crate) struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev` or `build`; nothing for the ordinary sort.
    kind: Option<String>,
}

/// The packages of the workspace at `root`.
pub(crate) fn packages(root: &Path) -> Vec<Package> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }

    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).expect("cargo writes JSON of this shape");
    metadata.packages
}

/// Every dependency that points the wrong way, and every package the table does not know or knows in vain.
pub(crate) fn broken(packages: &[Package]) -> Vec<String> {
    let mut broken = Vec::new();
    for package in packages {
        let manifest = &package.manifest_path;
        let Some((_, may_know)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            broken.push(format!(
                "{manifest}:1: {} has no arrows\n    instead: say in {} which crates it may depend on",
                package.name,
                file!()
            ));
            continue;
        };
        let inside = |dependency: &&Dependency| packages.iter().any(|package| package.name == dependency.name);
        for dependency in package.dependencies.iter().filter(inside) {
            if !may_know.contains(&dependency.name.as_str()) {
                let kind = dependency.kind.as_deref().map(|kind| format!(" for {kind}")).unwrap_or_default();
                let allowed = if may_know.is_empty() { "nothing".to_owned() } else { may_know.join(", ") };
                broken.push(format!(
                    "{manifest}:{}: {} depends on {}{kind}\n    instead: of this workspace it may use {allowed}; what \
                     needs both sides belongs to the crate above, tests of both to tests/",
                    line_of(manifest, &dependency.name),
                    package.name,
                    dependency.name,
                ));
            }
        }
    }
    for (name, _) in ARROWS {
        if !packages.iter().any(|package| package.name == name) {
            broken.push(format!("{}: there is no package {name}\n    instead: remove its arrows", file!()));
        }
    }
    broken
}

/// Where a manifest first names `dependency`; 1 if it does so in a way we do not see.
fn line_of(manifest: &str, dependency: &str) -> usize {
    let names = |line: &str| {
        let rest = line.trim().strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    let text = fs::read_to_string(manifest).unwrap_or_default();
    text.lines().zip(1..).find(|(line, _)| names(line)).map_or(1, |(_, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace of all packages of the table, in which `name` depends on `dependency`.
    fn workspace(name: &str, dependency: &str, kind: Option<&str>) -> Vec<Package> {
        let package = |&(package, _): &(&str, &[&str])| Package {
            name: package.to_owned(),
            manifest_path: format!("{package}/Cargo.toml"),
            dependencies: (package == name)
                .then(|| Dependency { name: dependency.to_owned(), kind: kind.map(str::to_owned) })
                .into_iter()
                .collect(),
        };
        ARROWS.iter().map(package).collect()
    }

    #[test]
    fn an_arrow_against_the_grain_is_found() {
        for (name, dependency, kind) in [
            ("shiftwork-queue", "shiftwork", None),
            ("shiftwork", "shiftwork-sim", Some("dev")),
            ("shiftwork-sim", "shiftwork-chaos", Some("build")),
            ("shiftwork-chaos", "shiftwork-tests", None),
            ("shiftwork-benches", "shiftwork-tests", Some("dev")),
            ("shiftwork-tests", "xtask", None),
            ("xtask", "shiftwork-chaos", None),
        ] {
            let broken = broken(&workspace(name, dependency, kind));
            assert_eq!(broken.len(), 1, "{name} -> {dependency}: {broken:?}");
            assert!(broken[0].contains(&format!("{name}/Cargo.toml:1: {name} depends on {dependency}")), "{broken:?}");
        }
    }

    #[test]
    fn an_arrow_with_the_grain_and_one_out_of_the_workspace_are_fine() {
        assert_eq!(broken(&workspace("shiftwork-sim", "shiftwork", None)), [""; 0]);
        assert_eq!(broken(&workspace("shiftwork-queue", "serde", None)), [""; 0]);
    }

    #[test]
    fn a_package_without_arrows_and_arrows_without_a_package_are_found() {
        let mut packages = workspace("xtask", "clap", None);
        packages[0].name = "shiftwork-newcomer".to_owned();
        let broken = broken(&packages);
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].contains("shiftwork-newcomer has no arrows"));
        assert!(broken[1].contains("there is no package shiftwork-queue"));
    }
}
