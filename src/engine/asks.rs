//! What decisions ask of audiences that are not in memory: found out before they are made, so that the evaluator
//! is handed what it needs and stays pure.

use super::compile::CompiledFlag;
use super::condition::Subject;
use super::context::{Context, Item, Operand};
use super::index::AudienceIndex;
use super::membership::{Membership, Memberships};
use super::snapshot::Snapshot;

/// An audience, and whose membership a condition asks it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    pub(super) audience: AudienceIndex,
    pub(super) subject: Subject,
}

/// The memberships that decisions need to be handed: audience and id, each once after [`Wanted::sorted`].
#[derive(Debug, Default)]
pub struct Wanted(Vec<(AudienceIndex, String)>);

impl Wanted {
    /// Adds what `flag` and its prerequisites may ask of audiences that are not in memory, for `context`.
    pub fn add(&mut self, snapshot: &Snapshot, flag: &CompiledFlag, context: &Context<'_>) {
        for ask in snapshot.asks(flag.index) {
            let mut want = |id: Option<&str>| {
                if let Some(id) = id {
                    self.0.push((ask.audience, id.to_owned()));
                }
            };
            let goods = || context.goods().unwrap_or_default().iter();
            match ask.subject {
                Subject::Unit(slot) => want(context.unit(slot)),
                Subject::Attribute(slot) => want(text(context.attribute(slot))),
                Subject::Item => goods().for_each(|item| want(Some(item.id()))),
                Subject::ItemAttribute(slot) => {
                    goods().for_each(|item: &Item<'_>| want(text(item.attribute(slot))));
                }
            }
        }
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wanted, once each, by audience.
    #[must_use]
    pub fn sorted(mut self) -> Vec<(AudienceIndex, String)> {
        self.0.sort_unstable();
        self.0.dedup();
        self.0
    }
}

fn text(operand: Option<Operand<'_>>) -> Option<&str> {
    match operand {
        Some(Operand::Text(text)) => Some(text),
        _ => None,
    }
}

/// Memberships that were fetched. What is not among them is unreadable.
#[derive(Debug, Default)]
pub struct Fetched(Vec<(AudienceIndex, String, Membership)>);

impl Fetched {
    /// What was fetched, in any order.
    #[must_use]
    pub fn new(mut fetched: Vec<(AudienceIndex, String, Membership)>) -> Self {
        fetched.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Self(fetched)
    }
}

impl Memberships for Fetched {
    fn of(&self, audience: AudienceIndex, id: &str) -> Membership {
        let at = self.0.binary_search_by(|(known, text, _)| (*known, &**text).cmp(&(audience, id)));
        at.ok().and_then(|at| self.0.get(at)).map_or(Membership::Unreadable, |(_, _, membership)| *membership)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::evaluate::evaluate;
    use crate::engine::explain::Silent;
    use crate::engine::fixture::{audience, flag_json, line, snapshot, stored, with_context};
    use crate::engine::flag::AudienceKind;
    use crate::engine::snapshot::Audience;

    fn away(key: &str, kind: AudienceKind) -> Audience {
        Audience { read_through: true, ..audience(key, kind, None) }
    }

    /// A flag that asks four audiences, two of them in memory or damaged, and requires one that asks a fifth.
    fn shop() -> Snapshot {
        let rules = |key: &str| json!([{"id": "r", "when": {"audience": key}, "serve": {"variant": "on"}}]);
        let mut required =
            stored(&flag_json(&json!({"key": "required", "rules": rules("devices"), "unit": "user.device"})));
        required.number = 2;
        let asking = flag_json(&json!({
            "key": "asking", "prerequisites": [{"flag": "required", "variants": ["off"]}],
            "goods": {
                "match": "any", "exclude": [{"audience": "goods"}],
                "include": [{"audience": "merchants", "attribute": "goods.merchant"}],
            },
            "rules": [
                {"id": "a", "when": {"any_of": [{"audience": "near"}, {"audience": "users"}]}, "serve": {"variant": "on"}},
                {"id": "b", "when": {"not": {"audience": "damaged"}}, "serve": {"variant": "on"}},
            ],
        }));
        let audiences = vec![
            away("users", AudienceKind::User),
            away("goods", AudienceKind::Goods),
            away("merchants", AudienceKind::Other),
            away("devices", AudienceKind::Other),
            audience("near", AudienceKind::User, Some(&["u-1"])),
            audience("damaged", AudienceKind::User, None),
        ];
        snapshot(audiences, vec![required, stored(&asking), stored(&flag_json(&json!({"key": "plain"})))])
    }

    fn wanted(snapshot: &Snapshot, flag: &str, context: &serde_json::Value) -> Vec<(String, String)> {
        with_context(snapshot, context, |parsed| {
            let mut wanted = Wanted::default();
            wanted.add(snapshot, snapshot.find(flag).unwrap(), &parsed.context);
            let named = |index| snapshot.audience(index).unwrap().key.to_string();
            wanted.sorted().into_iter().map(|(index, id)| (named(index), id)).collect()
        })
    }

    #[test]
    fn only_what_a_flag_and_its_prerequisites_may_ask_is_wanted() {
        let shop = shop();
        assert!(shop.reads_through());
        let context = json!({
            "targetingKey": "u-1", "device": "d-1",
            "goods": [{"id": "g-1", "merchant": "m"}, {"id": "g-2", "merchant": "m"}, {"id": "g-3", "merchant": 7}],
        });
        let expected = [
            ("users", "u-1"),
            ("goods", "g-1"),
            ("goods", "g-2"),
            ("goods", "g-3"),
            ("merchants", "m"),
            ("devices", "d-1"),
        ];
        let expected = expected.map(|(audience, id)| (audience.to_owned(), id.to_owned()));
        assert_eq!(wanted(&shop, "asking", &context), expected);
        assert_eq!(wanted(&shop, "required", &context), expected[5..]);
        assert!(wanted(&shop, "plain", &context).is_empty());
        assert_eq!(wanted(&shop, "asking", &json!({"targetingKey": "u-1"})), expected[..1]);
    }

    #[test]
    fn a_change_of_audiences_or_flags_changes_what_is_asked() {
        let shop = shop();
        let near = ["users", "goods", "merchants", "devices"]
            .map(|key| audience(key, AudienceKind::User, Some(&[])));
        let next = shop.next(2, near.to_vec(), Vec::new());
        assert!(!next.reads_through());
        let back = next.next(3, vec![away("devices", AudienceKind::Other)], Vec::new());
        assert!(back.reads_through());
        let context = json!({"targetingKey": "u-1", "device": "d-1"});
        assert_eq!(wanted(&back, "asking", &context).len(), 1);
        let mut plain = stored(&flag_json(&json!({"key": "required"})));
        plain.number = 2;
        assert!(!back.next(4, Vec::new(), vec![plain]).reads_through());
        let of_users = |key: &str| audience(key, AudienceKind::User, Some(&["u-9"]));
        assert!(!back.next(5, vec![of_users("devices")], Vec::new()).reads_through());
    }

    #[test]
    fn what_was_not_fetched_is_unreadable_and_what_was_decides() {
        let rules = json!([{"id": "r", "when": {"audience": "users"}, "serve": {"variant": "on"}}]);
        let snapshot = snapshot(
            vec![away("users", AudienceKind::User)],
            vec![stored(&flag_json(&json!({ "rules": rules })))],
        );
        let users = snapshot.audience_index("users").unwrap();
        let fetched = Fetched::new(vec![
            (users, "u-3".to_owned(), Membership::Unreadable),
            (users, "u-2".to_owned(), Membership::Stranger),
            (users, "u-1".to_owned(), Membership::Member),
        ]);
        for (unit, expected) in [
            ("u-1", "on TARGETING_MATCH r fixed"),
            ("u-2", "off DEFAULT"),
            ("u-3", "ERROR audience_unavailable"),
            ("u-4", "ERROR audience_unavailable"),
        ] {
            with_context(&snapshot, &json!({"targetingKey": unit}), |parsed| {
                let decision =
                    evaluate(&snapshot, &snapshot.flags()[0], &parsed.context, &fetched, &mut Silent);
                assert_eq!(line(&decision), expected, "{unit}");
            });
        }
    }
}
