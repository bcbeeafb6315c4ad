//! Many comparisons at once.

/// Benjamini-Hochberg (Journal of the Royal Statistical Society B 57:289, 1995): each p-value adjusted for how many
/// there are, `min over j >= i of p_(j) m / j` in ascending order. Missing ones stay missing and do not count.
#[must_use]
pub fn adjust(p: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut known: Vec<(usize, f64)> =
        p.iter().enumerate().filter_map(|(at, p)| p.filter(|p| p.is_finite()).map(|p| (at, p))).collect();
    known.sort_by(|one, other| other.1.total_cmp(&one.1));
    let many = known.len();
    let mut adjusted = vec![None; p.len()];
    let mut least = 1.0_f64;
    for (passed, (at, p)) in known.into_iter().enumerate() {
        least = least.min(p * many as f64 / (many - passed) as f64);
        if let Some(place) = adjusted.get_mut(at) {
            *place = Some(least);
        }
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::adjust;

    #[test]
    fn missing_ones_stay_missing_and_do_not_count() {
        let adjusted = adjust(&[Some(0.04), None, Some(0.01), Some(f64::NAN)]);
        assert_eq!(adjusted, [Some(0.04), None, Some(0.02), None]);
        assert!(adjust(&[]).is_empty());
    }
}
