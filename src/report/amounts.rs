//! Single amounts: what each unit spent, which a cap needs. Sums cannot be capped afterwards, so beside an hour's sums
//! its units' amounts are kept, one number for each that spent something, and two for each that is in two strata.

use serde::{Deserialize, Serialize};

use super::fact::{Earlier, Fact, Key};
use super::hour::PairKey;
use super::plan::Plan;
use super::sorted::Sorted;

/// Of which metric and currency, and of whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Of<K> {
    /// The metric's place in the plan.
    pub metric: usize,
    /// The currency.
    pub currency: Box<str>,
    /// A stratum and arm, or two strata of one.
    pub key: K,
}

/// What a unit spent that is in two strata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairAmount {
    /// When the earlier of both exposures was.
    pub at: i64,
    /// In the lower stage.
    pub lower: u64,
    /// In the higher one.
    pub higher: u64,
}

/// Amounts of the exposures of an hour whose windows have closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Of each unit that spent something.
    pub single: Sorted<Of<Key>, Vec<u64>>,
    /// Of each unit in two strata that did in one of them.
    pub pairs: Sorted<Of<PairKey>, Vec<PairAmount>>,
}

impl Amounts {
    /// Takes an exposure in.
    pub fn add(&mut self, plan: &Plan, fact: &Fact) {
        for (metric, outcome) in fact.metrics.iter().enumerate() {
            if plan.metrics.get(metric).is_none_or(|own| own.window >= fact.level) {
                continue;
            }
            for (currency, worth) in outcome.values.iter().filter(|(_, worth)| worth.sum > 0) {
                let of = Of { metric, currency: currency.clone(), key: fact.key.clone() };
                self.single.entry(&of).push(worth.sum);
            }
            fact.earlier.iter().for_each(|earlier| self.add_pair(fact, earlier, metric));
        }
    }

    fn add_pair(&mut self, fact: &Fact, earlier: &Earlier, metric: usize) {
        let (Some(now), Some(before)) = (fact.metrics.get(metric), earlier.metrics.get(metric)) else {
            return;
        };
        let of_before = before.values.iter().filter(|(own, _)| now.in_currency(own).is_none());
        for (currency, _) in now.values.iter().chain(of_before) {
            let [now, before] =
                [now, before].map(|outcome| outcome.in_currency(currency).map_or(0, |worth| worth.sum));
            // As the sums of both are kept: by stage, not by time.
            let (lower, higher) = if earlier.stage < fact.key.stage { (before, now) } else { (now, before) };
            if lower > 0 || higher > 0 {
                let of = Of { metric, currency: currency.clone(), key: PairKey::of(fact, earlier) };
                self.pairs.entry(&of).push(PairAmount { at: earlier.at, lower, higher });
            }
        }
    }
}
