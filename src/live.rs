//! The state that decides: one compiled snapshot an environment, swapped as a whole.

pub mod beside;
mod budget;
pub mod catch_up;
pub mod disk;
pub mod error;
mod facts;
pub mod feed;
pub mod health;
pub mod holder;
pub mod load;
mod members;
pub mod meters;
pub mod node;
mod restore;
pub mod secrets;
pub mod signing;
mod tend;

pub use error::LiveError;
pub use holder::{Environment, Live, Published};
pub use tend::held;
