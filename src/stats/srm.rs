//! Sample ratio mismatch: did units arrive in the shares that the percentages say? All exposed units count, at once.

use crate::stats::figures::{Note, Why};
use crate::stats::special::{chi_square_tail, stirling_rest};

/// Under it the shares are not believed.
pub const LEVEL: f64 = 0.01;
/// What the prior is worth in units.
const STRENGTH: f64 = 1_000.0;

/// One stratum: what was expected and what came, in the same order of arms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Split {
    /// Expected shares; their sum is 1.
    pub shares: Vec<f64>,
    /// All units exposed, first within the stratum.
    pub observed: Vec<u64>,
}

/// What one stratum says.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitCheck {
    /// `sum (n - N pi)^2 / (N pi)`; `None` of nothing. Shown, never deciding.
    pub chi_square: Option<f64>,
    /// Its p-value, right at a single look.
    pub p_value: Option<f64>,
    /// `ln E` of the multinomial e-process; `None` where units came to an arm that has no share.
    pub ln_e: Option<f64>,
    /// What is missing or rough.
    pub notes: Vec<Note>,
}

/// What all strata of a flag say.
#[derive(Debug, Clone, PartialEq)]
pub struct Srm {
    /// One entry a stratum, in the same order.
    pub per_stage: Vec<SplitCheck>,
    /// Always valid: the least of `k (k + 1) / E_k`, at most 1.
    pub sequential_p: f64,
    /// `sequential_p` is over [`LEVEL`].
    pub ok: bool,
}

/// Checks strata in the order of their beginning. Evidence is neither multiplied nor summed over stages, as the same
/// shoppers come back; stage k gets the share `1 / (k (k + 1))` of the level instead.
#[must_use]
pub fn check(splits: &[Split]) -> Srm {
    let per_stage: Vec<SplitCheck> = splits.iter().map(check_one).collect();
    let each = per_stage.iter().zip(1_u32..).map(|(stage, k)| {
        let k = f64::from(k);
        stage.ln_e.map_or(0.0, |ln_e| ((k * (k + 1.0)).ln() - ln_e).exp())
    });
    let sequential_p = each.fold(1.0, f64::min);
    Srm { per_stage, sequential_p, ok: sequential_p > LEVEL }
}

/// Pearson's chi-square of one stratum (Philosophical Magazine 50:157, 1900), and its e-process ([`ln_e`]).
fn check_one(split: &Split) -> SplitCheck {
    let arms = || split.shares.iter().copied().zip(split.observed.iter().map(|n| *n as f64));
    let total: f64 = arms().map(|(_, n)| n).sum();
    let valid = |share: f64| (0.0..=1.0 + 1e-9).contains(&share);
    if !arms().all(|(share, _)| valid(share)) || split.shares.len() != split.observed.len() {
        let notes = ["chi_square", "p_value"].map(|field| Note { field, why: Why::InputInvalid }).to_vec();
        return SplitCheck { chi_square: None, p_value: None, ln_e: Some(0.0), notes };
    }
    if arms().any(|(share, n)| share <= 0.0 && n > 0.0) {
        let notes = ["chi_square", "p_value"].map(|field| Note { field, why: Why::Certain }).to_vec();
        return SplitCheck { chi_square: None, p_value: None, ln_e: None, notes };
    }
    let open = || arms().filter(|(share, _)| *share > 0.0);
    let arms_open = open().count();
    if total <= 0.0 || arms_open < 2 {
        let why = if total <= 0.0 { Why::NothingExposed } else { Why::NoControl };
        let notes = ["chi_square", "p_value"].map(|field| Note { field, why }).to_vec();
        return SplitCheck { chi_square: None, p_value: None, ln_e: Some(0.0), notes };
    }
    let chi_square = open().map(|(share, n)| (n - total * share).powi(2) / (total * share)).sum::<f64>();
    let few = open().any(|(share, _)| total * share < 5.0);
    SplitCheck {
        chi_square: Some(chi_square),
        p_value: Some(chi_square_tail(chi_square, (arms_open - 1) as f64)),
        ln_e: Some(ln_e(&open().collect::<Vec<_>>(), total)),
        notes: if few { vec![Note { field: "chi_square", why: Why::FewExpected }] } else { Vec::new() },
    }
}

/// `ln E` of the multinomial e-process (Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", 2022,
/// arXiv 2011.03567, section 2) with a Dirichlet(S pi) prior:
/// `ln G(S) - ln G(S+N) + sum [ln G(S pi + n) - ln G(S pi) - n ln pi]`. By Stirling's formula with its remainder, so
/// that its parts, each about N ln N, do not have to cancel.
fn ln_e(arms: &[(f64, f64)], total: f64) -> f64 {
    let grown = STRENGTH + total;
    let each = arms.iter().map(|(share, n)| {
        let (before, after) = (STRENGTH * share, STRENGTH * share + n);
        let surprise = (n - total * share) / (grown * share); // after / (grown share) - 1
        after * surprise.ln_1p() - 0.5 * (after / before).ln() + stirling_rest(after) - stirling_rest(before)
    });
    each.sum::<f64>() + 0.5 * (grown / STRENGTH).ln() + stirling_rest(STRENGTH) - stirling_rest(grown)
}

#[cfg(test)]
mod tests {
    use super::{Split, check};
    use crate::stats::figures::Why;

    fn split(shares: &[f64], observed: &[u64]) -> Split {
        Split { shares: shares.to_vec(), observed: observed.to_vec() }
    }

    #[test]
    fn units_where_none_can_be_are_certain() {
        let found = check(&[split(&[0.5, 0.5], &[100, 100]), split(&[1.0, 0.0], &[100, 1])]);
        assert!(!found.ok && found.sequential_p <= 0.0);
        assert!(found.per_stage[1].notes.iter().all(|note| note.why == Why::Certain));
    }

    #[test]
    fn later_stages_need_more_evidence() {
        let (fair, off) = (split(&[0.5, 0.5], &[500, 500]), split(&[0.5, 0.5], &[2_800, 2_500]));
        let first = check(&[off.clone(), fair.clone()]).sequential_p;
        let second = check(&[fair, off]).sequential_p;
        assert!(first < 1.0 && (second / first - 3.0).abs() < 1e-9, "{first} {second}");
    }

    #[test]
    fn nothing_is_no_mismatch() {
        for splits in
            [vec![], vec![split(&[0.5, 0.5], &[0, 0])], vec![split(&[1.0], &[7])], vec![split(&[0.5], &[])]]
        {
            let found = check(&splits);
            assert!(found.ok && found.sequential_p >= 1.0, "{splits:?}: {found:?}");
        }
        let few = check(&[split(&[0.9, 0.1], &[9, 1])]);
        assert_eq!(few.per_stage[0].notes[0].why, Why::FewExpected);
    }
}
