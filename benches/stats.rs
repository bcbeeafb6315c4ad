//! A whole report's statistics: 8 variants, 20 metrics, 30 stages, shoppers in every pair of stages. `cargo bench
//! --bench stats`; the aim is under 5 ms.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use huidu::stats::compare::{Better, Comparison, Question, Role, compare};
use huidu::stats::counts::{Count, Pair, Strata, Stratum};
use huidu::stats::multiple::adjust;
use huidu::stats::power::Pace;
use huidu::stats::srm::{Split, check};

const VARIANTS: u32 = 8;
const METRICS: u32 = 20;
const STAGES: u32 = 30;

/// Counts of one variant and metric; both differ a little from the next one's.
fn strata(variant: u32, metric: u32) -> Vec<Stratum> {
    let count = |units: u64, salt: u32| Count { units, converted: units / 9 + u64::from(salt % 7) };
    (1..=STAGES)
        .map(|stage| Stratum {
            stage,
            treatment: count(1_000 * u64::from(stage), variant + metric + stage),
            control: count(2_000, metric + stage),
        })
        .collect()
}

fn pairs() -> Vec<Pair> {
    let stages = STAGES as usize;
    let both = (0..stages).flat_map(|later| (0..later).map(move |earlier| (earlier, later)));
    both.map(|(earlier, later)| Pair {
        earlier,
        later,
        units: 120,
        earlier_converted: 13,
        later_converted: 14,
        both_converted: 4,
    })
    .collect()
}

fn question<'a>(counts: Strata<'a>, role: Role) -> Question<'a> {
    Question {
        counts,
        maturing_users: 0,
        role,
        better: Better::More,
        treatments: VARIANTS,
        srm_ok: true,
        margin: None,
        min_effect: 0.05,
        pace: Some(Pace { information_per_day: 400.0, users_per_day: 1_700.0 }),
        window_hours: 24,
    }
}

fn report(
    all: &[Vec<Stratum>],
    pairs: &[Pair],
    splits: &[Split],
) -> (Vec<Comparison>, Vec<Option<f64>>, bool) {
    let compared: Vec<Comparison> = all
        .iter()
        .zip(0_u32..)
        .map(|(strata, at)| {
            let role = if at % METRICS == 0 { Role::Goal } else { Role::Metric };
            compare(&question(Strata { strata, treatment_pairs: pairs, control_pairs: pairs }, role))
        })
        .collect();
    let adjusted = adjust(&compared.iter().map(|found| found.always_valid_p).collect::<Vec<_>>());
    (compared, adjusted, check(splits).ok)
}

fn whole_report(bench: &mut Criterion) {
    let all: Vec<Vec<Stratum>> =
        (0..VARIANTS).flat_map(|variant| (0..METRICS).map(move |metric| strata(variant, metric))).collect();
    let pairs = pairs();
    let shares = vec![0.1; 10];
    let splits = vec![Split { shares, observed: vec![1_000; 10] }; STAGES as usize];
    bench.bench_function("8 variants x 20 metrics x 30 stages", |bencher| {
        bencher.iter(|| report(black_box(&all), black_box(&pairs), black_box(&splits)));
    });
    let strata = strata(0, 0);
    let goal = question(Strata { strata: &strata, ..Strata::default() }, Role::Goal);
    bench.bench_function("one goal of 30 stages", |bencher| bencher.iter(|| compare(black_box(&goal))));
    let metric = Question { role: Role::Metric, ..goal };
    bench.bench_function("one metric of 30 stages", |bencher| bencher.iter(|| compare(black_box(&metric))));
}

criterion_group!(benches, whole_report);
criterion_main!(benches);
