//! How much goes wrong in the generated worlds of a campaign: as one of the profiles that there are, or as a file says it.
//!
//! What a mix of faults is made of is the simulator's ([`FaultMix`]). Here it has a word: the one with which a person chose it, and
//! chooses it again.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shiftwork_sim::explore::{FaultMix, Profile};

use crate::failure::{in_a_file_name, in_a_shell};

/// The profiles that there are.
const KNOWN: [Profile; 3] = [Profile::Gentle, Profile::Harsh, Profile::Hostile];

/// How much goes wrong in generated worlds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CampaignProfile {
    /// As in one of the profiles that there are.
    Known(Profile),
    /// As a file says it. Shared, since every world of a campaign keeps it.
    Own(Arc<OwnProfile>),
}

/// A profile of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnProfile {
    /// The file, as it was named.
    pub file: PathBuf,
    /// What is in it.
    pub mix: FaultMix,
}

impl CampaignProfile {
    /// The profile of this word: `gentle`, `harsh`, `hostile`, or the path of a file that holds a [`FaultMix`] as JSON. A file whose
    /// name is one of the words is named with its folder.
    ///
    /// # Errors
    ///
    /// With one line that says what is wrong with the file, by field, and what would be accepted.
    pub fn read(word: &Path) -> Result<Self, String> {
        if let Some(known) = KNOWN.into_iter().find(|profile| word == Path::new(profile_name(*profile))) {
            return Ok(Self::Known(known));
        }
        let known = KNOWN.map(profile_name).join(", ");
        let text = fs::read_to_string(word)
            .map_err(|error| format!("it is none of {known}, and not a file that can be read: {error}"))?;
        let mix = mix_of(&text)?;
        Ok(Self::Own(Arc::new(OwnProfile { file: word.to_owned(), mix })))
    }

    /// What it is made of.
    #[must_use]
    pub fn mix(&self) -> FaultMix {
        match self {
            CampaignProfile::Known(profile) => profile.mix(),
            CampaignProfile::Own(own) => own.mix,
        }
    }

    /// The word with which it was chosen.
    #[must_use]
    pub fn word(&self) -> String {
        match self {
            CampaignProfile::Known(profile) => profile_name(*profile).to_owned(),
            CampaignProfile::Own(own) => own.file.to_string_lossy().into_owned(),
        }
    }

    /// What is in its file, if it is one's own.
    pub(crate) fn own_mix(&self) -> Option<FaultMix> {
        match self {
            CampaignProfile::Known(_) => None,
            CampaignProfile::Own(own) => Some(own.mix),
        }
    }

    /// The word as a shell reads it back.
    pub(crate) fn in_a_shell(&self) -> String {
        in_a_shell(&self.word())
    }

    /// What of it is in the name of a plan's file: a file's own name with its ending, so that `harsh.json` is not taken for `harsh`.
    pub(crate) fn in_a_file_name(&self) -> String {
        match self {
            CampaignProfile::Known(profile) => profile_name(*profile).to_owned(),
            CampaignProfile::Own(own) => in_a_file_name(&own.file.file_name().unwrap_or_default().to_string_lossy()),
        }
    }
}

impl From<Profile> for CampaignProfile {
    fn from(profile: Profile) -> Self {
        CampaignProfile::Known(profile)
    }
}

/// The word for a profile at the command line and in files.
fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Gentle => "gentle",
        Profile::Harsh => "harsh",
        Profile::Hostile => "hostile",
    }
}

/// The mix that a file holds.
fn mix_of(text: &str) -> Result<FaultMix, String> {
    serde_json::from_str(text).map_err(|error| match field_at_fault(text) {
        Some((field, accepted)) => format!("not a profile: {field} cannot be used: {error}; it is {accepted}"),
        None => format!("not a profile: {error}"),
    })
}

/// The first field whose value is none, and what it takes: a number of the wrong size says nothing of whose it is. A file in which it is
/// something else that is wrong has none.
fn field_at_fault(text: &str) -> Option<(&'static str, &'static str)> {
    const COUNT: &str = "a whole number from 0 to 65535";
    const DURATION: &str = "a whole number of milliseconds, at least 1";
    const FIELDS: [(&str, &str); 5] = [
        ("faults_min", COUNT),
        ("faults_max", COUNT),
        ("lasts_max_ms", DURATION),
        ("down_max_ms", DURATION),
        ("weights", "a whole number from 0 to 65535 for each kind of fault that is to come"),
    ];
    let fields: Map<String, Value> = serde_json::from_str(text).ok()?;
    if fields.keys().any(|name| FIELDS.iter().all(|(field, _)| name != field)) {
        return None;
    }
    let alone = |field: &str, value: &Value| {
        let mut file = json!({ "faults_max": u16::MAX, "weights": { "hang": 1 } });
        file[field] = value.clone();
        file
    };
    let is_at_fault = |(field, _): &(&'static str, &'static str)| {
        fields.get(*field).is_some_and(|value| serde_json::from_value::<FaultMix>(alone(field, value)).is_err())
    };
    FIELDS.into_iter().find(is_at_fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_profile_and_anything_else_a_file() {
        for profile in KNOWN {
            let word = CampaignProfile::Known(profile).word();
            assert_eq!(CampaignProfile::read(Path::new(&word)), Ok(CampaignProfile::Known(profile)));
        }
        let refused = CampaignProfile::read(Path::new("no/such/file.json")).unwrap_err();
        assert!(refused.starts_with("it is none of gentle, harsh, hostile, and not a file"), "{refused}");
    }

    #[test]
    fn a_bad_file_is_refused_with_its_field_and_what_would_do() {
        let check = |text: &str, words: &[&str]| {
            let refused = mix_of(text).unwrap_err();
            assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
        };
        check("[]", &["not a profile"]);
        check(r#"{"weights": {"gremlin": 1}}"#, &["weights cannot be used", "`gremlin`, expected one of `slow`"]);
        check(r#"{"weights": {"hang": -1}}"#, &["weights cannot be used", "from 0 to 65535"]);
        check(
            r#"{"faults_max": 70000, "weights": {"hang": 1}}"#,
            &["faults_max cannot be used", "70000", "from 0 to 65535"],
        );
        check(
            r#"{"down_max_ms": "long", "weights": {"hang": 1}}"#,
            &["down_max_ms cannot be used", "\"long\"", "milliseconds"],
        );
        check(r#"{"lasts_max_ms": 0, "weights": {"hang": 1}}"#, &["lasts_max_ms cannot be used", "at least 1"]);
        check(r#"{"faults_min": 9, "faults_max": 3, "weights": {"hang": 1}}"#, &["faults_min is 9", "faults_max, 3"]);
        check(r#"{"faults_max": 3}"#, &["missing field `weights`"]);
        check(r#"{"weights": {}, "wieghts": {}}"#, &["unknown field `wieghts`", "expected one of"]);
    }

    #[test]
    fn a_file_is_called_as_it_was_named_and_names_its_plans() {
        let mix = FaultMix::HARSH;
        let own = |file: &str| CampaignProfile::Own(Arc::new(OwnProfile { file: file.into(), mix }));
        assert_eq!(own("mixes/harsh.json").word(), "mixes/harsh.json");
        assert_eq!(own("mixes/harsh.json").in_a_file_name(), "harsh-json");
        assert_eq!(own("my mixes/a.json").in_a_shell(), "'my mixes/a.json'");
    }
}
