//! Which audiences are held in memory: the smallest, as many as the budget has room for. Every instance with the
//! same budget holds the same.

use std::collections::BTreeSet;

use crate::engine::membership::IdSet;
use crate::store::AudienceSize;

/// The audiences that are held in memory, by environment and key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Plan(BTreeSet<(i64, String)>);

impl Plan {
    /// The smallest of `sizes` that together take at most `budget` bytes.
    pub(super) fn new(mut sizes: Vec<AudienceSize>, budget: u64) -> Self {
        sizes.sort_by(|a, b| (a.size, a.environment, &a.key).cmp(&(b.size, b.environment, &b.key)));
        let mut left = budget;
        let fitting = sizes.into_iter().map_while(|row| {
            left = left.checked_sub(IdSet::estimated_bytes(u64::try_from(row.size).unwrap_or_default()))?;
            Some((row.environment, row.key))
        });
        Self(fitting.collect())
    }

    /// Whether that audience is held in memory.
    pub(super) fn holds(&self, environment: i64, key: &str) -> bool {
        self.0.contains(&(environment, key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(budget: u64) -> String {
        let size = |environment, key: &str, size| AudienceSize { environment, key: key.to_owned(), size };
        let sizes = vec![
            size(1, "big", 6_000),
            size(2, "a", 60),
            size(1, "b", 60),
            size(1, "empty", 0),
            size(2, "none", 0),
        ];
        let plan = Plan::new(sizes, budget);
        let all = [(1, "empty"), (2, "none"), (1, "b"), (2, "a"), (1, "big")];
        let held = all.iter().filter(|(environment, key)| plan.holds(*environment, key));
        held.map(|(environment, key)| format!("{environment}{key}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_smallest_are_held_as_far_as_the_budget_reaches() {
        let (small, big) = (IdSet::estimated_bytes(60), IdSet::estimated_bytes(6_000));
        assert_eq!(held(0), "1empty 2none", "what is empty takes nothing");
        assert_eq!(held(small - 1), "1empty 2none");
        assert_eq!(held(small), "1empty 2none 1b");
        assert_eq!(held(2 * small + big - 1), "1empty 2none 1b 2a");
        assert_eq!(held(2 * small + big), "1empty 2none 1b 2a 1big");
    }
}
