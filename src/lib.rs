//! huidu (灰度, "gradual release"): decides which users, and which goods, see a payment entry; opens it step by
//! step; measures what every step did. `docs/architecture.md` draws the modules below and who may import whom.

pub mod access;
pub mod audiences;
pub mod cli;
pub mod clock;
pub mod decide;
pub mod demo;
pub mod engine;
pub mod events;
pub mod http;
pub mod jobs;
pub mod live;
pub mod manage;
pub mod random;
pub mod report;
pub mod settings;
pub mod stats;
pub mod store;
pub mod telemetry;
pub mod token;
