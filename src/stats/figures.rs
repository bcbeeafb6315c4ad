//! What figures look like when they leave: intervals, verdicts, and why something is missing.

/// From `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower limit.
    pub low: f64,
    /// The upper limit.
    pub high: f64,
}

impl Interval {
    /// `centre` -+ `half`; `None` where one of them is not a finite number.
    #[must_use]
    pub fn around(centre: f64, half: f64) -> Option<Self> {
        let made = Self { low: centre - half, high: centre + half };
        (made.low.is_finite() && made.high.is_finite()).then_some(made)
    }

    /// Cut to `low ..= high`, for what cannot lie outside.
    #[must_use]
    pub fn clip(self, low: f64, high: f64) -> Self {
        Self { low: self.low.clamp(low, high), high: self.high.clamp(low, high) }
    }
}

/// An interval with a side that may be unbounded (`None`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// The lower limit.
    pub low: Option<f64>,
    /// The upper limit; `None` where nothing bounds it.
    pub high: Option<f64>,
}

impl Span {
    /// Whether a side is unbounded.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.low.is_none() || self.high.is_none()
    }

    /// Both limits moved by `by`, as from a ratio to a lift.
    #[must_use]
    pub fn shift(self, by: f64) -> Self {
        Self { low: self.low.map(|low| low + by), high: self.high.map(|high| high + by) }
    }
}

/// Says why a figure is `None`, or what to know when reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The figure's name in the report.
    pub field: &'static str,
    /// The reason.
    pub why: Why,
}

/// Tells each reason as `by` tells it.
pub(crate) fn explain(notes: &mut [Note], by: impl Fn(Why) -> Why) {
    notes.iter_mut().for_each(|note| note.why = by(note.why));
}

/// Adds a note for each figure that is missing and has none.
pub(crate) fn note_missing(notes: &mut Vec<Note>, missing: &[(&'static str, bool)], why: Why) {
    for (field, _) in missing.iter().filter(|(_, is_missing)| *is_missing) {
        if !notes.iter().any(|note| note.field == *field) {
            notes.push(Note { field, why });
        }
    }
}

/// Why a figure is missing, or what to know about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// No unit was measured as control.
    NoControl,
    /// No unit came to this variant by percentage.
    NoTreatment,
    /// Variant and control were never open in the same stage.
    NoCommonStage,
    /// Nobody was exposed.
    NothingExposed,
    /// Units were exposed, but the windows that matter have not closed yet.
    Maturing,
    /// Only a rule's fixed variant was served.
    OnlyFixed,
    /// Units arrived in other shares than the percentages say.
    Srm,
    /// The goal is a stop of the entry itself, which control cannot reach.
    GoalInFunnel,
    /// Control has nothing to divide by.
    ControlZero,
    /// The variant has nothing to divide by.
    TreatmentZero,
    /// Nobody has a value.
    NoValues,
    /// The counts do not bound it on this side.
    Unbounded,
    /// Fewer than two units in an arm.
    FewUnits,
    /// All values are equal.
    NoVariance,
    /// Computed for the goal only.
    NotTheGoal,
    /// The arms did not grow in the last days.
    NoGrowth,
    /// No stage is open, so nobody joins.
    NotOpen,
    /// Not within a hundred years at the present pace.
    OutOfReach,
    /// Certain without a test: what cannot be, was seen.
    Certain,
    /// Some expected counts are under 5.
    FewExpected,
    /// A stage had one of the two arms only.
    StageLeftOut,
    /// A number that came in is not finite, or outside its range.
    InputInvalid,
}

impl Why {
    /// The stable word of the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoControl => "no_control",
            Self::NoTreatment => "no_treatment",
            Self::NoCommonStage => "no_common_stage",
            Self::NothingExposed => "nothing_exposed",
            Self::Maturing => "maturing",
            Self::OnlyFixed => "only_fixed",
            Self::Srm => "srm",
            Self::GoalInFunnel => "goal_in_funnel",
            Self::ControlZero => "control_zero",
            Self::TreatmentZero => "treatment_zero",
            Self::NoValues => "no_values",
            Self::Unbounded => "unbounded",
            Self::FewUnits => "few_units",
            Self::NoVariance => "no_variance",
            Self::NotTheGoal => "not_the_goal",
            Self::NoGrowth => "no_growth",
            Self::NotOpen => "not_open",
            Self::OutOfReach => "out_of_reach",
            Self::Certain => "certain",
            Self::FewExpected => "few_expected",
            Self::StageLeftOut => "stage_left_out",
            Self::InputInvalid => "input_invalid",
        }
    }

    /// One sentence for a person.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Self::NoControl => "no unit was measured as control: open with a control percentage to compare",
            Self::NoTreatment => "no unit came to this variant by percentage",
            Self::NoCommonStage => "variant and control were never open in the same stage",
            Self::NothingExposed => "nobody was exposed in this range",
            Self::Maturing => {
                "units were exposed, but the attribution windows that this waits for have not closed yet"
            }
            Self::OnlyFixed => "only a rule's fixed variant was served, which is never compared",
            Self::Srm => {
                "units arrived in other shares than the percentages say: find out why before reading the figures"
            }
            Self::GoalInFunnel => "the goal is a stop of the entry's own funnel, which control cannot reach",
            Self::ControlZero => "control has none of it, so there is nothing to divide by",
            Self::TreatmentZero => "the variant has none of it, so there is nothing to divide by",
            Self::NoValues => "nobody has a value",
            Self::Unbounded => "the counts do not bound it on this side",
            Self::FewUnits => "an arm has fewer than two units",
            Self::NoVariance => "all values are equal, so their spread is unknown",
            Self::NotTheGoal => "computed for the goal's overall comparison only",
            Self::NoGrowth => "no unit joined the comparison in the last days, so no date can be given",
            Self::NotOpen => "no stage is open, so nobody joins the comparison",
            Self::OutOfReach => "at the present pace it would take more than a hundred years",
            Self::Certain => "certain without a test: what cannot be, was seen",
            Self::FewExpected => "some expected counts are under 5, so the chi-square is rough",
            Self::StageLeftOut => "a stage had only one of the two arms and is left out",
            Self::InputInvalid => "a number that this is computed from is not valid",
        }
    }
}

/// What may be said of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The always-valid interval lies on the good side of 0.
    Better,
    /// It lies on the bad side.
    Worse,
    /// It holds 0.
    Undecided,
    /// There is nothing to compare, or it may not be believed.
    NoComparison,
}

impl Verdict {
    /// The stable word of the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Undecided => "undecided",
            Self::NoComparison => "no_comparison",
        }
    }
}
