//! What one decision costs, and the parsing before it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up may panic"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use huidu::engine::compile::StoredFlag;
use huidu::engine::context::{Context, parse_ofrep};
use huidu::engine::evaluate::evaluate;
use huidu::engine::explain::Silent;
use huidu::engine::flag::{AudienceKind, Faults, State, read};
use huidu::engine::key::{AudienceKey, EnvironmentKey};
use huidu::engine::membership::{IdHasher, IdSet, NothingFetched};
use huidu::engine::snapshot::{Audience, Snapshot};
use serde_json::{Value, json};

const SHOPPER: &str = r#"{"context":{"targetingKey":"user-4711","app_version":"10.9.1","region":"CN-31","goods":[{"id":"g-1","category":"shoes","price":45900},{"id":"g-2","category":"books","price":3900}],"order":{"id":"o-20261124-1","amount":49800,"currency":"CNY"},"device_id":"d-5f2c9a10","vip":true,"channel":"app"}}"#;

fn stored(json: &Value) -> StoredFlag {
    let mut faults = Faults::default();
    let document = read(json, &mut faults).unwrap();
    assert_eq!(faults.0, []);
    StoredFlag {
        key: document.key.clone(),
        number: 1,
        version: 1,
        state: State::Live,
        stage: Some(1),
        expired: false,
        updated_at: 0,
        updated_by: "bench".into(),
        document: Ok(Arc::new(document)),
        json: json.to_string().into(),
    }
}

fn audience(key: &str, kind: AudienceKind, ids: usize, hasher: &IdHasher) -> Audience {
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

fn snapshot(flags: &[Value]) -> Snapshot {
    let hasher = IdHasher::new([7; 32]);
    let audiences = vec![
        audience("hundred-thousand", AudienceKind::User, 100_000, &hasher),
        audience("wechat-testers", AudienceKind::User, 50, &hasher),
        audience("wechat-excluded-goods", AudienceKind::Goods, 500, &hasher),
    ];
    let environment = EnvironmentKey::parse("production").unwrap();
    Snapshot::empty(environment, 1, hasher).next(1, audiences, flags.iter().map(stored).collect())
}

fn flag(key: &str, rules: &Value) -> Value {
    json!({
        "key": key, "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off",
        "salt": "k7f3v2q6m4x5n2b7c3d6t4w5ay", "rules": rules,
    })
}

fn quarter() -> Value {
    json!({"id": "ramp", "serve": {"rollout": {"percent": 25}}})
}

fn scan_pay() -> Value {
    let mut flag: Value = serde_json::from_str(include_str!("../examples/wechat-scan-pay.json")).unwrap();
    flag["salt"] = "k7f3v2q6m4x5n2b7c3d6t4w5ay".into();
    flag
}

/// One flag for the shopper, as often as criterion likes.
fn one(c: &mut Criterion, name: &str, flag: &Value) {
    let snapshot = snapshot(std::slice::from_ref(flag));
    let parsed = parse_ofrep(SHOPPER.as_bytes(), snapshot.attributes()).unwrap();
    c.bench_function(name, |b| b.iter(|| decide_all(&snapshot, black_box(&parsed.context))));
    // The context keeps the hash of its unit, so a fresh one pays for it too.
    c.bench_function(&format!("{name}, parsed anew"), |b| {
        b.iter(|| {
            let parsed = parse_ofrep(black_box(SHOPPER.as_bytes()), snapshot.attributes()).unwrap();
            decide_all(&snapshot, &parsed.context)
        });
    });
}

fn decide_all(snapshot: &Snapshot, context: &Context<'_>) -> usize {
    let decide = |flag| evaluate(snapshot, flag, context, &NothingFetched, &mut Silent).is_visible();
    snapshot.flags().iter().filter(|flag| decide(flag)).count()
}

fn engine(c: &mut Criterion) {
    one(c, "25 % by id", &flag("quarter", &json!([quarter()])));
    let ids: Vec<_> = (0..1_000).map(|n| format!("listed-{n}")).collect();
    let listed = json!([
        {"id": "listed", "when": {"attribute": "user.id", "op": "in", "value": ids}, "serve": {"variant": "on"}},
        {
            "id": "ramp",
            "when": {"attribute": "user.region", "op": "in", "value": ["CN-11", "CN-31", "CN-33", "CN-44"]},
            "serve": {"rollout": {"percent": 25}},
        },
    ]);
    one(c, "1,000 listed ids, else 4 regions and 25 %", &flag("listed", &listed));
    let audience = json!([
        {"id": "listed", "when": {"audience": "hundred-thousand"}, "serve": {"variant": "on"}},
        quarter(),
    ]);
    one(c, "100,000 listed ids", &flag("audience", &audience));
    one(c, "scan-pay with 2 goods", &scan_pay());
}

fn parse(c: &mut Criterion) {
    assert!((280..=320).contains(&SHOPPER.len()), "{} bytes", SHOPPER.len());
    let snapshot = snapshot(&[scan_pay()]);
    c.bench_function("parse a context of 300 bytes", |b| {
        b.iter(|| parse_ofrep(black_box(SHOPPER.as_bytes()), snapshot.attributes()).is_ok());
    });
}

fn bulk(c: &mut Criterion) {
    let flags: Vec<_> = (0..30)
        .map(|n| {
            let mut flag = if n % 3 == 0 { scan_pay() } else { flag("", &json!([quarter()])) };
            flag["key"] = format!("flag-{n}").into();
            flag["salt"] = format!("salt-{n}").into();
            flag
        })
        .collect();
    let snapshot = snapshot(&flags);
    c.bench_function("bulk over 30 flags, parsed anew", |b| {
        b.iter(|| {
            let parsed = parse_ofrep(black_box(SHOPPER.as_bytes()), snapshot.attributes()).unwrap();
            decide_all(&snapshot, &parsed.context)
        });
    });
}

criterion_group!(benches, engine, parse, bulk);
criterion_main!(benches);
