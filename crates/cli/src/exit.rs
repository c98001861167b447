//! Exit codes: 0 ok, 1 failed, 2 changes pending, 3 refused by the guard, 4 rolled back, 64 usage,
//! 69 no running instance, 78 configuration invalid.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    Failed,
    Pending,
    Refused,
    RolledBack,
    Usage,
    Unreachable,
    Invalid,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Pending => 2,
            Self::Refused => 3,
            Self::RolledBack => 4,
            Self::Usage => 64,
            Self::Unreachable => 69,
            Self::Invalid => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that carries its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Coded {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

/// An error with an exit code.
pub(crate) fn coded(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    Coded {
        exit,
        message: message.into(),
    }
    .into()
}

/// The exit code of an error: its own, else 1.
pub(crate) fn of(error: &anyhow::Error) -> Exit {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Coded>())
        .map_or(Exit::Failed, |coded| coded.exit)
}
