use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn row(id: &str, version: i64, member: bool) -> DeltaRow {
    DeltaRow { id: id.to_owned(), version, member }
}

#[test]
fn a_block_begins_and_ends_with_a_line_feed() {
    assert_eq!(NewBlock::new(&[]), None);
    let block = NewBlock::new(&["a", "灰"]).unwrap();
    assert_eq!((block.first.as_str(), block.size, block.ids.as_str()), ("a", 2, "\na\n灰\n"));
}

#[test]
fn deltas_stand_over_what_is_stored_as_far_as_both_reach() {
    let stored = || ["b", "d", "f"].map(str::to_owned).to_vec();
    let deltas = || vec![row("a", 2, true), row("d", 3, false), row("f", 3, true), row("g", 2, true)];
    for (to, expected) in
        [(None, vec!["a", "b", "f", "g"]), (Some("d"), vec!["a", "b"]), (Some("e"), vec!["a", "b"])]
    {
        let mut page = Vec::new();
        merge(stored(), deltas(), to, &mut page);
        assert_eq!(page, expected, "{to:?}");
    }
}

proptest! {
    /// Any history of turned ids, played back to any version by the rows alone.
    #[test]
    fn the_way_back_leads_to_what_was(
        base in prop::collection::btree_set(0..6_u8, 0..6),
        turns in prop::collection::vec((0..6_u8, any::<bool>()), 0..24),
        to in 1..24_i64,
    ) {
        let mut now = base.clone();
        let mut rows: BTreeMap<(u8, i64), bool> = BTreeMap::new();
        let mut states: Vec<BTreeSet<u8>> = vec![base.clone()];
        for (at, (id, member)) in turns.iter().enumerate() {
            let version = at as i64 + 2;
            if now.contains(id) != *member {
                rows.insert((*id, version), *member);
            }
            if *member { now.insert(*id); } else { now.remove(id); }
            states.push(now.clone());
        }
        let to = to.min(states.len() as i64);
        let rows: Vec<DeltaRow> =
            rows.into_iter().map(|((id, version), member)| row(&id.to_string(), version, member)).collect();
        let touched: Vec<DeltaRow> = rows
            .iter()
            .filter(|r| rows.iter().any(|other| other.id == r.id && other.version > to))
            .cloned()
            .collect();
        for (id, member) in way_back(&touched, to) {
            let id: u8 = id.parse().unwrap();
            prop_assert_ne!(now.contains(&id), member, "only what differs is turned");
            if member { now.insert(id); } else { now.remove(&id); }
        }
        prop_assert_eq!(&now, &states[usize::try_from(to - 1).unwrap()]);
    }
}
