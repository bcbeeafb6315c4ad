//! What one decision costs, the parsing before it, and the token after it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up may panic"
)]

mod fixture;
mod scale;

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fixture::{SHOPPER, flag, quarter, scan_pay, snapshot};
use huidu::engine::context::{Context, parse_ofrep};
use huidu::engine::decision::Arm;
use huidu::engine::evaluate::evaluate;
use huidu::engine::explain::Silent;
use huidu::engine::membership::NothingFetched;
use huidu::engine::snapshot::Snapshot;
use huidu::token::{Exposure, TokenKeys};
use serde_json::{Value, json};

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

fn tokens(c: &mut Criterion) {
    let keys = TokenKeys::new([(1, [9; 32])]);
    let exposure = Exposure {
        environment: 1,
        day: 20_000,
        flag: "wechat-scan-pay".into(),
        stage: 3,
        rule: "ramp".into(),
        arm: Arm::Treatment,
        variant: "on".into(),
        unit_attribute: "user.id".into(),
        unit: "user-4711".into(),
        bucket: Some(123_456),
        captured: [("region", "CN-31"), ("app_version", "10.9.1")]
            .map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)))
            .into_iter()
            .collect(),
    };
    let mut token = Vec::with_capacity(512);
    c.bench_function("seal a token", |b| {
        b.iter(|| {
            token.clear();
            keys.seal(black_box(&exposure), &mut token)
        });
    });
    let token = String::from_utf8(token).unwrap();
    c.bench_function("open a token", |b| b.iter(|| keys.open(black_box(&token), 1, 20_000).is_ok()));
    let forged = format!("{}AAAA", token.get(..token.len() - 4).unwrap_or_default());
    c.bench_function("refuse a forged token", |b| {
        b.iter(|| keys.open(black_box(&forged), 1, 20_000).is_err())
    });
}

criterion_group!(benches, engine, parse, bulk, tokens);
criterion_main!(benches, scale::scale);
