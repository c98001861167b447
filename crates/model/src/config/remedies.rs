//! `[pool.NAME.remedies]`: what Evenkeel may do by itself about an incident of the pool.

/// A remedy.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Remedy {
    /// Undo the revision that is to blame.
    Rollback,
    /// Drain the backend that is at fault for a while.
    Eject,
    /// Weights by the declared intent for a while, where no rollback would bring them back.
    Weights,
    /// No retries for a while.
    Retries,
    /// The health check decides nothing for a while.
    FailOpen,
    /// Run what the journal says again.
    Reapply,
}

impl Remedy {
    /// Every remedy.
    pub const ALL: [Self; 6] = [
        Self::Rollback,
        Self::Eject,
        Self::Weights,
        Self::Retries,
        Self::FailOpen,
        Self::Reapply,
    ];

    /// The key in the configuration, and the word for the action in an incident.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Eject => "eject",
            Self::Weights => "weights",
            Self::Retries => "retries",
            Self::FailOpen => "fail_open",
            Self::Reapply => "reapply",
        }
    }
}

/// How far a remedy may go.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Leave {
    /// Nothing is done or said.
    Off,
    /// It is suggested.
    Suggest,
    /// It is done where its rules allow it, else suggested.
    Act,
}

impl Leave {
    /// Every degree.
    pub const ALL: [Self; 3] = [Self::Off, Self::Suggest, Self::Act];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Suggest => "suggest",
            Self::Act => "act",
        }
    }
}

/// How far each remedy may go. Default: the rollback is done, the others are suggested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remedies([Leave; Remedy::ALL.len()]);

impl Default for Remedies {
    fn default() -> Self {
        let all = Self([Leave::Suggest; Remedy::ALL.len()]);
        all.with(Remedy::Rollback, Leave::Act)
    }
}

impl Remedies {
    /// How far `remedy` may go.
    pub const fn of(&self, remedy: Remedy) -> Leave {
        self.0[remedy as usize]
    }

    /// The same with `leave` for `remedy`.
    #[must_use]
    pub const fn with(mut self, remedy: Remedy, leave: Leave) -> Self {
        self.0[remedy as usize] = leave;
        self
    }
}
