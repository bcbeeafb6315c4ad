//! huidu: decides which users, and which goods, see a payment entry; opens it step by step; measures each step.

pub mod clock;
pub mod engine;
pub mod random;
