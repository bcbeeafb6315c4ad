//! What was measured, told to whoever analyses it. Reads only.

pub mod export;
