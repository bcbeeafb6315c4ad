#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests watch real processes by the real clock")]
//! Integration tests: one binary, since each further one links everything again.

mod allocations;
mod audiences;
mod badges;
mod cli;
mod clients;
mod dashboards;
mod decide;
mod demo;
mod durability;
mod environments;
mod events;
mod exports;
mod fixture;
mod keeping;
mod keys;
mod lastgood;
mod manage;
mod metrics;
mod openapi;
mod postgres;
mod promote;
mod propagation;
mod report;
mod signed;
mod start;
mod stats;
mod store;
mod streams;
mod tidy;
mod transfer;
mod trust;
