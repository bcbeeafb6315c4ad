//! Stages: periods in which a flag's way of deciding did not change.

use serde_json::{Value, json};

use crate::engine::flag::{Document, Serve, State};

/// A flag's stage as it stands before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The open stage, as stored.
    pub open: Option<i64>,
    /// How many there were.
    pub count: i64,
}

/// What a change does to the stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The stage that ends, and when.
    pub close: Option<(i64, i64)>,
    /// The stage that begins.
    pub open: Option<i64>,
    /// How it stands afterwards.
    pub after: Standing,
}

/// A flag as far as its stage depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Form<'d> {
    /// Its document.
    pub document: &'d Document,
    /// Its state.
    pub state: State,
}

impl Form<'_> {
    /// Whether it decides by its rules at `now_ms`.
    fn is_open(&self, now_ms: i64) -> bool {
        self.state == State::Live && !self.expired(now_ms)
    }

    fn expired(&self, now_ms: i64) -> bool {
        self.document.expire_at.is_some_and(|at| at <= now_ms)
    }
}

/// What the change from `old` to `new` at `now_ms` does. A stage begins when the way of deciding differs, at
/// restore, and when an end that had passed moves later; kill, archive and expiry end one.
#[must_use]
pub fn moved(standing: Standing, old: Option<Form<'_>>, new: Form<'_>, now_ms: i64) -> Move {
    let was_open = standing.open.is_some() && old.is_some_and(|old| old.is_open(now_ms));
    let same = old.is_some_and(|old| old.document.decides_like(new.document));
    let opens = new.is_open(now_ms);
    if opens && was_open && same {
        return Move { close: None, open: None, after: standing };
    }
    // A stage that expiry shut ended then, not now.
    let ended =
        old.filter(|old| old.expired(now_ms)).and_then(|old| old.document.expire_at).unwrap_or(now_ms);
    let close = standing.open.map(|stage| (stage, ended));
    let open = opens.then_some(standing.count + 1);
    Move { close, open, after: Standing { open, count: open.unwrap_or(standing.count) } }
}

/// What is stored with a stage: how each rule serves, and where.
#[must_use]
pub fn deciding(document: &Document) -> Value {
    let rules = document.rules.iter().map(|rule| match &rule.serve {
            Serve::Variant(variant) => json!({"rule": rule.id, "variant": variant}),
            Serve::Rollout(rollout) => json!({
                "rule": rule.id,
                "percent": rollout.percent.percent(),
                "control": rollout.control.percent(),
                "split": rollout.split.iter().map(|(key, weight)| (key.as_str().to_owned(), json!(weight))).collect::<serde_json::Map<_, _>>(),
            }),
    });
    json!({
        "off_variant": document.off_variant,
        "unit": document.unit.to_string(),
        "goods_rollout_percent": document.goods.as_ref().map(|goods| goods.rollout.percent()),
        "rules": rules.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::flag::{Faults, read};

    const NOW: i64 = 1_000_000;

    fn document(percent: u32, expire_ms: Option<i64>) -> Document {
        let expire = expire_ms.map_or(json!({}), |ms| json!({"expire_at": crate::clock::rfc3339(ms)}));
        let mut value = json!({
            "key": "f", "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off", "salt": "s",
            "rules": [{"id": "ramp", "serve": {"rollout": {"percent": percent}}}],
        });
        value.as_object_mut().unwrap().extend(expire.as_object().unwrap().clone());
        read(&value, &mut Faults::default()).unwrap()
    }

    fn check(
        standing: (Option<i64>, i64),
        old: Option<(&Document, State)>,
        new: (&Document, State),
        expected: (Option<(i64, i64)>, Option<i64>),
    ) {
        let standing = Standing { open: standing.0, count: standing.1 };
        let form = |(document, state)| Form { document, state };
        let moved = moved(standing, old.map(form), form(new), NOW);
        assert_eq!((moved.close, moved.open), expected);
        assert_eq!(moved.after.open, if expected == (None, None) { standing.open } else { expected.1 });
    }

    #[test]
    fn what_begins_and_what_ends_a_stage() {
        use State::{Archived, Killed, Live};
        let (five, ten) = (document(5, None), document(10, None));
        let (past, future) = (document(5, Some(NOW - 10)), document(5, Some(NOW + 10)));
        check((None, 0), None, (&five, Live), (None, Some(1)));
        check((Some(1), 1), Some((&five, Live)), (&five, Live), (None, None));
        check((Some(1), 1), Some((&five, Live)), (&ten, Live), (Some((1, NOW)), Some(2)));
        check((Some(1), 1), Some((&five, Live)), (&five, Killed), (Some((1, NOW)), None));
        check((None, 1), Some((&five, Killed)), (&ten, Killed), (None, None));
        check((None, 1), Some((&five, Killed)), (&five, Live), (None, Some(2)));
        check((None, 1), Some((&five, Archived)), (&five, Killed), (None, None));
        check((Some(1), 1), Some((&five, Live)), (&future, Live), (None, None));
        check((Some(1), 1), Some((&past, Live)), (&past, Live), (Some((1, NOW - 10)), None));
        check((Some(1), 1), Some((&past, Live)), (&future, Live), (Some((1, NOW - 10)), Some(2)));
        check((None, 1), Some((&past, Live)), (&future, Live), (None, Some(2)));
        check((Some(1), 1), Some((&five, Live)), (&past, Live), (Some((1, NOW)), None));
    }
}
