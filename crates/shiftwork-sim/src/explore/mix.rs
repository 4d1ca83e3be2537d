//! How much goes wrong in generated worlds, and of what kinds.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

use crate::plan::{FaultName, whole_ms};

/// A mix of faults that comes with the crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// At most two short faults; nothing kills the process, and no clock steps.
    Gentle,
    /// A handful of any kind.
    Harsh,
    /// Many, and long.
    Hostile,
}

impl Profile {
    /// What it is made of.
    #[must_use]
    pub const fn mix(self) -> FaultMix {
        match self {
            Profile::Gentle => FaultMix::GENTLE,
            Profile::Harsh => FaultMix::HARSH,
            Profile::Hostile => FaultMix::HOSTILE,
        }
    }
}

/// How much goes wrong in generated worlds, and of what kinds: a profile of your own.
///
/// Each world gets a number of faults from the range, each of a kind that is drawn by weight from those that its seed
/// allows: a seed allows each kind with even odds, and at least one. A kind without weight never comes.
///
/// ```
/// use shiftwork_sim::{FaultName, explore::FaultMix, secs};
///
/// // An unreliable network, and nothing else; a hang is three times as likely as a lost reply.
/// let network = FaultMix::none()
///     .faults(1..=8)
///     .lasts_max(secs(30))
///     .weight(FaultName::Slow, 2)
///     .weight(FaultName::Hang, 3)
///     .weight(FaultName::ReplyLost, 1);
///
/// // As it is kept in a file. What a file does not say is as in `harsh`, but only kinds that it names have a weight.
/// let json = r#"{
///     "faults_min": 1, "faults_max": 8, "lasts_max_ms": 30000,
///     "weights": {"slow": 2, "hang": 3, "reply_lost": 1}
/// }"#;
/// assert_eq!(serde_json::from_str::<FaultMix>(json)?, network);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "File", into = "File")]
pub struct FaultMix {
    faults_min: u16,
    faults_max: u16,
    lasts_max_ms: u64,
    down_max_ms: u64,
    weights: [u16; FaultName::ALL.len()],
}

impl FaultMix {
    /// [`Profile::Gentle`].
    pub const GENTLE: Self = {
        let mut weights = [1; FaultName::ALL.len()];
        let mut index = 0;
        while index < weights.len() {
            if FaultName::ALL[index].is_drastic() {
                weights[index] = 0;
            }
            index += 1;
        }
        Self { faults_min: 0, faults_max: 2, lasts_max_ms: 5_000, down_max_ms: 32_768, weights }
    };

    /// [`Profile::Harsh`].
    pub const HARSH: Self = Self {
        faults_min: 0,
        faults_max: 6,
        lasts_max_ms: 40_000,
        down_max_ms: 32_768,
        weights: [1; FaultName::ALL.len()],
    };

    /// [`Profile::Hostile`].
    pub const HOSTILE: Self = Self { faults_max: 14, lasts_max_ms: 90_000, ..Self::HARSH };

    /// [`FaultMix::HARSH`] without any kind: give weights to those that you want.
    #[must_use]
    pub const fn none() -> Self {
        Self { weights: [0; FaultName::ALL.len()], ..Self::HARSH }
    }

    /// How many faults a world has. An empty range is taken for its start.
    #[must_use]
    pub fn faults(self, count: RangeInclusive<u16>) -> Self {
        let (min, max) = count.into_inner();
        Self { faults_min: min, faults_max: max.max(min), ..self }
    }

    /// How long a fault lasts at most, in whole milliseconds and at least one. Short ones are more frequent than long ones.
    #[must_use]
    pub fn lasts_max(self, duration: Duration) -> Self {
        Self { lasts_max_ms: whole_ms(duration).max(1), ..self }
    }

    /// How long a killed process is down at most, in whole milliseconds and at least one. By default half a minute, which
    /// is what an orchestrator takes to notice and to start it elsewhere.
    #[must_use]
    pub fn down_max(self, duration: Duration) -> Self {
        Self { down_max_ms: whole_ms(duration).max(1), ..self }
    }

    /// How often a kind comes, beside the others; 0 is never.
    #[must_use]
    pub const fn weight(mut self, kind: FaultName, weight: u16) -> Self {
        self.weights[kind.index()] = weight;
        self
    }

    /// How often a kind comes, beside the others.
    #[must_use]
    pub const fn weight_of(&self, kind: FaultName) -> u16 {
        self.weights[kind.index()]
    }

    pub(super) fn faults_range(&self) -> RangeInclusive<usize> {
        usize::from(self.faults_min)..=usize::from(self.faults_max)
    }

    pub(super) fn lasts_max_ms(&self) -> u64 {
        self.lasts_max_ms
    }

    pub(super) fn down_max_ms(&self) -> u64 {
        self.down_max_ms
    }
}

impl From<Profile> for FaultMix {
    fn from(profile: Profile) -> Self {
        profile.mix()
    }
}

/// The mix as it is kept in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    faults_min: u16,
    #[serde(default = "File::faults_max")]
    faults_max: u16,
    #[serde(default = "File::lasts_max_ms")]
    lasts_max_ms: u64,
    #[serde(default = "File::down_max_ms")]
    down_max_ms: u64,
    weights: BTreeMap<FaultName, u16>,
}

impl File {
    fn faults_max() -> u16 {
        FaultMix::HARSH.faults_max
    }

    fn lasts_max_ms() -> u64 {
        FaultMix::HARSH.lasts_max_ms
    }

    fn down_max_ms() -> u64 {
        FaultMix::HARSH.down_max_ms
    }
}

/// Why a file is not a mix of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultMixError(String);

impl fmt::Display for FaultMixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultMixError {}

impl TryFrom<File> for FaultMix {
    type Error = FaultMixError;

    fn try_from(file: File) -> Result<Self, FaultMixError> {
        let File { faults_min, faults_max, lasts_max_ms, down_max_ms, weights } = file;
        if faults_min > faults_max {
            return Err(FaultMixError(format!(
                "faults_min is {faults_min}, which is more than faults_max, {faults_max}"
            )));
        }
        for (field, value) in [("lasts_max_ms", lasts_max_ms), ("down_max_ms", down_max_ms)] {
            if value == 0 {
                return Err(FaultMixError(format!("{field} is 0; it must be at least 1")));
            }
        }
        if faults_max > 0 && weights.values().all(|weight| *weight == 0) {
            return Err(FaultMixError(
                "weights gives no kind of fault a weight of 1 or more; for worlds without faults set faults_max to 0"
                    .into(),
            ));
        }
        let mix = Self { faults_min, faults_max, lasts_max_ms, down_max_ms, ..Self::none() };
        Ok(weights.into_iter().fold(mix, |mix, (kind, weight)| mix.weight(kind, weight)))
    }
}

impl From<FaultMix> for File {
    fn from(mix: FaultMix) -> Self {
        let FaultMix { faults_min, faults_max, lasts_max_ms, down_max_ms, weights } = mix;
        let weights = FaultName::ALL.into_iter().zip(weights).filter(|(_, weight)| *weight > 0).collect();
        Self { faults_min, faults_max, lasts_max_ms, down_max_ms, weights }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        serde_json::from_str::<FaultMix>(json).unwrap_err().to_string()
    }

    #[test]
    fn a_mix_comes_back_from_its_file_as_it_was() {
        for mix in [FaultMix::GENTLE, FaultMix::HARSH, FaultMix::HOSTILE.weight(FaultName::Crash, 7).faults(3..=3)] {
            assert_eq!(serde_json::from_str::<FaultMix>(&serde_json::to_string(&mix).unwrap()).unwrap(), mix);
        }
    }

    #[test]
    fn a_bad_file_is_refused_with_what_is_wrong_and_what_would_do() {
        assert!(
            refused(r#"{"weights": {"gremlin": 1}}"#).contains("unknown variant `gremlin`, expected one of `slow`")
        );
        assert!(refused(r#"{"weights": {}, "wieghts": {}}"#).contains("unknown field `wieghts`, expected one of"));
        let backwards = refused(r#"{"faults_min": 9, "faults_max": 3, "weights": {"hang": 1}}"#);
        assert_eq!(backwards, "faults_min is 9, which is more than faults_max, 3");
        assert_eq!(
            refused(r#"{"lasts_max_ms": 0, "weights": {"hang": 1}}"#),
            "lasts_max_ms is 0; it must be at least 1"
        );
        assert!(refused(r#"{"weights": {"hang": 0}}"#).starts_with("weights gives no kind of fault a weight"));
    }

    #[test]
    fn a_gentle_mix_has_everything_but_what_is_drastic() {
        for kind in FaultName::ALL {
            assert_eq!(FaultMix::GENTLE.weight_of(kind) == 0, kind.is_drastic(), "{kind}");
        }
    }
}
