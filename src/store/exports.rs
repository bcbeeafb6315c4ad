//! Events of one flag in the order of their times, page by page: what exports read.
//!
//! Nothing is held between pages. Whoever goes on from the last row's place meets every row that was there all the
//! time exactly once; one that arrives late, with an earlier time, may be missed.

use super::error::StoreError;
use super::lent::both;
use super::{ExposureRow, Store};

/// Which events: of one flag, within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSpan {
    /// The environment's number.
    pub environment: i64,
    /// The flag's number.
    pub flag: i64,
    /// Events before this time, in milliseconds since 1970.
    pub until_ms: i64,
}

/// After which exposure to go on. The order is that of these fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExposurePlace {
    /// When it happened, in milliseconds since 1970.
    pub at: i64,
    /// The unit.
    pub unit: String,
    /// The stage.
    pub stage: i64,
    /// The rule.
    pub rule: String,
}

/// After which step to go on. The order is that of these fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepPlace {
    /// When it happened, in milliseconds since 1970.
    pub at: i64,
    /// The unit.
    pub unit: String,
    /// What kind of unit it is.
    pub unit_attribute: String,
    /// The step's key.
    pub step: String,
    /// The event's id.
    pub id: String,
}

/// Which steps of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepsOf {
    /// The flag's own stops.
    Funnel,
    /// Metric steps of the environment, which belong to no flag.
    Metrics,
}

/// A stored step with its unit.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TimedStep {
    /// The unit.
    pub unit: String,
    /// What kind of unit it is.
    pub unit_attribute: String,
    /// The step's key.
    pub step: String,
    /// The event's id.
    pub id: String,
    /// The flag's number, for a funnel stop.
    pub flag: Option<i64>,
    /// The stage, for a funnel stop.
    pub stage: Option<i64>,
    /// The rule, for a funnel stop.
    pub rule: Option<String>,
    /// An amount in the currency's minor unit.
    pub value: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// The order.
    pub order_id: Option<String>,
    /// When it happened, in milliseconds since 1970.
    pub at: i64,
    /// Attributes, as JSON.
    pub attributes: Option<String>,
    /// 1 where the unit was exposed to the flag at or before it; of a funnel stop always 1.
    pub exposed: i64,
}

impl ExposurePlace {
    /// Before every exposure at `at` or later.
    #[must_use]
    pub fn before(at: i64) -> Self {
        Self { at, unit: String::new(), stage: 0, rule: String::new() }
    }

    /// That of an exposure.
    #[must_use]
    pub fn of(row: &ExposureRow) -> Self {
        Self { at: row.at, unit: row.unit.clone(), stage: row.stage, rule: row.rule.clone() }
    }
}

impl StepPlace {
    /// Before every step at `at` or later.
    #[must_use]
    pub fn before(at: i64) -> Self {
        let none = String::new;
        Self { at, unit: none(), unit_attribute: none(), step: none(), id: none() }
    }

    /// That of a step.
    #[must_use]
    pub fn of(row: &TimedStep) -> Self {
        Self {
            at: row.at,
            unit: row.unit.clone(),
            unit_attribute: row.unit_attribute.clone(),
            step: row.step.clone(),
            id: row.id.clone(),
        }
    }
}

impl Store {
    /// Exposures to a flag, oldest first, after a place.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn exposures_by_time(
        &self,
        span: EventSpan,
        after: &ExposurePlace,
        limit: i64,
    ) -> Result<Vec<ExposureRow>, StoreError> {
        let mut lent = self.reader("exposures by time").await?;
        both!(&mut lent, "exposures by time", c => sqlx::query_as::<_, ExposureRow>(
            "SELECT environment, unit, flag, stage, rule, unit_attribute, arm, variant, bucket, at, captured
             FROM exposures WHERE environment = $1 AND flag = $2 AND at < $3
               AND (at, unit, stage, rule) > ($4, $5, $6, $7) ORDER BY at, unit, stage, rule LIMIT $8")
            .bind(span.environment).bind(span.flag).bind(span.until_ms)
            .bind(after.at).bind(after.unit.as_str()).bind(after.stage).bind(after.rule.as_str())
            .bind(limit).fetch_all(c))
    }

    /// Steps, oldest first, after a place. Metric steps are told whether or not their unit was exposed to the flag, so
    /// that a page is short work however few were.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn steps_by_time(
        &self,
        span: EventSpan,
        of: StepsOf,
        after: &StepPlace,
        limit: i64,
    ) -> Result<Vec<TimedStep>, StoreError> {
        let owner = match of {
            StepsOf::Funnel => span.flag,
            StepsOf::Metrics => 0,
        };
        let mut lent = self.reader("steps by time").await?;
        both!(&mut lent, "steps by time", c => sqlx::query_as::<_, TimedStep>(
            "SELECT unit, unit_attribute, step, id, flag, stage, rule, value, currency, order_id, at, attributes,
                    CAST(CASE WHEN flag IS NOT NULL THEN 1
                              WHEN EXISTS (SELECT 1 FROM exposures AS x
                                           WHERE x.environment = s.environment AND x.unit = s.unit AND x.flag = $2
                                             AND x.unit_attribute = s.unit_attribute AND x.at + 0 <= s.at) THEN 1
                              ELSE 0 END AS BIGINT) AS exposed
             FROM steps AS s WHERE environment = $1 AND COALESCE(flag, 0) = $3 AND at < $4
               AND (at, unit, unit_attribute, step, id) > ($5, $6, $7, $8, $9)
             ORDER BY at, unit, unit_attribute, step, id LIMIT $10")
            .bind(span.environment).bind(span.flag).bind(owner).bind(span.until_ms)
            .bind(after.at).bind(after.unit.as_str()).bind(after.unit_attribute.as_str())
            .bind(after.step.as_str()).bind(after.id.as_str()).bind(limit).fetch_all(c))
    }
}
