//! Conditions that flags have in common: in an answer about many flags each is evaluated once. A shop's flags mostly ask
//! for the same testers, the same versions, the same regions.

use std::cell::Cell;
use std::hash::{Hash as _, Hasher};

use super::attributes::Slot;
use super::condition::Truth;
use super::flag::Condition;

/// Places of a memo; a condition that comes to a taken one takes it over.
const PLACES: usize = 32;

/// What a condition of the request is, whichever flag it stands in. Equal ones have the same; nobody can find two others that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u128);

impl Fingerprint {
    /// That of `condition` in a flag whose unit is read from `unit`.
    pub(super) fn of(unit: Slot, condition: &Condition) -> Self {
        let mut hasher = Blake3(blake3::Hasher::new());
        (unit, condition).hash(&mut hasher);
        Self(hasher.first())
    }
}

struct Blake3(blake3::Hasher);

impl Blake3 {
    fn first(&self) -> u128 {
        let mut first = [0; 16];
        self.0.finalize_xof().fill(&mut first);
        u128::from_le_bytes(first)
    }
}

impl Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    #[expect(clippy::cast_possible_truncation, reason = "a hash may be cut")]
    fn finish(&self) -> u64 {
        self.first() as u64
    }
}

/// What is known of conditions for one context, snapshot and set of memberships. Beyond them it says nothing.
#[derive(Debug)]
pub struct Memo([Cell<Option<(Fingerprint, Truth)>>; PLACES]);

impl Default for Memo {
    fn default() -> Self {
        Self([const { Cell::new(None) }; PLACES])
    }
}

impl Memo {
    #[inline]
    fn place(&self, fingerprint: Fingerprint) -> Option<&Cell<Option<(Fingerprint, Truth)>>> {
        self.0.get((fingerprint.0 % PLACES as u128) as usize)
    }

    /// The truth of the condition, if it is known.
    #[inline]
    pub(super) fn known(&self, fingerprint: Fingerprint) -> Option<Truth> {
        let (of, truth) = self.place(fingerprint)?.get()?;
        (of == fingerprint).then_some(truth)
    }

    /// Keeps the truth of the condition.
    #[inline]
    pub(super) fn keep(&self, fingerprint: Fingerprint, truth: Truth) {
        if let Some(place) = self.place(fingerprint) {
            place.set(Some((fingerprint, truth)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::condition::Cause;
    use crate::engine::fixture::{document, flag_json};

    fn fingerprint(unit: Slot, condition: &serde_json::Value) -> Fingerprint {
        let rules = json!([{"id": "r", "when": condition, "serve": {"variant": "on"}}]);
        Fingerprint::of(unit, &document(&flag_json(&json!({ "rules": rules }))).rules[0].when)
    }

    #[test]
    fn only_equal_conditions_look_alike() {
        let attribute = |name: &str, op: &str, value: serde_json::Value| json!({"attribute": name, "op": op, "value": value});
        let all = [
            json!({"all_of": []}),
            json!({"any_of": []}),
            json!({"not": {"all_of": []}}),
            json!({"all_of": [{"all_of": []}]}),
            json!({"all_of": [{"all_of": []}, {"all_of": []}]}),
            json!({"audience": "a"}),
            json!({"audience": "b"}),
            json!({"audience": "a", "attribute": "user.a"}),
            attribute("user.a", "eq", json!("1")),
            attribute("user.a", "eq", json!(1)),
            attribute("user.a", "eq", json!(true)),
            attribute("user.a", "ne", json!("1")),
            attribute("user.b", "eq", json!("1")),
            attribute("order.a", "eq", json!("1")),
            attribute("user.a", "in", json!(["1"])),
            attribute("user.a", "in", json!(["1", "2"])),
            attribute("user.a", "in", json!(["12"])),
            attribute("user.a", "not_in", json!(["1", "2"])),
            attribute("user.a", "contains", json!("1")),
            attribute("user.a", "starts_with", json!("1")),
            attribute("user.a", "ends_with", json!("1")),
            attribute("user.a", "matches", json!("1")),
            attribute("user.a", "lt", json!(1)),
            attribute("user.a", "lte", json!(1)),
            attribute("user.a", "lt", json!(1.5)),
            attribute("user.a", "semver_lt", json!("1.0.0")),
            attribute("user.a", "semver_lt", json!("1.0.0-a")),
            attribute("user.a", "semver_gt", json!("1.0.0")),
            attribute("user.a", "before", json!("2026-01-01T00:00:00Z")),
            attribute("user.a", "after", json!("2026-01-01T00:00:00Z")),
            attribute("user.a", "exists", json!(true)),
            attribute("user.a", "exists", json!(false)),
        ];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                let same = fingerprint(Slot::USER_ID, one) == fingerprint(Slot::USER_ID, other);
                assert_eq!(same, at == other_at, "{one} {other}");
            }
            assert_ne!(fingerprint(Slot::USER_ID, one), fingerprint(Slot::ORDER_ID, one), "of another unit");
        }
    }

    #[test]
    fn what_took_the_place_of_another_is_not_taken_for_it() {
        let memo = Memo::default();
        let (one, other) = (Fingerprint(5), Fingerprint(5 + (PLACES as u128) * 7));
        assert_eq!(memo.known(one), None);
        memo.keep(one, Truth::True);
        assert_eq!((memo.known(one), memo.known(other)), (Some(Truth::True), None));
        memo.keep(other, Truth::Unknown(Cause::Missing));
        assert_eq!((memo.known(one), memo.known(other)), (None, Some(Truth::Unknown(Cause::Missing))));
    }
}
