//! What goes in: counts of matured units, a stratum being one (stage, rule).

use crate::stats::figures::Why;
use crate::stats::stratified::{Cell, Link, Row};

/// Units of one arm in one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Units exposed.
    pub units: u64,
    /// Of those, converted within the window.
    pub converted: u64,
}

impl Count {
    /// Share of units that converted; 0 of none.
    #[must_use]
    pub fn rate(self) -> f64 {
        if self.units == 0 { 0.0 } else { self.converted.min(self.units) as f64 / self.units as f64 }
    }

    /// As moments: of zeros and ones, the sum of squares is the sum.
    pub(crate) fn cell(self) -> Cell {
        let converted = self.converted.min(self.units) as f64;
        Cell { units: self.units as f64, sum: converted, squares: converted }
    }
}

/// Variant and control in one stage of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stratum {
    /// The stage's number.
    pub stage: u32,
    /// The variant's units.
    pub treatment: Count,
    /// Control's units.
    pub control: Count,
}

/// Units of one arm that are in two strata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pair {
    /// Index of the one stratum.
    pub earlier: usize,
    /// Index of the other; not `earlier`.
    pub later: usize,
    /// Units in both.
    pub units: u64,
    /// Of those, converted in the earlier one.
    pub earlier_converted: u64,
    /// Of those, converted in the later one.
    pub later_converted: u64,
    /// Of those, converted in both.
    pub both_converted: u64,
}

impl Pair {
    fn link(&self) -> Link {
        Link {
            earlier: self.earlier,
            later: self.later,
            units: self.units as f64,
            earlier_sum: self.earlier_converted as f64,
            later_sum: self.later_converted as f64,
            products: self.both_converted as f64,
        }
    }
}

/// Everything that a comparison of proportions needs: strata, and who is in two of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strata<'a> {
    /// One entry a stage; those with one arm only give nothing.
    pub strata: &'a [Stratum],
    /// The variant's units that are in two strata.
    pub treatment_pairs: &'a [Pair],
    /// Control's.
    pub control_pairs: &'a [Pair],
}

/// What explains an arm without matured units: windows that are open, or that only testers came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// The variant's units whose window is open.
    pub treatment: u64,
    /// Control's.
    pub control: u64,
    /// Whether some stratum has units of both arms, those with open windows counted.
    pub together: bool,
    /// Whether all units came by a rule's fixed variant.
    pub only_fixed: bool,
}

impl Waiting {
    /// Why there is nothing, where `why` is what matured units alone say.
    #[must_use]
    pub fn explains(self, why: Why) -> Why {
        match why {
            Why::NothingExposed if self.only_fixed => Why::OnlyFixed,
            Why::NothingExposed if self.treatment > 0 || self.control > 0 => Why::Maturing,
            Why::NoControl if self.control > 0 => Why::Maturing,
            Why::NoTreatment if self.treatment > 0 => Why::Maturing,
            Why::NoCommonStage if self.together => Why::Maturing,
            why => why,
        }
    }
}

impl Strata<'_> {
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.strata
            .iter()
            .map(|stratum| Row { treatment: stratum.treatment.cell(), control: stratum.control.cell() })
            .collect()
    }

    /// Why no stratum has both arms.
    pub(crate) fn why_nothing(&self) -> Why {
        let has = |of: fn(&Stratum) -> Count| self.strata.iter().any(|stratum| of(stratum).units > 0);
        match (has(|stratum| stratum.treatment), has(|stratum| stratum.control)) {
            (false, false) => Why::NothingExposed,
            (true, false) => Why::NoControl,
            (false, true) => Why::NoTreatment,
            (true, true) => Why::NoCommonStage,
        }
    }

    pub(crate) fn links(&self) -> [Vec<Link>; 2] {
        [self.treatment_pairs, self.control_pairs].map(|pairs| pairs.iter().map(Pair::link).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Waiting;
    use crate::stats::figures::Why;

    #[test]
    fn who_is_waited_for_is_not_missing() {
        let nobody = Waiting::default();
        let treatment = Waiting { treatment: 3, ..nobody };
        let control = Waiting { control: 3, ..nobody };
        for (waiting, why, told) in [
            (nobody, Why::NothingExposed, Why::NothingExposed),
            (treatment, Why::NothingExposed, Why::Maturing),
            (control, Why::NothingExposed, Why::Maturing),
            (treatment, Why::NoControl, Why::NoControl),
            (control, Why::NoControl, Why::Maturing),
            (control, Why::NoTreatment, Why::NoTreatment),
            (treatment, Why::NoTreatment, Why::Maturing),
            (treatment, Why::NoCommonStage, Why::NoCommonStage),
            (Waiting { together: true, ..treatment }, Why::NoCommonStage, Why::Maturing),
            (Waiting { only_fixed: true, ..nobody }, Why::NothingExposed, Why::OnlyFixed),
            (Waiting { together: true, ..treatment }, Why::ControlZero, Why::ControlZero),
        ] {
            assert_eq!(waiting.explains(why), told, "{waiting:?}");
        }
    }
}
