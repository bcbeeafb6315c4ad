//! A whole report's statistics, as the service computes them: 8 variants, 20 metrics, 30 stages, shoppers in every pair of
//! stages. Each metric is compared, has values of one currency (per user, per order, and per user with large ones cut) and
//! is a ratio of another; two are guardrails, by a margin and by a limit. Then each family by itself.
//! `cargo bench --bench stats`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use huidu::stats::compare::{Better, Comparison, Question, Role, compare};
use huidu::stats::counts::{Count, Pair, Strata, Stratum};
use huidu::stats::guardrail::{self, State};
use huidu::stats::mean::{self, Sums, ValueComparison, ValuePair, ValueStratum, Values};
use huidu::stats::multiple::adjust;
use huidu::stats::power::Pace;
use huidu::stats::ratio::{self, RatioPair, RatioStratum, RatioSums};
use huidu::stats::srm::{Split, check};

const VARIANTS: u32 = 8;
const METRICS: u32 = 20;
const STAGES: u32 = 30;
/// What an order is worth on average, in the minor unit.
const WORTH: f64 = 25_900.0;
/// Single amounts of a comparison, from which the cap of large ones comes.
const AMOUNTS: u32 = 12_000;

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

/// What the converted spent, as sums.
fn worth(count: Count) -> Sums {
    let orders = count.converted as f64;
    Sums { units: count.units, sum: WORTH * orders, squares: 2.0 * WORTH * WORTH * orders }
}

/// The same as a ratio: what was spent per order.
fn per_order(count: Count) -> RatioSums {
    let (orders, Sums { units, sum, squares }) = (count.converted as f64, worth(count));
    RatioSums { units, y: sum, x: orders, yy: squares, xy: sum, xx: orders }
}

/// Units in two stages, for counts, values and ratios.
struct Pairs {
    counts: Vec<Pair>,
    values: Vec<ValuePair>,
    ratios: Vec<RatioPair>,
}

impl Pairs {
    fn of_all_stages() -> Self {
        let stages = STAGES as usize;
        let both = || (0..stages).flat_map(|later| (0..later).map(move |earlier| (earlier, later)));
        let (units, earlier_orders, later_orders, both_orders) = (120, 13, 14, 4);
        let spent = |orders: u64| WORTH * orders as f64;
        let counts = both().map(|(earlier, later)| Pair {
            earlier,
            later,
            units,
            earlier_converted: earlier_orders,
            later_converted: later_orders,
            both_converted: both_orders,
        });
        let values = both().map(|(earlier, later)| ValuePair {
            earlier,
            later,
            units,
            earlier_sum: spent(earlier_orders),
            later_sum: spent(later_orders),
            products: WORTH * spent(both_orders),
        });
        let ratios = both().map(|(earlier, later)| RatioPair {
            earlier,
            later,
            units,
            earlier_y: spent(earlier_orders),
            later_y: spent(later_orders),
            earlier_x: earlier_orders as f64,
            later_x: later_orders as f64,
            yy: WORTH * spent(both_orders),
            xx: both_orders as f64,
            earlier_x_later_y: spent(both_orders),
            earlier_y_later_x: spent(both_orders),
        });
        Self { counts: counts.collect(), values: values.collect(), ratios: ratios.collect() }
    }
}

/// What was counted of a variant and metric, in each form that the statistics take.
struct Counted {
    strata: Vec<Stratum>,
    values: Vec<ValueStratum>,
    ratios: Vec<RatioStratum>,
    amounts: Vec<f64>,
}

impl Counted {
    fn of(variant: u32, metric: u32) -> Self {
        let strata = strata(variant, metric);
        let values = strata.iter().map(|own| ValueStratum {
            stage: own.stage,
            treatment: worth(own.treatment),
            control: worth(own.control),
        });
        let ratios = strata.iter().map(|own| RatioStratum {
            stage: own.stage,
            treatment: per_order(own.treatment),
            control: per_order(own.control),
        });
        // Multiples of a prime, so that they come in no order.
        let amounts = (0..AMOUNTS).map(|at| f64::from(at * 7_919 % AMOUNTS) * 10.0 + f64::from(metric));
        let (values, ratios, amounts) = (values.collect(), ratios.collect(), amounts.collect());
        Self { strata, values, ratios, amounts }
    }
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

fn counts<'a>(counted: &'a Counted, pairs: &'a Pairs) -> Strata<'a> {
    Strata { strata: &counted.strata, treatment_pairs: &pairs.counts, control_pairs: &pairs.counts }
}

/// Every metric of every variant against control, adjusted for how many there are.
fn comparisons(all: &[Counted], pairs: &Pairs) -> (Vec<Comparison>, Vec<Option<f64>>) {
    let compared: Vec<Comparison> = all
        .iter()
        .zip(0_u32..)
        .map(|(counted, at)| {
            let role = if at % METRICS == 0 { Role::Goal } else { Role::Metric };
            compare(&question(counts(counted, pairs), role))
        })
        .collect();
    let adjusted = adjust(&compared.iter().map(|found| found.always_valid_p).collect::<Vec<_>>());
    (compared, adjusted)
}

/// Both guardrails of every variant: the last two metrics.
fn guardrails(all: &[Counted], pairs: &Pairs) -> Vec<State> {
    let of_variant = |metrics: &[Counted]| {
        let [.., by_margin, by_limit] = metrics else { return [State::Undecided; 2] };
        let treated = by_limit.strata.iter().map(|own| own.treatment);
        let together = treated.fold(Count::default(), |all, own| Count {
            units: all.units + own.units,
            converted: all.converted + own.converted,
        });
        let margin = guardrail::margin(&counts(by_margin, pairs), 0.002);
        [margin.state, guardrail::limit(together, 0.12).state]
    };
    all.chunks(METRICS as usize).flat_map(of_variant).collect()
}

fn value(counted: &Counted, pairs: &Pairs) -> ValueComparison {
    mean::compare(&Values {
        strata: &counted.values,
        treatment_pairs: &pairs.values,
        control_pairs: &pairs.values,
    })
}

/// Value per user of every metric, and the same with large values cut: the cap is of all amounts.
fn values(all: &[Counted], pairs: &Pairs) -> Vec<(ValueComparison, Option<f64>, ValueComparison)> {
    all.iter()
        .map(|counted| {
            let cap = mean::cap(&mut counted.amounts.clone(), 0.99);
            (value(counted, pairs), cap, value(counted, pairs))
        })
        .collect()
}

/// Of every metric value per order, and a ratio of it.
fn ratios(all: &[Counted], pairs: &Pairs) -> Vec<[ValueComparison; 2]> {
    let one = |counted: &Counted| ratio::compare(&counted.ratios, &pairs.ratios, &pairs.ratios);
    all.iter().map(|counted| [one(counted), one(black_box(counted))]).collect()
}

fn whole_report(bench: &mut Criterion) {
    let variants = 0..VARIANTS;
    let all: Vec<Counted> =
        variants.flat_map(|variant| (0..METRICS).map(move |metric| Counted::of(variant, metric))).collect();
    let pairs = Pairs::of_all_stages();
    let splits = vec![Split { shares: vec![0.1; 10], observed: vec![1_000; 10] }; STAGES as usize];
    let (all, pairs, splits) = (&all[..], &pairs, &splits[..]);
    bench.bench_function("8 variants x 20 metrics x 30 stages", |bencher| {
        bencher.iter(|| {
            let (all, pairs) = (black_box(all), black_box(pairs));
            let parts = (comparisons(all, pairs), guardrails(all, pairs));
            (parts, values(all, pairs), ratios(all, pairs), check(black_box(splits)).ok)
        });
    });
    bench.bench_function("of them the comparisons", |bencher| {
        bencher.iter(|| comparisons(black_box(all), black_box(pairs)));
    });
    bench.bench_function("of them the guardrails", |bencher| {
        bencher.iter(|| guardrails(black_box(all), black_box(pairs)));
    });
    bench.bench_function("of them the values, capped too", |bencher| {
        bencher.iter(|| values(black_box(all), black_box(pairs)));
    });
    bench.bench_function("of them values per order and ratios", |bencher| {
        bencher.iter(|| ratios(black_box(all), black_box(pairs)));
    });
    bench.bench_function("of them the shares of units", |bencher| bencher.iter(|| check(black_box(splits))));
    let strata = strata(0, 0);
    let goal = question(Strata { strata: &strata, ..Strata::default() }, Role::Goal);
    bench.bench_function("one goal of 30 stages", |bencher| bencher.iter(|| compare(black_box(&goal))));
    let metric = Question { role: Role::Metric, ..goal };
    bench.bench_function("one metric of 30 stages", |bencher| bencher.iter(|| compare(black_box(&metric))));
}

criterion_group!(benches, whole_report);
criterion_main!(benches);
