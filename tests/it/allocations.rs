//! The decision path allocates nothing: neither deciding nor, for a body without escapes, what it reads of it
//! beyond the goods that do not fit inline.

use std::sync::Arc;

use huidu::engine::compile::StoredFlag;
use huidu::engine::context::parse_ofrep;
use huidu::engine::evaluate::evaluate;
use huidu::engine::explain::Silent;
use huidu::engine::flag::{AudienceKind, Faults, State, read};
use huidu::engine::key::{AudienceKey, EnvironmentKey};
use huidu::engine::membership::{IdHasher, IdSet, NothingFetched};
use huidu::engine::snapshot::{Audience, Snapshot};

/// The two example flags with their audiences in memory.
fn shop() -> Snapshot {
    let hasher = IdHasher::new([9; 32]);
    let audience = |key: &str, kind, ids: &[&str]| Audience {
        key: AudienceKey::parse(key).unwrap(),
        kind,
        version: 1,
        generation: 1,
        size: 1,
        ids: Some(Arc::new(IdSet::new(ids.iter().map(|id| hasher.hash(id)).collect()).into())),
        read_through: false,
    };
    let audiences = vec![
        audience("wechat-testers", AudienceKind::User, &["tester-1"]),
        audience("wechat-excluded-goods", AudienceKind::Goods, &["g-excluded"]),
    ];
    let flag = |number: i64, text: &str| {
        let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["salt"] = "salt".into();
        let mut faults = Faults::default();
        let document = read(&json, &mut faults).unwrap();
        assert_eq!(faults.0, []);
        StoredFlag {
            key: document.key.clone(),
            number,
            version: 1,
            state: State::Live,
            stage: Some(1),
            stages: None,
            expired: false,
            updated_at: 0,
            updated_by: "test".into(),
            document: Ok(Arc::new(document)),
            json: json.to_string().into(),
        }
    };
    let flags = vec![
        flag(1, include_str!("../../examples/wechat-scan-pay.json")),
        flag(2, include_str!("../../examples/wechat-friend-pay.json")),
    ];
    let environment = EnvironmentKey::parse("production").unwrap();
    Snapshot::empty(environment, 1, hasher.clone()).next(1, audiences, flags)
}

#[test]
fn a_decision_allocates_nothing() {
    let shop = shop();
    let mut visible = 0;
    for unit in (0..200).map(|n| format!("u-{n}")).chain(["tester-1".into()]) {
        let body = format!(
            r#"{{"context":{{"targetingKey":"{unit}","app_version":"10.9.1","region":"CN-31",
                "order":{{"id":"o-1","currency":"CNY"}},
                "goods":[{{"id":"g-1","category":"shoes","price":45900}},{{"id":"g-2","category":"books","price":1}}]}}}}"#
        );
        let mut parsed = None;
        let parsing = allocation_counter::measure(|| {
            parsed = parse_ofrep(body.as_bytes(), shop.attributes()).ok();
        });
        let parsed = parsed.unwrap();
        assert_eq!(parsing.count_total, 0, "parsing {body}");
        let deciding = allocation_counter::measure(|| {
            for flag in shop.flags() {
                let decision = evaluate(&shop, flag, &parsed.context, &NothingFetched, &mut Silent);
                visible += u32::from(decision.is_visible());
            }
        });
        assert_eq!(deciding.count_total, 0, "deciding for {unit}");
    }
    assert!(visible > 5, "{visible} decisions opened: the test must go all the ways");
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8])));
    assert_eq!(counted.count_total, 1, "the counter counts");
}
