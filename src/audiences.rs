//! Id lists as people send them: parsed as they stream, sorted within bounded memory, cut into what is stored.

pub mod blocks;
pub mod intake;
pub mod lines;
pub mod readthrough;
pub mod sort;

pub use intake::Intake;
pub use lines::{Format, LineError, checked, parse};
pub use readthrough::ReadThrough;
pub use sort::Sorted;

/// Why an upload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A line is no id.
    #[error(transparent)]
    Line(#[from] LineError),
    /// More ids than an audience may have.
    #[error("an audience has at most {0} ids")]
    TooLarge(i64),
    /// It inflates beyond all measure.
    #[error("the upload inflates to over {} times its size", intake::RATIO_MAX)]
    Bomb,
    /// It is no gzip, or its end is missing.
    #[error("the upload is no whole gzip: {0}")]
    Gzip(String),
    /// The sender went away.
    #[error("the upload ended before its end")]
    Incomplete,
    /// What waits to be sorted cannot be kept on disk.
    #[error("the upload cannot be kept on disk meanwhile: {0}")]
    Disk(std::io::Error),
}
