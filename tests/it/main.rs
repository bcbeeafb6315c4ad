#![cfg(test)]
//! Integration tests: one binary, since each further one links everything again.

mod fixture;
mod smoke;
