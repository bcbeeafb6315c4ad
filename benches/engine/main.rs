//! What one decision costs, the parsing before it, and the token after it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up may panic"
)]

mod fixture;
mod scale;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fixture::{SHOPPER, flag, quarter, scan_pay, snapshot};
use huidu::engine::context::{Context, parse_ofrep};
use huidu::engine::decision::Arm;
use huidu::engine::evaluate::evaluate;
use huidu::engine::explain::Silent;
use huidu::engine::membership::NothingFetched;
use huidu::engine::snapshot::Snapshot;
use huidu::token::batch::Batch;
use huidu::token::{Decided, TokenKeys, decided};
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
    let statement = decided(&Decided {
        flag: "wechat-scan-pay",
        stage: 3,
        rule: "ramp",
        arm: Arm::Treatment,
        variant: "on",
        unit_attribute: "user.id",
    });
    let seal = |count: usize| {
        let mut batch = Batch::new(keys.sealer(1, 20_000).unwrap(), count);
        for _ in 0..count {
            let captured = [("region", "CN-31"), ("app_version", "10.9.1")].into_iter();
            batch.push(black_box(&statement), black_box("user-4711"), Some(123_456), captured);
        }
        batch.seal()
    };
    c.bench_function("seal a token", |b| b.iter(|| seal(1)));
    c.bench_function("seal 32 tokens of an answer", |b| b.iter(|| seal(32)));
    let token = String::from_utf8(seal(1).text(0).unwrap().to_vec()).unwrap();
    c.bench_function("open a token", |b| b.iter(|| keys.open(black_box(&token), 1, 20_000).is_ok()));
    let forged = format!("{}AAAA", token.get(..token.len() - 4).unwrap_or_default());
    c.bench_function("refuse a forged token", |b| {
        b.iter(|| keys.open(black_box(&forged), 1, 20_000).is_err())
    });
}

criterion_group!(benches, engine, parse, bulk, tokens);
criterion_main!(benches, scale::scale);
