//! Who may what: roles, rights, and the keys that carry them.

pub mod keys;
pub mod role;

pub use keys::{Actor, KeyHash, KeyTable, NewKey, make_key};
pub use role::{Right, Role};
