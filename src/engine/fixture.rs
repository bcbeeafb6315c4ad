//! What the tests of the engine share: documents, snapshots and contexts from JSON.

use std::sync::Arc;

use serde_json::{Value, json};

use super::compile::StoredFlag;
use super::context::{Parsed, parse_ofrep};
use super::decision::Decision;
use super::evaluate::evaluate;
use super::explain::Silent;
use super::flag::{AudienceKind, Document, Faults, State, read};
use super::key::{AudienceKey, EnvironmentKey, FlagKey};
use super::membership::{IdHasher, IdSet, NothingFetched};
use super::snapshot::{Audience, Snapshot};

/// A document of which nothing is wrong.
pub(super) fn document(json: &Value) -> Document {
    let mut faults = Faults::default();
    let document = read(json, &mut faults);
    assert_eq!(faults.0, [], "{json}");
    document.unwrap()
}

/// A boolean flag with a salt, and with `fields` over it.
pub(crate) fn flag_json(fields: &Value) -> Value {
    let mut flag = json!({
        "key": "flag", "value_type": "boolean", "variants": {"on": true, "off": false},
        "off_variant": "off", "salt": "salt",
    });
    for (field, value) in fields.as_object().unwrap() {
        flag[field] = value.clone();
    }
    flag
}

/// As loading hands over a live flag.
pub(crate) fn stored(json: &Value) -> StoredFlag {
    StoredFlag {
        key: FlagKey::parse(json["key"].as_str().unwrap()).unwrap(),
        number: 1,
        version: 1,
        state: State::Live,
        stage: Some(1),
        stages: None,
        expired: false,
        updated_at: 0,
        updated_by: "somebody".into(),
        document: Ok(Arc::new(document(json))),
        json: json.to_string().into(),
    }
}

pub(super) fn hasher() -> IdHasher {
    IdHasher::new([3; 32])
}

/// An audience in memory; `None`: one that cannot be read.
pub(crate) fn audience(key: &str, kind: AudienceKind, ids: Option<&[&str]>) -> Audience {
    let set = |ids: &[&str]| Arc::new(IdSet::new(ids.iter().map(|id| hasher().hash(id)).collect()).into());
    Audience {
        key: AudienceKey::parse(key).unwrap(),
        kind,
        version: 1,
        generation: 1,
        size: ids.map_or(0, |ids| i64::try_from(ids.len()).unwrap()),
        ids: ids.map(set),
        read_through: false,
    }
}

pub(crate) fn snapshot(audiences: Vec<Audience>, flags: Vec<StoredFlag>) -> Snapshot {
    Snapshot::empty(EnvironmentKey::parse("production").unwrap(), 1, hasher()).next(1, audiences, flags)
}

/// The snapshot of flags without audiences.
pub(super) fn of_flags(flags: &[Value]) -> Snapshot {
    snapshot(Vec::new(), flags.iter().map(stored).collect())
}

/// Parses the context of an OFREP body.
pub(super) fn with_context<R>(snapshot: &Snapshot, context: &Value, run: impl FnOnce(&Parsed<'_>) -> R) -> R {
    let body = json!({ "context": context }).to_string();
    run(&parse_ofrep(body.as_bytes(), snapshot.attributes()).unwrap())
}

/// What `flag` decides for an OFREP context, in one line: variant, reason, rule, arm; or the error's code.
pub(super) fn decided(snapshot: &Snapshot, flag: &str, context: &Value) -> String {
    with_context(snapshot, context, |parsed| {
        let flag = snapshot.find(flag).unwrap();
        line(&evaluate(snapshot, flag, &parsed.context, &NothingFetched, &mut Silent))
    })
}

/// A decision in one line.
pub(super) fn line(decision: &Decision<'_>) -> String {
    match decision.result {
        Err(error) => format!("ERROR {}", error.code()),
        Ok(served) => {
            let mut words =
                vec![decision.variant().map_or("?", |variant| variant.key.as_str()), served.reason.as_str()];
            words.extend(decision.rule().map(|rule| rule.id.as_str()));
            words.extend(served.arm.map(super::decision::Arm::as_str));
            words.join(" ")
        }
    }
}
