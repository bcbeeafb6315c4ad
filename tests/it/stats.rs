//! What the statistics do when they are used as people use them: simulated ramps and tests, looked at every day. The
//! seeds are fixed; each test also sees that the wrong method is caught, and that the right one still decides.
//! `docs/statistics.md` shows the figures of the ignored test in `table`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "simulated counts are small, whole and not negative"
)]

mod coverage;
mod draw;
mod looks;
mod picture;
mod ramp;
mod returning;
mod table;
