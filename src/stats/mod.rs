//! What the report computes, pure: no clock, no randomness, no I/O. Counts in, figures out. `docs/statistics.md` says
//! what they mean and what they were measured to do.
//!
//! A comparison is made inside each stage and pooled over the stages ([`stratified`]); only always-valid figures
//! ([`sequential`]) decide, because people look every day. What is undefined or unbounded is `None` and has a
//! [`figures::Note`]; no NaN and no infinity ever leaves.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod bayes;
pub mod compare;
pub mod counts;
pub mod figures;
pub mod guardrail;
pub mod mean;
pub mod multiple;
pub mod power;
pub mod proportion;
mod quadrature;
pub mod ratio;
pub mod sequential;
pub mod special;
pub mod srm;
pub mod stratified;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;
