//! Ramps of shoppers who come back: which exposure counts, and what it does that one shopper is in several stages.

use super::draw::{Share, Tally, binomial, generator, metric, multinomial};
use super::ramp::{DAYS, SHARES, thrown_together};
use huidu::stats::compare::Comparison;
use huidu::stats::counts::{Pair, Strata, Stratum};
use huidu::stats::special::{chi_square_tail, z};
use huidu::stats::srm::{Split, check};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng as _;

const CONTROL: f64 = 0.05;
/// Kinds of shoppers, by how often they visit.
const KINDS: u32 = 200;

/// A ramp.
pub(crate) struct Plan {
    /// The variant's share of all, stage by stage.
    shares: Vec<f64>,
    /// Days of each stage.
    days: u32,
    /// How the rate of orders changes from stage to stage.
    drift: Vec<f64>,
    /// All shoppers.
    shoppers: u64,
    /// Who orders once orders in every stage.
    sticky: bool,
}

impl Plan {
    /// Four stages, orders independent from stage to stage.
    pub(crate) fn returning() -> Self {
        let drift = vec![1.0, 0.93, 0.86, 0.79];
        Self { shares: SHARES.to_vec(), days: DAYS, drift, shoppers: 120_000, sticky: false }
    }

    /// Ten short stages; who orders (or whose card fails) does so in every one.
    pub(crate) fn sticky() -> Self {
        let shares = [1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 40.0, 50.0].map(|share| share / 100.0);
        let drift = (0..10).map(|stage| 1.0 - 0.21 * f64::from(stage) / 9.0).collect();
        Self { shares: shares.to_vec(), days: 3, drift, shoppers: 40_000, sticky: true }
    }
}

/// Shoppers who visit `rate` times a day: when the first visit of a stage falls, and whether they order after it.
struct Kind {
    /// Chance times 2^32 that the first visit is on this day or before, day by day.
    by_day: Vec<u64>,
    /// Chance times 2^32 of an order, stage by stage.
    orders: Vec<u64>,
}

/// Visits a day are Gamma with shape 1/2 and mean 1/4, which is a normal deviate squared, over 4; who visits often
/// orders more.
fn kinds(plan: &Plan) -> Vec<Kind> {
    let scaled = |chance: f64| (chance * 4_294_967_296.0) as u64;
    (0..KINDS)
        .map(|kind| {
            let rate = 0.25 * z(1.0 - (f64::from(kind) + 0.5) / f64::from(KINDS)).powi(2);
            let order = 0.02 + 0.30 * rate / (rate + 0.4);
            Kind {
                by_day: (1..=plan.days).map(|day| scaled(1.0 - (-rate * f64::from(day)).exp())).collect(),
                orders: plan.drift.iter().map(|drift| scaled(order * drift)).collect(),
            }
        })
        .collect()
}

/// What shoppers in two stages did, by the day of the later exposure.
#[derive(Default, Clone, Copy)]
struct Both {
    units: u64,
    earlier: u64,
    later: u64,
    both: u64,
}

/// By stage and day of the first exposure in the stage: (units, orders).
type Cells = Vec<Vec<(u64, u64)>>;

/// An arm.
struct Arm {
    seen: Cells,
    /// The same, of shoppers whom no earlier stage had seen.
    first: Cells,
    pairs: Vec<Vec<Vec<Both>>>,
}

impl Arm {
    fn new(plan: &Plan) -> Self {
        let (stages, days) = (plan.shares.len(), plan.days as usize);
        Self {
            seen: vec![vec![(0, 0); days]; stages],
            first: vec![vec![(0, 0); days]; stages],
            pairs: vec![vec![vec![Both::default(); days]; stages]; stages],
        }
    }

    /// `many` shoppers were seen like this: (stage, day, ordered) in order of time.
    fn add(&mut self, seen: &[(usize, usize, bool)], many: u64) {
        for (at, (stage, day, ordered)) in seen.iter().enumerate() {
            let orders = many * u64::from(*ordered);
            let cells = [Some(&mut self.seen), Some(&mut self.first).filter(|_| at == 0)];
            for cell in cells.into_iter().flatten() {
                let (units, converted) = cell[*stage][*day];
                cell[*stage][*day] = (units + many, converted + orders);
            }
            for (before, _, ordered_before) in &seen[..at] {
                let both = &mut self.pairs[*before][*stage][*day];
                both.units += many;
                both.earlier += many * u64::from(*ordered_before);
                both.later += orders;
                both.both += orders * u64::from(*ordered_before);
            }
        }
    }

    /// Shoppers who may be seen from stage `from` on.
    fn shop(&mut self, plan: &Plan, kinds: &[Kind], from: usize, shoppers: u64, rng: &mut Pcg64) {
        if from + 1 == plan.shares.len() {
            return self.shop_once(kinds, from, shoppers, rng);
        }
        let mut seen = Vec::new();
        for _ in 0..shoppers {
            let kind = &kinds[((u64::from(rng.next_u32()) * kinds.len() as u64) >> 32) as usize];
            seen.clear();
            let mut mood = rng.next_u32();
            for stage in from..plan.shares.len() {
                let drawn = rng.next_u64();
                let Some(day) = kind.by_day.iter().position(|chance| drawn & 0xffff_ffff < *chance) else {
                    continue;
                };
                if !plan.sticky {
                    mood = (drawn >> 32) as u32;
                }
                seen.push((stage, day, u64::from(mood) < kind.orders[stage]));
            }
            self.add(&seen, 1);
        }
    }

    /// Shoppers of the last stage only: drawn together, as nothing else of them is seen.
    fn shop_once(&mut self, kinds: &[Kind], stage: usize, shoppers: u64, rng: &mut Pcg64) {
        let days = self.seen[stage].len();
        let mut chances = vec![0.0; 2 * days];
        for kind in kinds {
            let part = |chance: u64| chance as f64 / 4_294_967_296.0;
            for day in 0..days {
                let before = if day == 0 { 0 } else { kind.by_day[day - 1] };
                let (here, order) =
                    (part(kind.by_day[day] - before) / kinds.len() as f64, part(kind.orders[stage]));
                chances[2 * day] += here * (1.0 - order);
                chances[2 * day + 1] += here * order;
            }
        }
        for (at, many) in multinomial(rng, shoppers, &chances).into_iter().enumerate() {
            self.add(&[(stage, at / 2, at % 2 == 1)], many);
        }
    }
}

/// Sums over the days before `day` (counted from the ramp's beginning).
fn until(cells: &[Vec<(u64, u64)>], stage: usize, day: usize) -> (u64, u64) {
    let days = cells[stage].len();
    let past = day.saturating_sub(stage * days).min(days);
    cells[stage][..past].iter().fold((0, 0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1))
}

fn pairs_until(arm: &Arm, day: usize) -> Vec<Pair> {
    let stages = arm.seen.len();
    let mut pairs = Vec::new();
    for later in 1..stages {
        for earlier in 0..later {
            let days = &arm.pairs[earlier][later];
            let past = day.saturating_sub(later * days.len()).min(days.len());
            let sum = |of: fn(&Both) -> u64| days[..past].iter().map(of).sum::<u64>();
            pairs.push(Pair {
                earlier,
                later,
                units: sum(|both| both.units),
                earlier_converted: sum(|both| both.earlier),
                later_converted: sum(|both| both.later),
                both_converted: sum(|both| both.both),
            });
        }
    }
    pairs.retain(|pair| pair.units > 0);
    pairs
}

/// Every way to count, over all runs.
#[derive(Default)]
pub(crate) struct Returning {
    pub(crate) first_ever_pooled: Tally,
    pub(crate) first_ever_by_stage: Tally,
    pub(crate) unclustered: Tally,
    pub(crate) clustered: Tally,
    /// Share of units: an alarm at 1 % on some day.
    pub(crate) srm: Share,
    /// The same with the stages' evidence multiplied.
    pub(crate) srm_product: Share,
    /// Chi-squares summed over stages, daily, at 1 %.
    pub(crate) srm_chi_square: Share,
}

/// Simulates `runs` ramps of `plan`, without any effect. The window is one day.
pub(crate) fn returning(plan: &Plan, runs: u32, name: &str) -> Returning {
    let mut rng = generator(name);
    let kinds = kinds(plan);
    let mut found = Returning::default();
    for _ in 0..runs {
        let widest = plan.shares[plan.shares.len() - 1];
        let control_shoppers = binomial(&mut rng, plan.shoppers, CONTROL);
        let [mut treatment, mut control] = [Arm::new(plan), Arm::new(plan)];
        control.shop(plan, &kinds, 0, control_shoppers, &mut rng);
        // The line is cut: who is in at 1 % is in at 5 %.
        let treated = binomial(&mut rng, plan.shoppers - control_shoppers, widest / (1.0 - CONTROL));
        let bands: Vec<f64> = plan
            .shares
            .iter()
            .scan(0.0, |below, share| Some((share - std::mem::replace(below, *share)) / widest))
            .collect();
        for (from, many) in multinomial(&mut rng, treated, &bands).into_iter().enumerate() {
            treatment.shop(plan, &kinds, from, many, &mut rng);
        }
        look(plan, &treatment, &control, &mut found);
    }
    found
}

/// One run, looked at every day.
fn look(plan: &Plan, treatment: &Arm, control: &Arm, found: &mut Returning) {
    let stages = plan.shares.len();
    let mut days: [Vec<Comparison>; 4] = Default::default();
    let (mut alarm, mut product, mut chi_square) = (false, false, false);
    for day in 1..=stages * plan.days as usize {
        // The window of an exposure on day d closes on day d + 1.
        let strata = |of: fn(&Arm) -> &Cells| -> Vec<Stratum> {
            (0..stages)
                .map(|stage| {
                    let [(n1, y1), (n0, y0)] = [treatment, control].map(|arm| until(of(arm), stage, day - 1));
                    super::draw::stratum(stage as u32 + 1, (y1, n1), (y0, n0))
                })
                .collect()
        };
        let (first, seen) = (strata(|arm| &arm.first), strata(|arm| &arm.seen));
        let one = [thrown_together(&first)];
        let pairs = [treatment, control].map(|arm| pairs_until(arm, day - 1));
        let counts = [
            Strata { strata: &one, ..Strata::default() },
            Strata { strata: &first, ..Strata::default() },
            Strata { strata: &seen, ..Strata::default() },
            Strata { strata: &seen, treatment_pairs: &pairs[0], control_pairs: &pairs[1] },
        ];
        for (days, counts) in days.iter_mut().zip(counts) {
            days.push(metric(counts));
        }
        let splits: Vec<Split> = (0..stages)
            .filter(|stage| stage * (plan.days as usize) < day)
            .map(|stage| {
                let whole = plan.shares[stage] + CONTROL;
                let observed = [treatment, control].map(|arm| until(&arm.seen, stage, day).0).to_vec();
                Split { shares: vec![plan.shares[stage] / whole, CONTROL / whole], observed }
            })
            .collect();
        let checked = check(&splits);
        alarm |= !checked.ok;
        product |= checked.per_stage.iter().filter_map(|stage| stage.ln_e).sum::<f64>() > 100_f64.ln();
        let sum: f64 = checked.per_stage.iter().filter_map(|stage| stage.chi_square).sum();
        chi_square |= chi_square_tail(sum, splits.len() as f64) < 0.01;
    }
    let tallies = [
        &mut found.first_ever_pooled,
        &mut found.first_ever_by_stage,
        &mut found.unclustered,
        &mut found.clustered,
    ];
    for (tally, days) in tallies.into_iter().zip(&days) {
        tally.run(days, 0.0);
    }
    found.srm.add(alarm);
    found.srm_product.add(product);
    found.srm_chi_square.add(chi_square);
}

#[test]
fn the_first_exposure_within_the_stage_is_the_one_that_counts() {
    let found = returning(&Plan::returning(), 400, "returning");
    let wrong = &found.first_ever_by_stage;
    assert!(wrong.decided.percent() >= 90.0 && wrong.points() > 3.0, "first-ever exposures lie: {wrong}");
    assert!(found.clustered.decided.percent() <= 5.5, "{}", found.clustered);
    assert!(found.clustered.points().abs() <= 0.15, "{}", found.clustered);
    assert!(found.clustered.covered.percent() >= 95.0, "{}", found.clustered);
    assert!(found.srm.percent() <= 1.0, "{}", found.srm);
}

#[test]
fn a_shopper_who_repeats_himself_does_not_count_ten_times() {
    let found = returning(&Plan::sticky(), 300, "sticky");
    assert!(found.unclustered.decided.percent() >= 12.0, "unclustered lies: {}", found.unclustered);
    assert!(found.unclustered.fixed_end.percent() >= 25.0, "{}", found.unclustered);
    assert!(found.clustered.decided.percent() <= 5.5, "{}", found.clustered);
    assert!(found.clustered.fixed_end.percent() <= 10.0, "{}", found.clustered);
    assert!(found.clustered.covered.percent() >= 95.0, "{}", found.clustered);
    assert!(found.srm.percent() <= 1.0, "{}", found.srm);
}
