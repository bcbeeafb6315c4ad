//! Shapes of what a report says of values and ratios.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use utoipa::ToSchema;

/// What one value of a metric's `by` adds or takes.
#[derive(ToSchema)]
pub(super) struct ByEntry {
    /// The value; `other` for all that are not listed.
    pub(super) value: String,
    /// The variant's rate, weighted over the stages.
    pub(super) treatment_rate: f64,
    /// Control's, with the same weights.
    pub(super) control_rate: f64,
    /// Their difference.
    pub(super) absolute_lift: f64,
}

/// A shape with fields of its own, and those that tell how far two means, or two ratios, are apart.
macro_rules! difference {
    ($(#[$of:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$of])*
        #[derive(ToSchema)]
        pub(super) struct $name {
            $($(#[$about])* pub(super) $field: $type,)*
            /// The variant's less control's.
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
    };
}

/// The same, with who is compared.
macro_rules! compared {
    ($(#[$of:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty,)* }) => {
        difference! {
            $(#[$of])*
            $name {
                /// The rule.
                rule: String,
                /// The variant.
                variant: String,
                /// Control's variant.
                baseline: String,
                /// The step.
                metric: String,
                /// Stages with both arms.
                stages_pooled: Vec<u32>,
                $($(#[$about])* $field: $type,)*
            }
        }
    };
}

compared! {
    /// Value per user of one currency against control.
    ValueRow {
        /// The currency, in whose minor unit all numbers are.
        currency: String,
        /// The variant's mean over its units.
        #[schema(required = true)]
        treatment_per_user: Option<f64>,
        /// Control's.
        #[schema(required = true)]
        control_per_user: Option<f64>,
        /// What was spent per event with a value.
        per_order: OrderValue,
        /// With large values cut; only where `cap` was asked for.
        #[schema(nullable = false)]
        capped: Option<CappedValue>,
    }
}

difference! {
    /// Value per order: each unit's orders belong together.
    OrderValue {
        /// The variant's mean over its orders.
        #[schema(required = true)]
        treatment_per_order: Option<f64>,
        /// Control's.
        #[schema(required = true)]
        control_per_order: Option<f64>,
    }
}

difference! {
    /// Value per user with what lies above one cap cut to it, in both arms and all stages.
    CappedValue {
        /// The quantile that was asked for, of what users spent that spent something.
        quantile: f64,
        /// The cap.
        #[schema(required = true)]
        cap: Option<f64>,
        /// The share of all value that is cut off.
        #[schema(required = true)]
        removed_share: Option<f64>,
        /// The share of the variant's.
        #[schema(required = true)]
        treatment_removed_share: Option<f64>,
        /// The share of control's.
        #[schema(required = true)]
        control_removed_share: Option<f64>,
        /// The variant's mean over its units.
        #[schema(required = true)]
        treatment_per_user: Option<f64>,
        /// Control's.
        #[schema(required = true)]
        control_per_user: Option<f64>,
    }
}

compared! {
    /// A ratio metric against control: events of one step per event of another.
    RatioRow {
        /// The step per whose events it is.
        per: String,
        /// The variant's ratio.
        #[schema(required = true)]
        treatment_ratio: Option<f64>,
        /// Control's.
        #[schema(required = true)]
        control_ratio: Option<f64>,
    }
}
