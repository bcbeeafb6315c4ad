//! Who comes, when, and with what in the basket.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;

use crate::clock::{DAY_MS, HOUR_MS};

/// Least time between two visits of a shopper: longer than any attribution window of the examples, so that what one
/// visit does is never counted for another and the true effect of a visit is that of a unit.
const PAUSE_MS: i64 = 3 * DAY_MS + HOUR_MS;
/// What a shopper lets pass on average beyond that.
const FURTHER_PAUSE_MS: f64 = 3.0 * 86_400_000.0;

const REGIONS: [(&str, f64); 6] =
    [("CN-31", 0.25), ("CN-33", 0.2), ("CN-44", 0.25), ("CN-11", 0.15), ("CN-51", 0.12), ("HK", 0.03)];
const VERSIONS: [(&str, f64); 3] = [("10.9.1", 0.7), ("10.10.0", 0.22), ("10.8.2", 0.08)];
const CATEGORIES: [(&str, f64); 5] =
    [("shoes", 0.35), ("clothing", 0.3), ("books", 0.15), ("home", 0.1), ("phone", 0.1)];

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Shopper {
    /// The user id.
    pub id: String,
    /// The region, such as `CN-31`.
    pub region: &'static str,
    /// The version of the app.
    pub app_version: &'static str,
}

/// A shopper at the checkout.
#[derive(Debug, Clone, PartialEq)]
pub struct Visit {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who.
    pub shopper: Shopper,
    /// The only item: its id.
    pub goods_id: String,
    /// Its category.
    pub category: &'static str,
    /// Its price in the minor unit.
    pub price: i64,
    /// The order's id; unique.
    pub order_id: String,
    /// What the outcome is drawn from.
    pub seed: u64,
}

/// Everyone, in the order of their visits.
#[derive(Debug)]
pub struct Shoppers {
    seed: u64,
    /// Next visit: when, whose, the how many-th.
    next: BinaryHeap<Reverse<(i64, u64, u64)>>,
}

impl Shoppers {
    /// `number` of them, of whom each comes first within the first days after `from_ms`, then again and again.
    #[must_use]
    pub fn new(seed: u64, number: u64, from_ms: i64) -> Self {
        let first = |shopper: u64| {
            let first = Rng::with_seed(mixed(seed, shopper, u64::MAX)).i64(0..2 * PAUSE_MS);
            Reverse((from_ms + first, shopper, 0))
        };
        Self { seed, next: (0..number).map(first).collect() }
    }

    /// How many shoppers make about `visits` visits within `days` days.
    #[must_use]
    pub fn number_for(visits: f64, days: f64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "days in milliseconds are far below 2^52")]
        let between = PAUSE_MS as f64 + FURTHER_PAUSE_MS;
        let each = (days * 86_400_000.0 / between).max(0.2);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 1 and 10 million"
        )]
        let number = (visits / each).clamp(1.0, 10_000_000.0) as u64;
        number
    }

    /// The next visit before `end_ms`, if there is one.
    pub fn next_before(&mut self, end_ms: i64) -> Option<Visit> {
        let Reverse((at_ms, shopper, times)) = *self.next.peek()?;
        if at_ms >= end_ms {
            return None;
        }
        self.next.pop();
        let seed = mixed(self.seed, shopper, times);
        let mut rng = Rng::with_seed(seed);
        let further = -FURTHER_PAUSE_MS * (1.0 - rng.f64()).ln();
        #[expect(clippy::cast_possible_truncation, reason = "a few days in milliseconds")]
        let again = at_ms + PAUSE_MS + further as i64;
        self.next.push(Reverse((again, shopper, times + 1)));
        Some(visit(at_ms, self.shopper(shopper), &format!("o-{shopper}-{times}"), &mut rng))
    }

    /// A visit of somebody who comes once only, at `at_ms`.
    #[must_use]
    pub fn passer_by(&self, number: u64, at_ms: i64) -> Visit {
        let mut rng = Rng::with_seed(mixed(self.seed, number, u64::MAX - 1));
        let shopper = Shopper { id: format!("p-{number}"), ..self.shopper(number) };
        visit(at_ms, shopper, &format!("o-p-{number}"), &mut rng)
    }

    fn shopper(&self, number: u64) -> Shopper {
        let mut rng = Rng::with_seed(mixed(self.seed, number, u64::MAX - 2));
        let (region, app_version) = (drawn(&REGIONS, &mut rng), drawn(&VERSIONS, &mut rng));
        Shopper { id: format!("u-{number}"), region, app_version }
    }
}

fn visit(at_ms: i64, shopper: Shopper, order_id: &str, rng: &mut Rng) -> Visit {
    let category = drawn(&CATEGORIES, rng);
    // A few dear things among many cheap ones.
    #[expect(clippy::cast_possible_truncation, reason = "at most 400,000")]
    let price = (2_000.0 / (1.0 - 0.995 * rng.f64())) as i64;
    Visit {
        at_ms,
        shopper,
        goods_id: format!("g-{}", rng.u32(0..2_000)),
        category,
        price,
        order_id: order_id.to_owned(),
        seed: rng.u64(..),
    }
}

/// One of a list of shares that add up to 1.
fn drawn(shares: &[(&'static str, f64)], rng: &mut Rng) -> &'static str {
    let mut left = rng.f64();
    for (name, share) in shares {
        left -= share;
        if left < 0.0 {
            return name;
        }
    }
    shares.last().map_or("", |(name, _)| name)
}

/// A seed of its own for each pair (constants and steps of `SplitMix64`: Steele, Lea, Flood, OOPSLA 2014).
fn mixed(seed: u64, a: u64, b: u64) -> u64 {
    let mut mixed = seed;
    for word in [a, b] {
        mixed = mixed.wrapping_add(word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
    }
    mixed
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn all(seed: u64, number: u64, days: i64) -> Vec<Visit> {
        let mut shoppers = Shoppers::new(seed, number, 1_000);
        std::iter::from_fn(|| shoppers.next_before(1_000 + days * DAY_MS)).collect()
    }

    #[test]
    fn a_seed_gives_the_same_shoppers_in_the_order_of_time() {
        let visits = all(7, 500, 14);
        assert_eq!(visits, all(7, 500, 14));
        assert_ne!(visits, all(8, 500, 14));
        assert!(visits.is_sorted_by_key(|visit| visit.at_ms));
        let orders: BTreeSet<_> = visits.iter().map(|visit| &visit.order_id).collect();
        assert_eq!(orders.len(), visits.len());
    }

    #[test]
    fn no_visit_falls_into_the_window_of_another() {
        let mut last = BTreeMap::new();
        for visit in all(7, 500, 30) {
            let before = last.insert(visit.shopper.id.clone(), visit.at_ms);
            assert!(before.is_none_or(|before| visit.at_ms - before >= 72 * HOUR_MS));
        }
    }

    #[test]
    fn as_many_visits_come_as_were_asked_for() {
        let number = Shoppers::number_for(10_000.0, 14.0);
        let visits = all(3, number, 14).len();
        assert!((8_000..12_000).contains(&visits), "{visits}");
    }
}
