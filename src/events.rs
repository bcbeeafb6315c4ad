//! Takes events durably: checked one by one, committed many at once, answered after the commit.

mod attribution;
pub mod check;
mod count;
pub mod parse;
pub mod queue;
pub mod writer;

pub use check::{Checker, Rejection};
pub use queue::{Queue, QueueError};

/// Most events of one call.
pub const EVENTS_MAX: usize = 1_000;
