//! How the cost of a decision grows: with flags, rules, listed ids and goods. `benches/plots.py` draws the results.
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group};
use huidu::engine::context::{Context, parse_decision, parse_ofrep};
use huidu::engine::evaluate::evaluate;
use huidu::engine::explain::Silent;
use huidu::engine::flag::AudienceKind;
use huidu::engine::membership::{IdHasher, IdSet, NothingFetched};
use huidu::engine::snapshot::Snapshot;
use serde_json::{Value, json};

use crate::fixture::{SHOPPER, audience, flag, quarter, scan_pay, snapshot, snapshot_over};

fn decide(snapshot: &Snapshot, key: &str, context: &Context<'_>) -> bool {
    let flag = snapshot.find(black_box(key)).unwrap();
    evaluate(snapshot, flag, black_box(context), &NothingFetched, &mut Silent).is_visible()
}

/// A switch of its own, on no placement.
fn other(number: usize) -> Value {
    let mut flag = flag(&format!("feature-{number}"), &json!([quarter()]));
    flag["salt"] = format!("salt-{number}").into();
    flag
}

fn flags(c: &mut Criterion) {
    let mut group = c.benchmark_group("flags");
    for others in [10, 100, 1_000, 10_000] {
        let all: Vec<Value> = (0..others).map(other).chain([scan_pay()]).collect();
        let snapshot = snapshot(&all);
        let parsed = parse_ofrep(SHOPPER.as_bytes(), snapshot.attributes()).unwrap();
        group.bench_function(BenchmarkId::new("one decision", others), |b| {
            b.iter(|| decide(&snapshot, "wechat-scan-pay", &parsed.context));
        });
        group.bench_function(BenchmarkId::new("a placement", others), |b| {
            b.iter(|| {
                let entries = snapshot.entries(black_box("checkout"));
                entries
                    .filter(|flag| {
                        evaluate(&snapshot, flag, &parsed.context, &NothingFetched, &mut Silent).is_visible()
                    })
                    .count()
            });
        });
    }
    group.finish();
}

fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("rules");
    for count in [1, 10, 100] {
        let region = |n: usize| {
            let regions = [format!("XX-{n}"), format!("YY-{n}")];
            json!({
                "id": format!("region-{n}"),
                "when": {"attribute": "user.region", "op": "in", "value": regions},
                "serve": {"variant": "on"},
            })
        };
        // None of the first ones holds, so all are looked at.
        let rules: Vec<Value> = (1..count).map(region).chain([quarter()]).collect();
        let snapshot = snapshot(&[flag("ruled", &json!(rules))]);
        let parsed = parse_ofrep(SHOPPER.as_bytes(), snapshot.attributes()).unwrap();
        group.bench_function(BenchmarkId::new("one decision", count), |b| {
            b.iter(|| decide(&snapshot, "ruled", &parsed.context));
        });
    }
    group.finish();
}

/// Shoppers of whom every second is listed, parsed before: more of them than the processor's caches keep lines for.
fn shoppers(listed: usize) -> Vec<String> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    (0..4_096)
        .map(|n| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = (random >> 33) % (listed as u64);
            let id = if n % 2 == 0 { format!("listed-{id}") } else { format!("stranger-{id}") };
            json!({"context": {"targetingKey": id}}).to_string()
        })
        .collect()
}

#[expect(clippy::print_stdout, reason = "criterion has no place for bytes")]
fn ids(c: &mut Criterion) {
    let hasher = IdHasher::new([7; 32]);
    let mut group = c.benchmark_group("listed ids");
    for count in [1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        let invited = audience("invited", AudienceKind::User, count, &hasher);
        let bytes = invited.ids.as_ref().unwrap().bytes();
        println!("listed ids/bytes an id/{count}: {:.2}", bytes as f64 / count as f64);
        let rules = json!([
            {"id": "listed", "when": {"audience": "invited"}, "serve": {"variant": "on"}},
            quarter(),
        ]);
        let snapshot = snapshot_over(vec![invited], &[flag("listed", &rules)]);
        let bodies = shoppers(count);
        group.bench_function(BenchmarkId::new("parse and decide", count), |b| {
            let mut bodies = bodies.iter().cycle();
            b.iter(|| {
                let body = bodies.next().unwrap();
                let parsed = parse_ofrep(body.as_bytes(), snapshot.attributes()).unwrap();
                decide(&snapshot, "listed", &parsed.context)
            });
        });
        let hashes: Vec<u64> = (0..count).map(|n| hasher.hash(&format!("listed-{n}"))).collect();
        if count >= 1_000_000 {
            group.sample_size(10);
        }
        group.bench_function(BenchmarkId::new("build", count), |b| {
            b.iter_with_large_drop(|| Arc::new(IdSet::new(hashes.clone())));
        });
    }
    group.finish();
}

fn goods(c: &mut Criterion) {
    let mut group = c.benchmark_group("goods");
    let snapshot = snapshot(&[scan_pay()]);
    for count in [1_usize, 2, 10, 50, 200] {
        let goods: Vec<Value> = (0..count)
            .map(|n| json!({"id": format!("g-{n}"), "category": "shoes", "price": 45_900}))
            .collect();
        let body = json!({
            "placement": "checkout",
            "user": {"id": "user-4711", "app_version": "10.9.1", "region": "CN-31"},
            "order": {"id": "o-1", "amount": 49_800, "currency": "CNY", "goods": goods},
        })
        .to_string();
        let parsed = parse_decision(body.as_bytes(), snapshot.attributes()).unwrap();
        group.bench_function(BenchmarkId::new("one decision", count), |b| {
            b.iter(|| decide(&snapshot, "wechat-scan-pay", &parsed.context));
        });
        group.bench_function(BenchmarkId::new("parse", count), |b| {
            b.iter(|| parse_decision(black_box(body.as_bytes()), snapshot.attributes()).is_ok());
        });
    }
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! { name = scale; config = quick(); targets = flags, rules, ids, goods }
