//! A connection lent by a pool, with the deadline of the whole call on it. One that is dropped in the
//! middle of a statement (deadline passed, caller gone) is closed: what it would answer next is unknown.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Either, Executor as _, FromRow, Postgres, Sqlite};
use tokio::time::{Instant, timeout, timeout_at};

use super::bulk::Value;
use super::error::StoreError;
use super::sqlite::Kept;
use super::together::{self, Must, Together};

/// Longest wait for a roll-back or a sign of life before a connection is closed instead of kept.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection of one of the two engines.
pub(crate) enum On {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// A lent connection.
pub(crate) struct Lent {
    pub(crate) on: Option<On>,
    pub(crate) until: Instant,
    /// A statement has begun and has not ended well.
    pub(crate) busy: bool,
    /// A transaction is open.
    pub(crate) open: bool,
    /// Where the connection stays that writes to SQLite.
    place: Option<Kept>,
    /// What SQLite was not sent yet.
    waiting: Together,
    /// The number of the row that SQLite inserted last.
    inserted: i64,
}

/// Runs what each engine has of its own, under the deadline: `each!(lent, "what", sqlite c => future, postgres c => future)`.
macro_rules! each {
    ($lent:expr, $what:expr, sqlite $s:ident => $sqlite:expr, postgres $p:ident => $postgres:expr) => {{
        let lent: &mut $crate::store::lent::Lent = &mut *$lent;
        match lent.send_waiting($what).await {
            Err(error) => Err(error),
            Ok(()) => {
                lent.busy = true;
                let outcome = match lent.on.as_mut() {
                    Some($crate::store::lent::On::Sqlite(connection)) => {
                        let $s = &mut **connection;
                        tokio::time::timeout_at(lent.until, $sqlite).await
                    }
                    Some($crate::store::lent::On::Postgres(connection)) => {
                        let $p = &mut **connection;
                        tokio::time::timeout_at(lent.until, $postgres).await
                    }
                    None => Ok(Err(sqlx::Error::PoolClosed)),
                };
                lent.settle($what, outcome)
            }
        }
    }};
}

/// Runs one SQL text on whichever engine is there, under the deadline: `both!(lent, "what", c => query.fetch_all(c))`.
macro_rules! both {
    ($lent:expr, $what:literal, $connection:ident => $query:expr) => {
        $crate::store::lent::each!($lent, $what, sqlite $connection => $query, postgres $connection => $query)
    };
}

/// Like [`both!`], for a statement of which only the number of rows matters: `run!(lent, "what", query)`.
macro_rules! run {
    ($lent:expr, $what:literal, $query:expr) => {
        $crate::store::lent::both!($lent, $what, c => async {
            $query.execute(c).await.map(|done| done.rows_affected())
        })
    };
}
pub(crate) use {both, each, run};

impl Lent {
    pub(super) fn new(on: On, place: Option<Kept>, until: Instant) -> Self {
        Self {
            on: Some(on),
            until,
            busy: false,
            open: false,
            place,
            waiting: Together::default(),
            inserted: 0,
        }
    }

    /// The text for the engine at hand, where the two differ.
    pub(crate) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.on {
            Some(On::Postgres(_)) => postgres,
            _ => sqlite,
        }
    }

    /// Turns the outcome of a statement into ours, and remembers whether the connection is still good.
    pub(crate) fn settle<T>(
        &mut self,
        what: &'static str,
        outcome: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        match outcome {
            Ok(Ok(value)) => {
                self.busy = false;
                Ok(value)
            }
            Ok(Err(error)) => {
                let lost = matches!(
                    error,
                    sqlx::Error::Io(_)
                        | sqlx::Error::Tls(_)
                        | sqlx::Error::Protocol(_)
                        | sqlx::Error::WorkerCrashed
                );
                let sorted = StoreError::of(what, &error);
                // After a failed sync nothing that the connection holds in memory may be trusted.
                self.busy = lost || (self.open && matches!(sorted, StoreError::Unavailable(_)));
                Err(sorted)
            }
            Err(_) => Err(StoreError::Timeout { what }),
        }
    }

    /// Begins a transaction: SQLite, with its first statement.
    pub(crate) async fn begin(
        &mut self,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Result<(), StoreError> {
        if self.is_sqlite() {
            self.waiting.begins = true;
            return self.wait("begin", Must::Run, sqlite, &[]);
        }
        run!(self, "begin", sqlx::query(postgres))?;
        self.open = true;
        Ok(())
    }

    /// Ends the transaction, and makes it last.
    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        if self.is_sqlite() {
            self.wait("commit", Must::Run, "COMMIT", &[])?;
            self.send_waiting("commit").await?;
        } else {
            run!(self, "commit", sqlx::query("COMMIT"))?;
        }
        self.open = false;
        Ok(())
    }

    /// Runs a statement of which only a failure matters, or that it changes no row where it `must` find one. SQLite is sent it
    /// with the next one that is asked something, or before the commit: what went wrong may be told then.
    pub(crate) async fn write(
        &mut self,
        what: &'static str,
        must: Must,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<(), StoreError> {
        if self.is_sqlite() {
            if self.waiting.is_full() {
                self.send_waiting(what).await?;
            }
            return self.wait(what, must, sql, values);
        }
        let arguments = of_postgres(what, values)?;
        let changed = each!(self, what,
        sqlite _c => std::future::ready(Ok(0)),
        postgres c => async {
            sqlx::query_with(sql, arguments).execute(c).await.map(|done| done.rows_affected())
        })?;
        if must == Must::Find && changed == 0 { Err(StoreError::NotFound) } else { Ok(()) }
    }

    /// The rows of a statement, which SQLite is sent together with all that waits.
    pub(crate) async fn ask<T: Rows>(
        &mut self,
        what: &'static str,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        if self.is_sqlite() {
            self.wait(what, Must::Run, sql, values)?;
            let mut rows = Box::pin(self.send(what)).await?;
            return read(what, rows.pop());
        }
        let arguments = of_postgres(what, values)?;
        each!(self, what,
            sqlite _c => std::future::ready(Ok(Vec::new())),
            postgres c => sqlx::query_as_with(sql, arguments).fetch_all(c))
    }

    /// The rows of two statements, the second of which does not depend on the first.
    pub(crate) async fn ask_both<T: Rows, U: Rows>(
        &mut self,
        what: &'static str,
        first: (&'static str, &[Value<'_>]),
        second: (&'static str, &[Value<'_>]),
    ) -> Result<(Vec<T>, Vec<U>), StoreError> {
        if self.is_sqlite() {
            self.wait(what, Must::Run, first.0, first.1)?;
            self.wait(what, Must::Run, second.0, second.1)?;
            let mut rows = Box::pin(self.send(what)).await?;
            let second = read(what, rows.pop())?;
            return Ok((read(what, rows.pop())?, second));
        }
        let first = self.ask(what, first.0, first.1).await?;
        Ok((first, self.ask(what, second.0, second.1).await?))
    }

    /// Lets SQLite insert rows with what is sent next, or with the commit. The parameters have no numbers.
    pub(super) async fn insert_later(
        &mut self,
        what: &'static str,
        sql: &str,
        arguments: SqliteArguments,
    ) -> Result<(), StoreError> {
        self.send_waiting(what).await?;
        self.waiting.begin_with(sql, arguments);
        Ok(())
    }

    /// The number of the row that SQLite inserted last among what waited and was sent.
    pub(super) fn inserted(&self) -> i64 {
        self.inserted
    }

    pub(super) fn is_sqlite(&self) -> bool {
        matches!(self.on, Some(On::Sqlite(_)))
    }

    fn wait(
        &mut self,
        what: &'static str,
        must: Must,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<(), StoreError> {
        self.waiting.add(sql, values, must).map_err(|error| StoreError::of(what, &error))
    }

    /// Sends what waits, if anything does.
    pub(crate) async fn send_waiting(&mut self, what: &'static str) -> Result<(), StoreError> {
        if self.waiting.sql.is_empty() { Ok(()) } else { Box::pin(self.send(what)).await.map(drop) }
    }

    /// Sends what waits; the rows of each statement are answered.
    async fn send(&mut self, what: &'static str) -> Result<Vec<Vec<SqliteRow>>, StoreError> {
        let mut together = std::mem::take(&mut self.waiting);
        let Some(On::Sqlite(connection)) = self.on.as_mut() else {
            return Err(StoreError::of(what, &sqlx::Error::PoolClosed));
        };
        self.busy = true;
        let (mut answers, mut inserted) = (Vec::with_capacity(together.len()), self.inserted);
        let (sql, arguments) = (std::mem::take(&mut together.sql), std::mem::take(&mut together.arguments));
        let outcome = timeout_at(self.until, async {
            let mut answer = connection.fetch_many(sqlx::query_with(AssertSqlSafe(sql), arguments));
            let mut rows = Vec::new();
            while let Some(next) = answer.try_next().await? {
                match next {
                    Either::Left(done) => {
                        inserted = done.last_insert_rowid();
                        answers.push(std::mem::take(&mut rows));
                    }
                    Either::Right(row) => rows.push(row),
                }
            }
            Ok(())
        });
        let outcome = outcome.await;
        self.open |= together.begins && !answers.is_empty();
        self.inserted = inserted;
        match self.settle(what, outcome) {
            Err(StoreError::Statement(text)) => {
                Err(together.told(answers.len()).unwrap_or(StoreError::Statement(text)))
            }
            settled => settled.map(|()| answers),
        }
    }
}

/// What rows of both engines are read into.
pub(crate) trait Rows:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> Rows for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

fn read<T: Rows>(what: &'static str, rows: Option<Vec<SqliteRow>>) -> Result<Vec<T>, StoreError> {
    let read = rows.iter().flatten().map(T::from_row).collect::<Result<_, _>>();
    read.map_err(|error| StoreError::of(what, &error))
}

fn of_postgres(what: &'static str, values: &[Value<'_>]) -> Result<PgArguments, StoreError> {
    let mut arguments = PgArguments::default();
    let added = together::add(&mut arguments, values).map_err(sqlx::Error::Encode);
    added.map(|()| arguments).map_err(|error| StoreError::of(what, &error))
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut on) = self.on.take() else { return };
        if self.busy {
            match &mut on {
                On::Sqlite(connection) => connection.close_on_drop(),
                On::Postgres(connection) => connection.close_on_drop(),
            }
            return;
        }
        match (on, self.place.take()) {
            (On::Sqlite(connection), Some(mut place)) if !self.open => *place = Some(connection),
            (on, place) => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(give_back(on, place, self.open));
                }
            }
        }
    }
}

/// Hands a connection back, clean; within bounds, since the pool's own way back waits for ever on a dead peer.
async fn give_back(on: On, place: Option<Kept>, open: bool) {
    macro_rules! clean {
        ($connection:expr) => {{
            let mut connection = $connection;
            if open {
                let rollback = sqlx::query("ROLLBACK").execute(&mut *connection);
                if !matches!(timeout(RETURN_TIMEOUT, rollback).await, Ok(Ok(_))) {
                    connection.close_on_drop();
                    return;
                }
            }
            connection
        }};
    }
    match (on, place) {
        (On::Sqlite(connection), Some(mut place)) => *place = Some(clean!(connection)),
        (On::Sqlite(connection), None) => {
            let back = clean!(connection).return_to_pool();
            drop(timeout(RETURN_TIMEOUT, back).await);
        }
        (On::Postgres(connection), _) => {
            let back = clean!(connection).return_to_pool();
            drop(timeout(RETURN_TIMEOUT, back).await);
        }
    }
}
