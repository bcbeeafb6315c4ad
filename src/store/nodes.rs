//! The instances that share this database, and what each decides by. Who lives is told by the database's clock, since
//! theirs may differ.

use std::time::Duration;

use super::Store;
use super::error::StoreError;
use super::lent::{both, run};

/// Silence after which an instance counts as gone.
pub const NODE_LIVES: Duration = Duration::from_secs(15);
/// Milliseconds for which it is kept who reached a number when.
const KEPT_MS: i64 = 86_400_000;

/// That an instance began to decide by a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachedRow {
    /// The environment.
    pub environment: i64,
    /// The snapshot number.
    pub number: i64,
    /// When, by the instance's clock.
    pub at: i64,
    /// Open pages that it told so far.
    pub pages: i64,
}

/// A living instance, and when it reached what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NodeReachedRow {
    /// The instance's name.
    pub node: String,
    /// The first number of those asked for that it decided by; `None`: none yet.
    pub number: Option<i64>,
    /// When, by the instance's clock.
    pub at: Option<i64>,
    /// Open pages that it told of that number.
    pub pages: Option<i64>,
}

/// A change of a flag: the number that it took, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct ChangeAt {
    /// The snapshot number.
    pub number: i64,
    /// When, milliseconds since 1970.
    pub at: i64,
}

impl Store {
    /// Writes down that an instance lives, and the numbers that it reached.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn beat(&self, node: &str, started_at: i64, reached: &[ReachedRow]) -> Result<(), StoreError> {
        let mut lent = self.write_transaction("note an instance", self.deadlines.write).await?;
        let sql = lent.pick(
            "INSERT INTO nodes (node, started_at, seen_at) VALUES ($1, $2, CAST(unixepoch('subsec') * 1000 AS INTEGER))
             ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at",
            "INSERT INTO nodes (node, started_at, seen_at)
             VALUES ($1, $2, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT))
             ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at",
        );
        run!(&mut lent, "note an instance", sqlx::query(sql).bind(node).bind(started_at))?;
        for row in reached {
            run!(
                &mut lent,
                "note a number reached",
                sqlx::query(
                    "INSERT INTO reached (environment, node, number, at, pages) VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT (environment, node, number) DO UPDATE SET pages = excluded.pages"
                )
                .bind(row.environment)
                .bind(node)
                .bind(row.number)
                .bind(row.at)
                .bind(row.pages)
            )?;
        }
        lent.commit().await
    }

    /// The living instances in order of name, each with the first number from `number` on that it decided by.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn nodes_reached(
        &self,
        environment: i64,
        number: i64,
    ) -> Result<Vec<NodeReachedRow>, StoreError> {
        let lives_ms = i64::try_from(NODE_LIVES.as_millis()).unwrap_or(i64::MAX);
        let mut lent = self.reader("instances").await?;
        let sql = lent.pick(
            "SELECT n.node, r.number, r.at, r.pages FROM nodes AS n LEFT JOIN reached AS r
               ON r.environment = $1 AND r.node = n.node AND r.number =
                  (SELECT MIN(number) FROM reached WHERE environment = $1 AND node = n.node AND number >= $2)
             WHERE n.seen_at > CAST(unixepoch('subsec') * 1000 AS INTEGER) - $3 ORDER BY n.node",
            "SELECT n.node, r.number, r.at, r.pages FROM nodes AS n LEFT JOIN reached AS r
               ON r.environment = $1 AND r.node = n.node AND r.number =
                  (SELECT MIN(number) FROM reached WHERE environment = $1 AND node = n.node AND number >= $2)
             WHERE n.seen_at > CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - $3 ORDER BY n.node",
        );
        both!(&mut lent, "instances", c => sqlx::query_as::<_, NodeReachedRow>(sql)
            .bind(environment).bind(number).bind(lives_ms).fetch_all(c))
    }

    /// Forgets an instance that ends.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn remove_node(&self, node: &str) -> Result<(), StoreError> {
        let mut lent = self.write_transaction("forget an instance", self.deadlines.write).await?;
        run!(&mut lent, "forget an instance", sqlx::query("DELETE FROM nodes WHERE node = $1").bind(node))?;
        run!(&mut lent, "forget an instance", sqlx::query("DELETE FROM reached WHERE node = $1").bind(node))?;
        lent.commit().await
    }

    /// Takes away instances that are gone, and what was reached over a day before `now_ms`; the last number of each
    /// instance stays.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn sweep_nodes(&self, now_ms: i64) -> Result<(), StoreError> {
        let mut lent = self.write_transaction("sweep instances", self.deadlines.write).await?;
        let before = now_ms - KEPT_MS;
        run!(&mut lent, "sweep instances", sqlx::query("DELETE FROM nodes WHERE seen_at < $1").bind(before))?;
        run!(
            &mut lent,
            "sweep instances",
            sqlx::query(
                "DELETE FROM reached WHERE node NOT IN (SELECT node FROM nodes) OR at < $1 AND number <
                   (SELECT MAX(number) FROM reached AS newer
                    WHERE newer.environment = reached.environment AND newer.node = reached.node)"
            )
            .bind(before)
        )?;
        lent.commit().await
    }

    /// The change that made a version of the flag numbered `flag`; `None` if it is not known.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn change_of_version(
        &self,
        environment: i64,
        flag: i64,
        version: i64,
    ) -> Result<Option<ChangeAt>, StoreError> {
        let mut lent = self.reader("change of a version").await?;
        both!(&mut lent, "change of a version", c => sqlx::query_as::<_, ChangeAt>(
            "SELECT c.number, c.at FROM flag_versions AS v
             JOIN changes AS c ON c.environment = v.environment AND c.number = v.number
             WHERE v.environment = $1 AND v.flag = $2 AND v.version = $3")
            .bind(environment).bind(flag).bind(version).fetch_optional(c))
    }

    /// When a unit was last exposed to a flag, by event time; `None`: never.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn last_exposure(&self, environment: i64, flag: i64) -> Result<Option<i64>, StoreError> {
        let mut lent = self.reader("last exposure").await?;
        both!(&mut lent, "last exposure", c => sqlx::query_scalar::<_, Option<i64>>(
            "SELECT MAX(at) FROM exposures WHERE environment = $1 AND flag = $2")
            .bind(environment).bind(flag).fetch_one(c))
    }
}
