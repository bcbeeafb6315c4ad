//! Simulated shoppers with known true effects: what `huidu demo` drives through a service, and what a report of it must find.
//!
//! Pure: the same seed gives the same shoppers, whatever the service answers and however fast it is driven.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod outcome;
mod shoppers;

pub use outcome::{Act, Shown, outcome};
pub use shoppers::{Shopper, Shoppers, Visit};

/// The entry that shows a QR code.
pub const SCAN_PAY: &str = "wechat-scan-pay";
/// The entry that copies a link for a friend.
pub const FRIEND_PAY: &str = "wechat-friend-pay";

/// What an entry truly does to those who see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// The flag.
    pub flag: &'static str,
    /// The variant that is served.
    pub variant: &'static str,
    /// What it adds to the chance that a visit ends in an order: 0.03 is 3 points.
    pub order_effect: f64,
    /// What it adds to the chance of a complaint.
    pub complaint_effect: f64,
}

/// The whole truth. The scan entry neither gains nor loses orders: too many give up where they must save the code, and
/// some complain. Asking a friend gains orders, with a card more than with a bare link.
pub const TRUTHS: [Truth; 3] = [
    Truth { flag: SCAN_PAY, variant: "on", order_effect: 0.0, complaint_effect: 0.004 },
    Truth { flag: FRIEND_PAY, variant: "copy_link", order_effect: 0.03, complaint_effect: 0.0 },
    Truth { flag: FRIEND_PAY, variant: "share_card", order_effect: 0.045, complaint_effect: 0.0 },
];

/// The percentages that both entries go through, a quarter of the days each.
pub const RAMP_PERCENT: [u32; 4] = [5, 15, 30, 50];
/// The control group of both entries in percent.
pub const CONTROL_PERCENT: u32 = 25;

/// The truth about a variant of a flag; `None` for what is not in the simulation.
#[must_use]
pub fn truth(flag: &str, variant: &str) -> Option<Truth> {
    TRUTHS.into_iter().find(|truth| truth.flag == flag && truth.variant == variant)
}
