//! Notes: what to know about a figure, or why it is missing.

use serde_json::{Value, json};

use crate::stats::figures::Why;

macro_rules! told {
    ($(#[doc = $doc:literal] $name:ident $word:literal;)*) => {
        /// What a note can say beside the reasons of statistics ([`Why`]).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Told {
            $(#[doc = $doc] $name,)*
        }

        impl Told {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

told! {
    /// Hours have late events, or windows that closed, which are not counted yet.
    HoursWaiting "hours_waiting";
    /// The flag names no goal.
    NoGoal "no_goal";
    /// The range ends before it begins.
    RangeEmpty "range_empty";
    /// Units changed arm or variant between stages.
    SwitchedUnits "switched_units";
    /// Exposures name a stage that is not stored.
    StageUnknown "stage_unknown";
    /// Nobody reached the stop before.
    NobodyBefore "nobody_before";
    /// Nobody was seen at this stop after the one before it.
    NoTimes "no_times";
    /// Rates of a series are null where windows are open.
    NullRates "null_rates";
    /// Days of a zone begin within an hour of UTC.
    DayNotOnTheHour "day_not_on_the_hour";
}

/// Notes of one answer, by the place that they speak of.
#[derive(Debug, Clone, Default)]
pub struct Notes(Vec<Value>);

impl Notes {
    /// Adds one of a place of the answer.
    pub fn add(&mut self, pointer: &str, told: Told, detail: &str) {
        self.push(pointer, told.as_str(), detail);
    }

    /// Adds what statistics say of `field` below `pointer`.
    pub fn why(&mut self, pointer: &str, field: &str, why: Why) {
        self.push(&format!("{pointer}/{field}"), why.as_str(), why.detail());
    }

    fn push(&mut self, pointer: &str, code: &str, detail: &str) {
        self.0.push(json!({"pointer": pointer, "code": code, "detail": detail}));
    }

    /// As JSON.
    #[must_use]
    pub fn json(self) -> Value {
        Value::Array(self.0)
    }
}
