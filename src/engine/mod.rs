//! Deciding, pure: no clock, no randomness, no I/O, no HTTP. A decision is a function of
//! (snapshot, context, memberships).

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod asks;
pub mod attributes;
pub mod bucket;
pub mod compile;
pub mod condition;
pub mod context;
pub mod decision;
pub mod diff;
pub mod evaluate;
pub mod explain;
#[cfg(test)]
pub(crate) mod fixture;
pub mod flag;
pub mod index;
pub mod json;
pub mod key;
pub mod map;
pub mod membership;
pub mod memo;
pub mod number;
pub mod share;
pub mod snapshot;
pub mod validate;
pub mod version;
