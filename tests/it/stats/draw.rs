//! Seeded draws, tallies, and the questions that the simulations ask of `huidu::stats`.

use huidu::stats::compare::{Better, Comparison, Question, Role, compare};
use huidu::stats::counts::{Count, Strata, Stratum};
use huidu::stats::figures::Verdict;
use rand_distr::{Binomial, Distribution as _};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::SeedableRng as _;

/// The generator of a simulation: the same in every run, another for each name.
pub(crate) fn generator(name: &str) -> Pcg64 {
    let mixed =
        name.bytes().fold(20_261_123_u64, |mixed, byte| mixed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Pcg64::seed_from_u64(mixed)
}

/// How many of `n` with chance `p` each.
pub(crate) fn binomial(rng: &mut Pcg64, n: u64, p: f64) -> u64 {
    Binomial::new(n, p.clamp(0.0, 1.0)).unwrap().sample(rng)
}

/// How many of `n` fall to each share; shares may sum to less than 1.
pub(crate) fn multinomial(rng: &mut Pcg64, n: u64, shares: &[f64]) -> Vec<u64> {
    let (mut left, mut rest) = (n, 1.0);
    shares
        .iter()
        .map(|share| {
            let drawn = if rest > 1e-12 { binomial(rng, left, share / rest) } else { left };
            left -= drawn;
            rest -= share;
            drawn
        })
        .collect()
}

/// In how many runs something happened.
#[derive(Default, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) hits: u32,
    pub(crate) runs: u32,
}

impl Share {
    pub(crate) fn add(&mut self, hit: bool) {
        self.runs += 1;
        self.hits += u32::from(hit);
    }

    pub(crate) fn percent(self) -> f64 {
        100.0 * f64::from(self.hits) / f64::from(self.runs)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} %", self.percent())
    }
}

pub(crate) fn stratum(stage: u32, treatment: (u64, u64), control: (u64, u64)) -> Stratum {
    let count = |(converted, units)| Count { units, converted };
    Stratum { stage, treatment: count(treatment), control: count(control) }
}

/// The comparison as a metric: all that decides, without the posteriors, which decide nothing.
pub(crate) fn metric(counts: Strata<'_>) -> Comparison {
    asked(counts, Role::Metric)
}

pub(crate) fn asked(counts: Strata<'_>, role: Role) -> Comparison {
    compare(&Question {
        counts,
        maturing_users: 0,
        role,
        better: Better::More,
        treatments: 1,
        srm_ok: true,
        margin: None,
        min_effect: 0.05,
        pace: None,
        window_hours: 24,
    })
}

pub(crate) fn decided(found: &Comparison) -> bool {
    matches!(found.verdict, Verdict::Better | Verdict::Worse)
}

/// What a method said over many runs, each looked at every day.
#[derive(Default, Clone)]
pub(crate) struct Tally {
    /// Day by day, every run's difference in points, where there was one.
    pub(crate) by_day: Vec<Vec<f64>>,
    /// The single-look p-value is under 5 % on the last day.
    pub(crate) fixed_end: Share,
    /// It is on some day.
    pub(crate) fixed_daily: Share,
    /// The verdict is "better" or "worse" on some day.
    pub(crate) decided: Share,
    /// The always-valid interval holds the truth on all days.
    pub(crate) covered: Share,
}

impl Tally {
    /// One run: all its days in order.
    pub(crate) fn run(&mut self, days: &[Comparison], truth: f64) {
        let significant = |found: &Comparison| found.p_value.is_some_and(|p| p < 0.05);
        let covers =
            |found: &Comparison| found.always_valid_ci.is_none_or(|ci| ci.low <= truth && truth <= ci.high);
        let last = days.last().unwrap();
        self.by_day.resize(days.len(), Vec::new());
        for (day, found) in self.by_day.iter_mut().zip(days) {
            day.extend(found.absolute_lift.map(|lift| 100.0 * lift));
        }
        self.fixed_end.add(significant(last));
        self.fixed_daily.add(days.iter().any(significant));
        self.decided.add(days.iter().any(decided));
        self.covered.add(days.iter().all(covers));
    }

    /// Mean difference on the last day, in points.
    pub(crate) fn points(&self) -> f64 {
        let last = self.by_day.last().unwrap();
        last.iter().sum::<f64>() / last.len() as f64
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fixed_end, fixed_daily, decided, covered, .. } = self;
        let points = self.points();
        write!(f, "{points:+.2} points | {fixed_end} | {fixed_daily} | {decided} | covers {covered}")
    }
}
