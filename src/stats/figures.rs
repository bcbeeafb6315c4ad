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

macro_rules! reasons {
    ($(#[doc = $doc:literal] $name:ident $word:literal $detail:literal;)*) => {
        /// Why a figure is missing, or what to know about it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Why {
            $(#[doc = $doc] $name,)*
        }

        impl Why {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable word of the report.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// One sentence for a person.
            #[must_use]
            pub fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)* }
            }
        }
    };
}

reasons! {
    /// No unit was measured as control.
    NoControl "no_control" "no unit was measured as control: open with a control percentage to compare";
    /// No unit came to this variant by percentage.
    NoTreatment "no_treatment" "no unit came to this variant by percentage";
    /// Variant and control were never open in the same stage.
    NoCommonStage "no_common_stage" "variant and control were never open in the same stage";
    /// Nobody was exposed.
    NothingExposed "nothing_exposed" "nobody was exposed in this range";
    /// Units were exposed, but the windows that matter have not closed yet.
    Maturing "maturing" "units were exposed, but the attribution windows that this waits for have not closed yet";
    /// Only a rule's fixed variant was served.
    OnlyFixed "only_fixed" "only a rule's fixed variant was served, which is never compared";
    /// Units arrived in other shares than the percentages say.
    Srm "srm" "units arrived in other shares than the percentages say: find out why before reading the figures";
    /// The goal is a stop of the entry itself, which control cannot reach.
    GoalInFunnel "goal_in_funnel" "the goal is a stop of the entry's own funnel, which control cannot reach";
    /// Control has nothing to divide by.
    ControlZero "control_zero" "control has none of it, so there is nothing to divide by";
    /// The variant has nothing to divide by.
    TreatmentZero "treatment_zero" "the variant has none of it, so there is nothing to divide by";
    /// Nobody has a value.
    NoValues "no_values" "nobody has a value";
    /// The counts do not bound it on this side.
    Unbounded "unbounded" "the counts do not bound it on this side";
    /// Fewer than two units in an arm.
    FewUnits "few_units" "an arm has fewer than two units";
    /// All values are equal.
    NoVariance "no_variance" "all values are equal, so their spread is unknown";
    /// Computed for the goal only.
    NotTheGoal "not_the_goal" "computed for the goal's overall comparison only";
    /// The arms did not grow in the last days.
    NoGrowth "no_growth" "no unit joined the comparison in the last days, so no date can be given";
    /// No stage is open, so nobody joins.
    NotOpen "not_open" "no stage is open, so nobody joins the comparison";
    /// Not within a hundred years at the present pace.
    OutOfReach "out_of_reach" "at the present pace it would take more than a hundred years";
    /// Certain without a test: what cannot be, was seen.
    Certain "certain" "certain without a test: what cannot be, was seen";
    /// Some expected counts are under 5.
    FewExpected "few_expected" "some expected counts are under 5, so the chi-square is rough";
    /// A stage had one of the two arms only.
    StageLeftOut "stage_left_out" "a stage had only one of the two arms and is left out";
    /// A number that came in is not finite, or outside its range.
    InputInvalid "input_invalid" "a number that this is computed from is not valid";
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Better, Self::Worse, Self::Undecided, Self::NoComparison];

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
