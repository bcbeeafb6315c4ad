//! What the benchmarks decide on.

use std::sync::Arc;

use huidu::engine::compile::StoredFlag;
use huidu::engine::flag::{AudienceKind, Faults, State, read};
use huidu::engine::key::{AudienceKey, EnvironmentKey};
use huidu::engine::membership::{IdHasher, IdSet};
use huidu::engine::snapshot::{Audience, Snapshot};
use serde_json::{Value, json};

/// A context of 300 bytes, with two goods.
pub(crate) const SHOPPER: &str = r#"{"context":{"targetingKey":"user-4711","app_version":"10.9.1","region":"CN-31","goods":[{"id":"g-1","category":"shoes","price":45900},{"id":"g-2","category":"books","price":3900}],"order":{"id":"o-20261124-1","amount":49800,"currency":"CNY"},"device_id":"d-5f2c9a10","vip":true,"channel":"app"}}"#;

fn stored((at, json): (usize, &Value)) -> StoredFlag {
    let mut faults = Faults::default();
    let document = read(json, &mut faults).unwrap();
    assert_eq!(faults.0, []);
    StoredFlag {
        key: document.key.clone(),
        number: i64::try_from(at).unwrap() + 1,
        version: 1,
        state: State::Live,
        stage: Some(1),
        stages: None,
        expired: false,
        updated_at: 0,
        updated_by: "bench".into(),
        document: Ok(Arc::new(document)),
        json: json.to_string().into(),
    }
}

/// `ids` ids named `listed-0` and on.
pub(crate) fn audience(key: &str, kind: AudienceKind, ids: usize, hasher: &IdHasher) -> Audience {
    let hashes = (0..ids).map(|n| hasher.hash(&format!("listed-{n}"))).collect();
    Audience {
        key: AudienceKey::parse(key).unwrap(),
        kind,
        version: 1,
        generation: 1,
        size: i64::try_from(ids).unwrap(),
        ids: Some(Arc::new(IdSet::new(hashes).into())),
        read_through: false,
    }
}

/// A snapshot of `flags`, with some audiences that they may name.
pub(crate) fn snapshot(flags: &[Value]) -> Snapshot {
    let hasher = IdHasher::new([7; 32]);
    let audiences = vec![
        audience("hundred-thousand", AudienceKind::User, 100_000, &hasher),
        audience("wechat-testers", AudienceKind::User, 50, &hasher),
        audience("wechat-excluded-goods", AudienceKind::Goods, 500, &hasher),
    ];
    snapshot_over(audiences, flags)
}

/// A snapshot of `flags` over `audiences`.
pub(crate) fn snapshot_over(audiences: Vec<Audience>, flags: &[Value]) -> Snapshot {
    let environment = EnvironmentKey::parse("production").unwrap();
    Snapshot::empty(environment, 1, IdHasher::new([7; 32])).next(
        1,
        audiences,
        flags.iter().enumerate().map(stored).collect(),
    )
}

/// A switch with these rules.
pub(crate) fn flag(key: &str, rules: &Value) -> Value {
    json!({
        "key": key, "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off",
        "salt": "k7f3v2q6m4x5n2b7c3d6t4w5ay", "rules": rules,
    })
}

/// A rule that opens for a quarter.
pub(crate) fn quarter() -> Value {
    json!({"id": "ramp", "serve": {"rollout": {"percent": 25}}})
}

/// The example flag of scan-code payment.
pub(crate) fn scan_pay() -> Value {
    let mut flag: Value = serde_json::from_str(include_str!("../../examples/wechat-scan-pay.json")).unwrap();
    flag["salt"] = "k7f3v2q6m4x5n2b7c3d6t4w5ay".into();
    flag
}
