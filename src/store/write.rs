//! The write transaction: everything that changes configuration goes through one of these.

use std::time::Duration;

use super::bulk::Value;
use super::changes::environment_row;
use super::error::StoreError;
use super::lent::{Lent, Rows, both, run};
use super::together::Must;
use super::{Db, EnvironmentRow, Identity, NewEnvironment, NewSecret, Store};

/// A write transaction. Its methods act on the environment locked last; dropping it undoes everything.
pub struct WriteTx {
    pub(super) lent: Lent,
    /// The locked environment, 0 for none.
    pub(super) environment: i64,
    snapshot: i64,
    keys_locked: bool,
    assumed: bool,
}

/// Locks an environment's row; on SQLite nobody else writes anyway.
const LOCK: (&str, &str) = (
    "SELECT snapshot FROM environments WHERE number = $1",
    "SELECT snapshot FROM environments WHERE number = $1 FOR UPDATE",
);

/// Fails where an environment is at another number, or is not there.
const HOLD: &str =
    "SELECT json(CASE (SELECT snapshot FROM environments WHERE number = $1) WHEN $2 THEN '0' ELSE '' END)";

/// A write transaction whose environment is locked.
pub type Change = WriteTx;

impl Store {
    /// Begins a write transaction with nothing locked.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn begin_write(&self) -> Result<WriteTx, StoreError> {
        self.begin_write_within(self.deadlines.write).await
    }

    /// Begins a write transaction that must end `within` that time: for a first start or an import.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn begin_write_within(&self, within: Duration) -> Result<WriteTx, StoreError> {
        let lent = self.write_transaction("begin a write", within).await?;
        Ok(WriteTx { lent, environment: 0, snapshot: 0, keys_locked: false, assumed: false })
    }

    /// Begins a change of an environment: nobody else changes it until this ends.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown environment.
    pub async fn change(&self, environment: i64) -> Result<Change, StoreError> {
        let mut tx = self.begin_write().await?;
        tx.lock_environment(environment).await?;
        Ok(tx)
    }

    /// Begins a change of which SQLite is told with its commit only, once [`WriteTx::assume`] said what it is made for. `None` on
    /// PostgreSQL, where other instances change things too: there the environment is locked first.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn change_at_once(&self) -> Result<Option<Change>, StoreError> {
        if matches!(self.db, Db::Postgres(_)) { Ok(None) } else { self.begin_write().await.map(Some) }
    }

    /// Begins a change of an environment that may take longer than others: an import.
    ///
    /// # Errors
    /// As [`Store::change`].
    pub async fn long_change(&self, environment: i64) -> Result<Change, StoreError> {
        let mut tx = self.begin_write_within(self.deadlines.migrate).await?;
        tx.lock_environment(environment).await?;
        Ok(tx)
    }

    /// Begins a change of keys; its audit rows belong to no environment.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn keys_change(&self) -> Result<WriteTx, StoreError> {
        let mut tx = self.begin_write().await?;
        tx.lock_keys().await?;
        Ok(tx)
    }

    /// Begins the first start, which only one instance does; `None` if it has been done.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn first_start(&self) -> Result<Option<WriteTx>, StoreError> {
        let mut tx = self.begin_write_within(self.deadlines.migrate).await?;
        tx.lock_keys().await?;
        Ok(tx.identity().await?.is_none().then_some(tx))
    }
}

impl WriteTx {
    /// The environment that methods act on, 0 for none.
    #[must_use]
    pub fn environment(&self) -> i64 {
        self.environment
    }

    /// The number that the environment had when it was locked, or the last one taken since.
    #[must_use]
    pub fn snapshot(&self) -> i64 {
        self.snapshot
    }

    /// Locks an environment and makes it the one that methods act on; its number is answered.
    /// Whoever locks several does it in order of number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown environment.
    pub async fn lock_environment(&mut self, environment: i64) -> Result<i64, StoreError> {
        let sql = self.lent.pick(LOCK.0, LOCK.1);
        let found = self.lent.ask("lock an environment", sql, &[environment.into()]).await?;
        self.locked_at(environment, &found)
    }

    /// Whether the environment is only taken to be at its number.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// Takes the environment to be at `snapshot`, and makes it the one that methods act on.
    ///
    /// # Errors
    /// [`StoreError::Moved`] if it is not, at the latest from the commit.
    pub async fn assume(&mut self, environment: i64, snapshot: i64) -> Result<(), StoreError> {
        (self.environment, self.snapshot, self.assumed) = (environment, snapshot, true);
        self.lent.write("hold a number", Must::Hold, HOLD, &[environment.into(), snapshot.into()]).await
    }

    /// Locks an environment, and asks for what it then is.
    pub(super) async fn lock_with<T: Rows>(
        &mut self,
        environment: i64,
        asked: (&'static str, &[Value<'_>]),
    ) -> Result<Vec<T>, StoreError> {
        let (sql, number) = (self.lent.pick(LOCK.0, LOCK.1), [environment.into()]);
        let (found, rows) = self.lent.ask_both("lock an environment", (sql, &number), asked).await?;
        self.locked_at(environment, &found).map(|_snapshot| rows)
    }

    fn locked_at(&mut self, environment: i64, found: &[(i64,)]) -> Result<i64, StoreError> {
        let (snapshot,) = *found.first().ok_or(StoreError::NotFound)?;
        (self.environment, self.snapshot) = (environment, snapshot);
        Ok(snapshot)
    }

    /// Locks the keys: changes of keys, audit rows of no environment, the first start.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn lock_keys(&mut self) -> Result<(), StoreError> {
        if !self.keys_locked {
            let sql = self.lent.pick(
                "SELECT value FROM meta WHERE key = 'keys_sequence'",
                "SELECT value FROM meta WHERE key = 'keys_sequence' FOR UPDATE",
            );
            run!(&mut self.lent, "lock the keys", sqlx::query(sql))?;
            self.keys_locked = true;
        }
        Ok(())
    }

    /// Adds an environment, number 0 so far, and makes it the one that methods act on; its number is answered.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the key is taken.
    pub async fn insert_environment(&mut self, new: NewEnvironment<'_>) -> Result<i64, StoreError> {
        // Numbers of environments are few and stay for ever in tokens: one writer at a time gives them out.
        self.lock_keys().await?;
        let number = both!(&mut self.lent, "insert an environment", c => sqlx::query_scalar::<_, i64>(
            "INSERT INTO environments (number, key, name, settings, snapshot, created_at)
             SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3, 0, $4 FROM environments WHERE true
             ON CONFLICT DO NOTHING RETURNING number")
            .bind(new.key.as_str()).bind(new.name).bind(new.settings).bind(new.created_at)
            .fetch_optional(c))?
        .ok_or(StoreError::Exists)?;
        self.lock_environment(number).await?;
        Ok(number)
    }

    /// How many environments there are.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn environments_count(&mut self) -> Result<i64, StoreError> {
        both!(&mut self.lent, "count environments",
            c => sqlx::query_scalar::<_, i64>("SELECT count(*) FROM environments").fetch_one(c))
    }

    /// The environment, as this transaction sees it.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn environment_row(&mut self) -> Result<EnvironmentRow, StoreError> {
        let environment = self.locked()?;
        environment_row(&mut self.lent, environment).await
    }

    /// Replaces name and settings of the environment.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn update_environment(&mut self, name: &str, settings: &str) -> Result<(), StoreError> {
        let environment = self.locked()?;
        run!(
            &mut self.lent,
            "update an environment",
            sqlx::query("UPDATE environments SET name = $2, settings = $3 WHERE number = $1")
                .bind(environment)
                .bind(name)
                .bind(settings)
        )
        .map(drop)
    }

    /// Writes down who this database is.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if it knows already.
    pub async fn initialise(&mut self, identity: &Identity) -> Result<(), StoreError> {
        let created_at = identity.created_at.to_string();
        run!(&mut self.lent, "initialise", sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('database_id', $1), ('unit_ids', $2), ('created_at', $3)")
            .bind(identity.database_id.as_str()).bind(identity.unit_ids.as_str()).bind(created_at.as_str()))
        .map(drop)
    }

    /// Who this database is; `None` before the first start.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        super::environments::identity(&mut self.lent).await
    }

    /// Adds a secret; its number, counted by purpose, is answered.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn insert_secret(&mut self, new: NewSecret<'_>) -> Result<i64, StoreError> {
        self.lock_keys().await?;
        both!(&mut self.lent, "insert a secret", c => sqlx::query_scalar::<_, i64>(
            "INSERT INTO secrets (purpose, number, value, created_at, retired_at)
             SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, NULL FROM secrets WHERE purpose = $1
             RETURNING number")
            .bind(new.purpose).bind(new.value).bind(new.created_at).fetch_one(c))
    }

    /// Retires a secret; one that is retired keeps its time.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown one.
    pub async fn retire_secret(&mut self, purpose: &str, number: i64, at: i64) -> Result<(), StoreError> {
        let done = both!(&mut self.lent, "retire a secret", c => sqlx::query_scalar::<_, i64>(
            "UPDATE secrets SET retired_at = COALESCE(retired_at, $3) WHERE purpose = $1 AND number = $2
             RETURNING number")
            .bind(purpose).bind(number).bind(at).fetch_optional(c))?;
        done.map(drop).ok_or(StoreError::NotFound)
    }

    /// Takes the environment's next number and writes down what changed.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn take_number(&mut self, subjects: &str, now_ms: i64) -> Result<i64, StoreError> {
        let environment = self.locked()?;
        // It is locked: nobody else takes one.
        self.snapshot += 1;
        let (number, what) = (self.snapshot, "take a number");
        let take = "UPDATE environments SET snapshot = $2 WHERE number = $1";
        self.lent.write(what, Must::Run, take, &[environment.into(), number.into()]).await?;
        let note = "INSERT INTO changes (environment, number, at, subjects) VALUES ($1, $2, $3, $4)";
        let values = [environment.into(), number.into(), now_ms.into(), subjects.into()];
        self.lent.write(what, Must::Run, note, &values).await?;
        Ok(number)
    }

    /// Brings the environment's number up to `number`, if it is lower.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn raise_snapshot(&mut self, number: i64) -> Result<(), StoreError> {
        let environment = self.locked()?;
        if number > self.snapshot {
            self.snapshot = number;
            let raise = "UPDATE environments SET snapshot = $2 WHERE number = $1";
            self.lent.write("raise a number", Must::Run, raise, &[environment.into(), number.into()]).await?;
        }
        Ok(())
    }

    /// Notes that an operator said at `now_ms` that the database was restored on purpose; later than any time before.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn set_restored(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.lock_keys().await?;
        run!(&mut self.lent, "note a restore", sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('restored_at', CAST(CAST($1 AS BIGINT) AS TEXT))
             ON CONFLICT (key) DO UPDATE SET value =
                 CASE WHEN CAST(meta.value AS BIGINT) < CAST($1 AS BIGINT) THEN CAST(CAST($1 AS BIGINT) AS TEXT)
                      ELSE CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) END")
            .bind(now_ms))
        .map(drop)
    }

    /// Commits a transaction whose numbers, if any, are taken.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write; after [`StoreError::Timeout`] the outcome is unknown.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.lent.commit().await
    }

    /// Takes the next number and commits.
    ///
    /// # Errors
    /// As [`WriteTx::take_number`] and [`WriteTx::commit`].
    pub async fn commit_change(mut self, subjects: &str, now_ms: i64) -> Result<i64, StoreError> {
        let number = self.take_number(subjects, now_ms).await?;
        self.commit().await?;
        Ok(number)
    }

    /// Counts the keys' sequence up and commits; the new number is answered.
    ///
    /// # Errors
    /// As [`WriteTx::commit`].
    pub async fn commit_keys(mut self) -> Result<i64, StoreError> {
        let sequence = self.take_keys_number().await?;
        self.commit().await?;
        Ok(sequence)
    }

    /// The locked environment.
    pub(super) fn locked(&self) -> Result<i64, StoreError> {
        if self.environment > 0 { Ok(self.environment) } else { Err(StoreError::NotLocked) }
    }
}
