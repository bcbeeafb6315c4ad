//! Who was exposed: counts for metrics, and the exposures of units.

use sqlx::error::BoxDynError;

use super::bulk::{Bulk, Row, Values, column};
use super::error::StoreError;
use super::lent::{both, each};
use super::{ExposureRow, Store};

static OF_UNITS: Bulk = Bulk::new(
    "SELECT x.environment, x.unit, x.flag, x.stage, x.rule, x.unit_attribute, x.arm, x.variant, x.bucket, x.at, x.captured
     FROM (VALUES ",
    3,
    ") AS j CROSS JOIN exposures AS x
       ON x.environment = j.column1 AND x.unit = j.column2 AND x.unit_attribute = j.column3",
);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Asked<'a> {
    e: i64,
    u: &'a str,
    k: &'a str,
}

impl Row for Asked<'_> {
    fn add(&self, to: &mut Values) -> Result<(), BoxDynError> {
        to.add(self.e)?;
        to.add(self.u)?;
        to.add(self.k)
    }
}

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

    /// The exposures of units, each given as unit attribute and unit; by unit, flag, stage and rule.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn unit_exposures(
        &self,
        environment: i64,
        units: &[(&str, &str)],
    ) -> Result<Vec<ExposureRow>, StoreError> {
        let mut units: Vec<Asked<'_>> = units.iter().map(|(k, u)| Asked { e: environment, u, k }).collect();
        units.sort_unstable();
        units.dedup();
        let mut lent = self.reader("exposures of units").await?;
        let mut found: Vec<ExposureRow> = each!(&mut lent, "exposures of units",
            sqlite c => async {
                let mut found = Vec::new();
                for (sql, part) in OF_UNITS.parts(&units) {
                    let query = sqlx::query_as_with::<_, ExposureRow, _>(sql, OF_UNITS.arguments(part)?);
                    found.extend(query.fetch_all(&mut *c).await?);
                }
                Ok(found)
            },
            postgres c => sqlx::query_as::<_, ExposureRow>(
                "SELECT x.environment, x.unit, x.flag, x.stage, x.rule, x.unit_attribute, x.arm, x.variant, x.bucket,
                        x.at, x.captured
                 FROM UNNEST($2::text[], $3::text[]) AS j(u, k)
                 JOIN exposures AS x ON x.environment = $1 AND x.unit = j.u AND x.unit_attribute = j.k")
                .bind(environment)
                .bind(column(&units, |asked| asked.u))
                .bind(column(&units, |asked| asked.k))
                .fetch_all(c))?;
        found.sort_unstable_by(|a, b| {
            (&a.unit, a.flag, a.stage, &a.rule).cmp(&(&b.unit, b.flag, b.stage, &b.rule))
        });
        Ok(found)
    }
}
