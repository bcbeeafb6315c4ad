//! Shapes of what a report says of values and ratios.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use utoipa::ToSchema;

/// Value per user of one currency against control.
#[derive(ToSchema)]
pub(super) struct ValueRow {
    /// The rule.
    pub(super) rule: String,
    /// The variant.
    pub(super) variant: String,
    /// Control's variant.
    pub(super) baseline: String,
    /// The step.
    pub(super) metric: String,
    /// The currency, in whose minor unit all numbers are.
    pub(super) currency: String,
    /// Stages with both arms.
    pub(super) stages_pooled: Vec<u32>,
    /// The variant's mean over its units.
    #[schema(required = true)]
    pub(super) treatment_per_user: Option<f64>,
    /// Control's.
    #[schema(required = true)]
    pub(super) control_per_user: Option<f64>,
    /// Their difference.
    #[schema(required = true)]
    pub(super) difference: Option<f64>,
    /// Its interval, right if this is the only look.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) difference_ci: Option<Vec<f64>>,
    /// Their ratio less 1.
    #[schema(required = true)]
    pub(super) relative_lift: Option<f64>,
    /// Its interval.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) relative_ci: Option<Vec<Option<f64>>>,
    /// Right if this is the only look.
    #[schema(required = true)]
    pub(super) p_value: Option<f64>,
    /// The difference's interval, right however often you look.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) always_valid_ci: Option<Vec<f64>>,
    /// Right however often you look.
    #[schema(required = true)]
    pub(super) always_valid_p: Option<f64>,
}

/// A ratio metric against control: events of one step per event of another.
#[derive(ToSchema)]
pub(super) struct RatioRow {
    /// The rule.
    pub(super) rule: String,
    /// The variant.
    pub(super) variant: String,
    /// Control's variant.
    pub(super) baseline: String,
    /// The step.
    pub(super) metric: String,
    /// The step per whose events it is.
    pub(super) per: String,
    /// Stages with both arms.
    pub(super) stages_pooled: Vec<u32>,
    /// The variant's ratio.
    #[schema(required = true)]
    pub(super) treatment_ratio: Option<f64>,
    /// Control's.
    #[schema(required = true)]
    pub(super) control_ratio: Option<f64>,
    /// Their difference.
    #[schema(required = true)]
    pub(super) difference: Option<f64>,
    /// Its interval, right if this is the only look.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) difference_ci: Option<Vec<f64>>,
    /// Their ratio less 1.
    #[schema(required = true)]
    pub(super) relative_lift: Option<f64>,
    /// Its interval.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) relative_ci: Option<Vec<Option<f64>>>,
    /// Right if this is the only look.
    #[schema(required = true)]
    pub(super) p_value: Option<f64>,
    /// The difference's interval, right however often you look.
    #[schema(required = true, min_items = 2, max_items = 2)]
    pub(super) always_valid_ci: Option<Vec<f64>>,
    /// Right however often you look.
    #[schema(required = true)]
    pub(super) always_valid_p: Option<f64>,
}
