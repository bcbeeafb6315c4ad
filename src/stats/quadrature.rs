//! Integrals of Beta densities in the logit `u = ln(x / (1 - x))`, where they are smooth, log-concave hills whatever
//! their shape: `x^a (1 - x)^b du`. Panels of sixteen Gauss-Legendre nodes, as wide as the hill is steep there. Unlike
//! the continued fraction of the incomplete beta function (statrs stops it after 140 terms, too early from about
//! 10,000 units on), the work does not grow with the counts.

use std::f64::consts::PI;
use std::sync::LazyLock;

/// Nodes of a panel.
const NODES: usize = 16;
/// A hill is left where it is `e^-40` of its top.
const DEPTH: f64 = 40.0;
/// Panels never wanted; only bounds the loop.
const PANELS_MAX: usize = 4_000;

/// Gauss-Legendre on -1 .. 1.
struct Rule {
    nodes: [f64; NODES],
    weights: [f64; NODES],
    /// Row i integrates the interpolating polynomial from -1 to node i.
    upto: [[f64; NODES]; NODES],
}

static RULE: LazyLock<Rule> = LazyLock::new(Rule::new);

/// `P_0(t) .. P_16(t)` (Abramowitz and Stegun 22.7.10).
fn legendre(t: f64) -> [f64; NODES + 1] {
    let (mut before, mut now, mut k) = (0.0, 1.0, 0.0);
    [(); NODES + 1].map(|()| {
        let value = now;
        (before, now) = (now, ((2.0 * k + 1.0) * t * now - k * before) / (k + 1.0));
        k += 1.0;
        value
    })
}

impl Rule {
    /// Nodes by Newton from the usual first guess, weights `2 (1 - t^2) / (n P_{n-1}(t))^2` (Abramowitz and Stegun
    /// 25.4.29), sums up to a node by expanding in Legendre polynomials.
    fn new() -> Self {
        let n = NODES as f64;
        let mut k = n;
        let nodes = [(); NODES].map(|()| {
            k -= 1.0;
            let mut t = (PI * (k + 0.75) / (n + 0.5)).cos();
            for _ in 0..8 {
                let [.., below, top] = legendre(t);
                t -= top * (t * t - 1.0) / (n * (t * top - below));
            }
            t
        });
        let weights = nodes.map(|t| {
            let [.., below, _] = legendre(t);
            2.0 * (1.0 - t * t) / (n * below).powi(2)
        });
        let upto = nodes.map(|t| {
            let at = legendre(t);
            // Integrals of P_k from -1 to t, times (2k + 1): t + 1, then P_{k+1} - P_{k-1}.
            let rises = || {
                std::iter::once(t + 1.0).chain(at.iter().skip(2).zip(&at).map(|(above, below)| above - below))
            };
            let mut column = nodes.iter().zip(&weights);
            [(); NODES].map(|()| {
                column.next().map_or(0.0, |(node, weight)| {
                    0.5 * weight * legendre(*node).iter().zip(rises()).map(|(p, rise)| p * rise).sum::<f64>()
                })
            })
        });
        Self { nodes, weights, upto }
    }
}

/// `h(d) = a d - (a + b) ln(1 + q (e^d - 1))`: the logarithm of `x^a (1 - x)^b` in the logit, `d` counted from the point
/// where `x = q`, where it is 0. `p` is `1 - q`, given apart so that neither loses its digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hill {
    pub(super) a: f64,
    pub(super) b: f64,
    pub(super) q: f64,
    pub(super) p: f64,
}

impl Hill {
    /// The same hill seen from the other side.
    fn mirror(&self) -> Self {
        Self { a: self.b, b: self.a, q: self.p, p: self.q }
    }

    pub(super) fn height(&self, d: f64) -> f64 {
        if self.q > self.p {
            return self.mirror().height(-d);
        }
        let grown =
            if d < 30.0 { (self.q * d.exp_m1()).ln_1p() } else { d + (self.q + self.p * (-d).exp()).ln() };
        self.a * d - (self.a + self.b) * grown
    }

    /// `x` and `1 - x` at `d`.
    fn shares(&self, d: f64) -> (f64, f64) {
        let (up, down) = if d < 0.0 { (self.q * d.exp(), self.p) } else { (self.q, self.p * (-d).exp()) };
        (up / (up + down), down / (up + down))
    }

    /// Where the hill is highest.
    pub(super) fn top(&self) -> f64 {
        (self.a / self.b).ln() - self.start()
    }

    /// The logit at `d` = 0. The function's nearest singularities lie where the logit is pi or -pi times i.
    fn start(&self) -> f64 {
        (self.q / self.p).ln()
    }

    /// How far a panel that begins at `d` may reach.
    fn reach(&self, d: f64) -> f64 {
        let (x, rest) = self.shares(d);
        let steep = (self.a * rest - self.b * x).abs() + ((self.a + self.b) * x * rest).sqrt();
        (3.0 / steep).min(0.5 * (d + self.start()).hypot(PI))
    }

    /// Borders of panels from `start` in the direction of `sign`, until the hill is [`DEPTH`] below `summit` or `end`.
    fn walk(&self, start: f64, sign: f64, summit: f64, end: Option<f64>) -> Vec<f64> {
        let (mut borders, mut at) = (vec![start], start);
        while borders.len() < PANELS_MAX {
            at += sign * self.reach(at);
            match end {
                Some(end) if (end - at) * sign <= 0.0 => {
                    borders.push(end);
                    break;
                }
                _ => borders.push(at),
            }
            if self.height(at) < summit - DEPTH {
                break;
            }
        }
        borders
    }

    /// `ln` of the integral of `exp(h)` over `d > 0`.
    pub(super) fn ln_right(&self) -> f64 {
        let top = self.top().max(0.0);
        let summit = self.height(top);
        let mut borders = self.walk(top, 1.0, summit, None);
        if top > 0.0 {
            borders.extend(self.walk(top, -1.0, summit, Some(0.0)));
        }
        sort(&mut borders);
        summit + panels(&borders, |d| (self.height(d) - summit).exp()).ln()
    }

    /// `ln` of the integral of `exp(h)` over `d < 0`.
    pub(super) fn ln_left(&self) -> f64 {
        self.mirror().ln_right()
    }
}

fn sort(borders: &mut Vec<f64>) {
    borders.sort_by(f64::total_cmp);
    borders.dedup();
}

/// Every panel's middle and half width.
fn pieces(borders: &[f64]) -> impl Iterator<Item = (f64, f64)> + '_ {
    borders.iter().zip(borders.iter().skip(1)).map(|(from, to)| (0.5 * (from + to), 0.5 * (to - from)))
}

fn panels(borders: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let rule = &*RULE;
    let panel = |(middle, half): (f64, f64)| {
        half * rule
            .nodes
            .iter()
            .zip(&rule.weights)
            .map(|(t, weight)| weight * f(middle + half * t))
            .sum::<f64>()
    };
    pieces(borders).map(panel).sum()
}

/// A Beta(a, b) density in the logit, `a` and `b` at least 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Density {
    hill: Hill,
    /// The logit of the mode.
    mode: f64,
    ln_peak: f64,
}

impl Density {
    pub(super) fn new(a: f64, b: f64) -> Self {
        let n = a + b;
        // Stirling's formula with its remainder (see `special`): the large parts of ln B(a, b) cancel.
        let rest = super::special::stirling_rest;
        let ln_peak = 0.5 * (a / n * b / (2.0 * PI)).ln() - rest(a) - rest(b) + rest(n);
        Self { hill: Hill { a, b, q: a / n, p: b / n }, mode: (a / b).ln(), ln_peak }
    }

    fn at(&self, u: f64) -> f64 {
        let drop = self.hill.height(u - self.mode);
        if drop < -DEPTH - 20.0 { 0.0 } else { (drop + self.ln_peak).exp() }
    }

    fn borders(&self) -> impl Iterator<Item = f64> {
        let sides = [1.0, -1.0].map(|sign| self.hill.walk(0.0, sign, 0.0, None));
        let mode = self.mode;
        sides.into_iter().flatten().map(move |d| d + mode)
    }
}

/// What two densities, cumulated side by side, come to.
pub(super) struct Duel {
    /// Integral of the first's density times the second's distribution.
    pub(super) first_larger: f64,
    /// Integral of F1 (1 - F0) over x.
    pub(super) shortfall: f64,
}

/// Both densities cumulated over the panels of both.
pub(super) fn duel(first: &Density, second: &Density) -> Duel {
    let rule = &*RULE;
    let mut borders: Vec<f64> = first.borders().chain(second.borders()).collect();
    sort(&mut borders);
    let mut sums = Duel { first_larger: 0.0, shortfall: 0.0 };
    let (mut below_first, mut below_second) = (0.0, 0.0);
    for (middle, half) in pieces(&borders) {
        let nodes = rule.nodes.map(|t| middle + half * t);
        let [f1, f0] = [first, second].map(|density| nodes.map(|u| density.at(u)));
        let upto =
            |row: &[f64; NODES], f: &[f64; NODES]| half * row.iter().zip(f).map(|(w, f)| w * f).sum::<f64>();
        let each = rule.upto.iter().zip(&rule.weights).zip(nodes.iter().zip(&f1));
        for ((row, weight), (u, density)) in each {
            let (under_first, under_second) = (below_first + upto(row, &f1), below_second + upto(row, &f0));
            let e = (-u.abs()).exp();
            sums.first_larger += half * weight * density * under_second;
            sums.shortfall +=
                half * weight * under_first * (1.0 - under_second) * e / ((1.0 + e) * (1.0 + e));
        }
        below_first += upto(&rule.weights, &f1);
        below_second += upto(&rule.weights, &f0);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::{Density, Hill, RULE, panels, sort};

    #[test]
    fn the_rule_is_exact_for_polynomials() {
        let rule = &*RULE;
        for power in 0..16_i32 {
            let whole: f64 = rule.nodes.iter().zip(&rule.weights).map(|(t, w)| w * t.powi(power)).sum();
            let even = if power % 2 == 0 { 2.0 } else { 0.0 };
            assert!((whole - even / f64::from(power + 1)).abs() < 1e-14, "{power}: {whole}");
            for (row, t) in rule.upto.iter().zip(&rule.nodes) {
                let part: f64 = row.iter().zip(&rule.nodes).map(|(w, t)| w * t.powi(power)).sum();
                let true_part = (t.powi(power + 1) - (-1_f64).powi(power + 1)) / f64::from(power + 1);
                assert!((part - true_part).abs() < 1e-14, "{power} up to {t}: {part} {true_part}");
            }
        }
    }

    #[test]
    fn every_density_holds_one() {
        for (a, b) in [(1.0, 1.0), (1.0, 1e9), (1.3, 2.5), (5e8, 5e8), (133.0, 881.0), (1e6, 1.0)] {
            let density = Density::new(a, b);
            let mut borders: Vec<f64> = density.borders().collect();
            sort(&mut borders);
            let mass = panels(&borders, |u| density.at(u));
            assert!((mass - 1.0).abs() < 1e-12, "Beta({a}, {b}): {mass}");
        }
    }

    #[test]
    fn both_halves_make_the_whole() {
        // B(a, b) = integral of x^a (1-x)^b du; at a = b = 1 it is 1, and h is counted from q (1 - q).
        for q in [1e-6, 0.3, 0.999] {
            let hill = Hill { a: 1.0, b: 1.0, q, p: 1.0 - q };
            let whole = (hill.ln_left().exp() + hill.ln_right().exp()) * q * (1.0 - q);
            assert!((whole - 1.0).abs() < 1e-9, "{q}: {whole}");
        }
    }
}
