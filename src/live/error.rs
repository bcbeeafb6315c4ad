//! Why the live state could not be brought up to date.

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
}
