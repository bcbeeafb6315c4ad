#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests watch real processes by the real clock")]
//! Integration tests: one binary, since each further one links everything again.

mod fixture;
mod postgres;
mod store;
mod tidy;
