//! Who was exposed: counts for metrics, and the exposures of units.

use super::error::StoreError;
use super::lent::both;
use super::{ExposureRow, Store};

/// How many units with a stored exposure to a variant of a flag there are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
pub struct ExposedUsersRow {
    /// The flag's number.
    pub flag: i64,
    /// The variant.
    pub variant: String,
    /// 0 control, 1 treatment, 2 fixed.
    pub arm: i64,
    /// How many units.
    pub users: i64,
}

impl Store {
    /// The counts of exposed units of an environment, as kept with each batch and each deletion; those that fell to
    /// zero are told too.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn exposed_users(&self, environment: i64) -> Result<Vec<ExposedUsersRow>, StoreError> {
        let mut lent = self.reader("exposed users").await?;
        both!(&mut lent, "exposed users", c => sqlx::query_as::<_, ExposedUsersRow>(
            "SELECT flag, variant, arm, users FROM exposed_users WHERE environment = $1
             ORDER BY flag, variant, arm")
            .bind(environment).fetch_all(c))
    }

    /// The same counts made anew from all exposures: slow, to check the others by.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn recount_exposed_users(&self, environment: i64) -> Result<Vec<ExposedUsersRow>, StoreError> {
        let mut lent = self.reader("recount of exposed users").await?;
        both!(&mut lent, "recount of exposed users", c => sqlx::query_as::<_, ExposedUsersRow>(
            "SELECT flag, variant, arm, count(DISTINCT unit) AS users FROM exposures WHERE environment = $1
             GROUP BY flag, variant, arm ORDER BY flag, variant, arm")
            .bind(environment).fetch_all(c))
    }

    /// The exposures of units, each given as unit attribute and unit.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn unit_exposures(
        &self,
        environment: i64,
        units: &[(&str, &str)],
    ) -> Result<Vec<ExposureRow>, StoreError> {
        let mut units = units.to_vec();
        units.sort_unstable();
        units.dedup();
        let units: Vec<_> = units.iter().map(|(k, u)| serde_json::json!({"k": k, "u": u})).collect();
        let units = serde_json::Value::from(units).to_string();
        let mut lent = self.reader("exposures of units").await?;
        let sql = lent.pick(
            "SELECT x.environment, x.unit, x.flag, x.stage, x.rule, x.unit_attribute, x.arm, x.variant, x.bucket,
                    x.at, x.captured
             FROM json_each($2) AS j CROSS JOIN exposures AS x
               ON x.environment = $1 AND x.unit = j.value ->> 'u' AND x.unit_attribute = j.value ->> 'k'
             ORDER BY x.unit, x.flag, x.stage, x.rule",
            "SELECT x.environment, x.unit, x.flag, x.stage, x.rule, x.unit_attribute, x.arm, x.variant, x.bucket,
                    x.at, x.captured
             FROM json_to_recordset($2::json) AS j(k text, u text)
             JOIN exposures AS x ON x.environment = $1 AND x.unit = j.u AND x.unit_attribute = j.k
             ORDER BY x.unit, x.flag, x.stage, x.rule",
        );
        both!(&mut lent, "exposures of units", c => sqlx::query_as::<_, ExposureRow>(sql)
            .bind(environment).bind(units.as_str()).fetch_all(c))
    }
}
