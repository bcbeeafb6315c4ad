//! Why the live state could not be brought up to date.

use super::catch_up::FLAGS_MAX;
use crate::store::StoreError;

/// Why a state could not be loaded. What decides goes on deciding.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored name or secret cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// There are more flags than there can be.
    #[error("the database holds over {FLAGS_MAX} flags of one environment, which nobody could have stored")]
    TooManyFlags,
}

impl LiveError {
    /// Whether the database does not answer now, and may later.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_away())
    }

    /// The stable name of what `readyz` says is wrong.
    #[must_use]
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Store(StoreError::SetBack { .. }) => "database_older",
            Self::TooManyFlags => "too_many_flags",
            Self::Store(_) | Self::Unreadable(_) => "state_unreadable",
        }
    }
}
