//! What a shopper does after the checkout page was shown.

use fastrand::Rng;

use super::{FRIEND_PAY, SCAN_PAY, Visit, truth};
use crate::clock::{HOUR_MS, MINUTE_MS, SECOND_MS};

/// Chance that a visit without any entry ends in an order.
const ORDERS: f64 = 0.12;
/// Chance that a payment fails, and that somebody complains.
const FAILURES: f64 = 0.015;
const COMPLAINTS: f64 = 0.002;
/// Of those who order and see the entry: share that pays through it.
const THROUGH_SCAN: f64 = 0.3;
const THROUGH_FRIEND: f64 = 0.35;
/// Of the others who see it: share that tries it and gives up.
const TRIES_SCAN: f64 = 0.3;
const TRIES_FRIEND: f64 = 0.2;
/// How often something is seen that happens in another app.
const SEEN_ELSEWHERE: f64 = 0.6;

/// The entries that a shopper was shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Whether the scan entry was visible.
    pub scan: bool,
    /// The variant of the friend entry, where it was visible.
    pub friend: Option<&'a str>,
}

/// Something that a shopper does.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// How long after the visit.
    pub after_ms: i64,
    /// The step.
    pub step: &'static str,
    /// The flag whose funnel it is a stop of; `None` for a metric.
    pub flag: Option<&'static str>,
    /// How the order was paid, where it was.
    pub paid_by: Option<&'static str>,
}

/// What comes of a visit. Whether it ends in an order is drawn once, whatever was shown: who would order without an
/// entry orders with one that adds to the chance, too.
#[must_use]
pub fn outcome(visit: &Visit, shown: Shown<'_>) -> Vec<Act> {
    let mut rng = Rng::with_seed(visit.seed);
    let effects = |of: fn(&super::Truth) -> f64| {
        let scan = shown.scan.then(|| truth(SCAN_PAY, "on")).flatten();
        let friend = shown.friend.and_then(|variant| truth(FRIEND_PAY, variant));
        scan.iter().chain(friend.iter()).map(of).sum::<f64>()
    };
    let ordered = rng.f64() < ORDERS + effects(|truth| truth.order_effect);
    let failed = rng.f64() < FAILURES;
    let complained = rng.f64() < COMPLAINTS + effects(|truth| truth.complaint_effect);
    let (through_scan, through_friend) = (rng.f64() < THROUGH_SCAN, rng.f64() < THROUGH_FRIEND);
    let (tries_scan, tries_friend) = (rng.f64() < TRIES_SCAN, rng.f64() < TRIES_FRIEND);
    let mut acts = Vec::new();
    let by_scan = ordered && shown.scan && through_scan;
    let by_friend = ordered && shown.friend.is_some() && through_friend && !by_scan;
    let scan_end = match (shown.scan, by_scan) {
        (true, true) => Some(SCAN_STOPS.len()),
        (true, false) if tries_scan => Some(given_up(&[0.08, 0.80, 0.07], &mut rng)),
        _ => None,
    };
    let friend_end = match (shown.friend.is_some(), by_friend) {
        (true, true) => Some(FRIEND_STOPS.len()),
        (true, false) if tries_friend => Some(given_up(&[0.35, 0.45], &mut rng)),
        _ => None,
    };
    let scanned_ms = walk(SCAN_PAY, &SCAN_STOPS, scan_end, &mut rng, &mut acts);
    let asked_ms = walk(FRIEND_PAY, &FRIEND_STOPS, friend_end, &mut rng, &mut acts);
    if ordered {
        let otherwise_ms = rng.i64(MINUTE_MS..30 * MINUTE_MS);
        let (after_ms, method) = match (by_scan, by_friend) {
            (true, _) => (scanned_ms + SECOND_MS, "wechat"),
            (_, true) => (asked_ms + SECOND_MS, "wechat"),
            _ => (otherwise_ms, *rng.choice(&METHODS).unwrap_or(&"alipay")),
        };
        acts.push(Act { after_ms, step: "order_paid", flag: None, paid_by: Some(method) });
    }
    for (happens, step) in [(failed, "payment_failed"), (complained, "complaint")] {
        if happens {
            let after_ms = rng.i64(MINUTE_MS..2 * HOUR_MS);
            acts.push(Act { after_ms, step, flag: None, paid_by: None });
        }
    }
    acts
}

const METHODS: [&str; 5] = ["alipay", "alipay", "alipay", "huabei", "balance"];

/// A stop of a funnel: its step, how long it takes at most, and whether it happens where it is often not seen.
type Stop = (&'static str, i64, bool);

const SCAN_STOPS: [Stop; 5] = [
    ("entry_clicked", 20 * SECOND_MS, false),
    ("qr_shown", 3 * SECOND_MS, false),
    ("qr_saved", 60 * SECOND_MS, false),
    ("wechat_opened", 40 * SECOND_MS, true),
    ("entry_paid", 3 * MINUTE_MS, false),
];
const FRIEND_STOPS: [Stop; 4] = [
    ("entry_clicked", 20 * SECOND_MS, false),
    ("link_copied", 10 * SECOND_MS, false),
    ("link_shared", 5 * MINUTE_MS, true),
    ("entry_paid", 20 * HOUR_MS, false),
];

/// How many stops somebody makes who gives up: by the shares of those who give up after the first, the second ...
fn given_up(shares: &[f64], rng: &mut Rng) -> usize {
    let mut left = rng.f64();
    for (stops, share) in (1..).zip(shares) {
        left -= share;
        if left < 0.0 {
            return stops;
        }
    }
    shares.len() + 1
}

/// The first `end` stops, one after the other; when the last was made, after the visit.
fn walk(flag: &'static str, stops: &[Stop], end: Option<usize>, rng: &mut Rng, acts: &mut Vec<Act>) -> i64 {
    let mut after_ms = 0;
    for (step, longest_ms, elsewhere) in stops.iter().take(end.unwrap_or(0)) {
        after_ms += rng.i64(SECOND_MS..=*longest_ms);
        if !elsewhere || rng.f64() < SEEN_ELSEWHERE {
            acts.push(Act { after_ms, step, flag: Some(flag), paid_by: None });
        }
    }
    after_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Shoppers, TRUTHS};

    fn visits() -> Vec<Visit> {
        let shoppers = Shoppers::new(11, 0, 0);
        (0..60_000).map(|number| shoppers.passer_by(number, 0)).collect()
    }

    fn share(visits: &[Visit], shown: Shown<'_>, step: &str, flag: Option<&str>) -> f64 {
        let does = |visit: &&Visit| outcome(visit, shown).iter().any(|a| a.step == step && a.flag == flag);
        f64::from(u32::try_from(visits.iter().filter(does).count()).unwrap())
            / f64::from(u32::try_from(visits.len()).unwrap())
    }

    fn shown(truth: &super::super::Truth) -> Shown<'static> {
        Shown { scan: truth.flag == SCAN_PAY, friend: (truth.flag == FRIEND_PAY).then_some(truth.variant) }
    }

    #[test]
    fn what_is_shown_moves_orders_and_complaints_by_the_truth() {
        let visits = visits();
        for truth in TRUTHS {
            for (step, effect) in [("order_paid", truth.order_effect), ("complaint", truth.complaint_effect)]
            {
                let [with, without] =
                    [shown(&truth), Shown::default()].map(|s| share(&visits, s, step, None));
                // The same draws decide both, so that only those between the two thresholds differ.
                assert!((with - without - effect).abs() < 0.003, "{truth:?} {step}: {with} {without}");
            }
        }
    }

    #[test]
    fn the_scan_entry_loses_most_where_the_code_is_saved() {
        let visits = visits();
        let all = Shown { scan: true, friend: None };
        let users = SCAN_STOPS.map(|(step, ..)| share(&visits, all, step, Some(SCAN_PAY)));
        let [clicked, seen, saved, _, paid] = users;
        assert!(saved / seen < 0.5 && seen / clicked > 0.8 && paid / saved > 0.4, "{users:?}");
        assert!(visits.iter().all(|visit| outcome(visit, Shown::default()).iter().all(|a| a.flag.is_none())));
    }

    #[test]
    fn everything_happens_within_the_window() {
        for visit in visits() {
            let all = Shown { scan: true, friend: Some("share_card") };
            for act in outcome(&visit, all) {
                let window = if act.flag == Some(SCAN_PAY) { 24 } else { 72 };
                assert!((0..window * HOUR_MS).contains(&act.after_ms), "{act:?}");
            }
        }
    }
}
