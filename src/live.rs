//! The state that decides: one compiled snapshot an environment, swapped as a whole.

pub mod error;
pub mod feed;
pub mod holder;
pub mod load;
pub mod members;
pub mod meters;
pub mod signing;

pub use error::LiveError;
pub use holder::{Environment, Live, Published};
