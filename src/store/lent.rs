//! A connection lent by a pool, with the deadline of the whole call on it. One that is dropped in the
//! middle of a statement (deadline passed, caller gone) is closed: what it would answer next is unknown.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Postgres, Sqlite};
use tokio::time::{Instant, timeout};

use super::error::StoreError;

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
}

/// Runs what each engine has of its own, under the deadline: `each!(lent, "what", sqlite c => future, postgres c => future)`.
macro_rules! each {
    ($lent:expr, $what:literal, sqlite $s:ident => $sqlite:expr, postgres $p:ident => $postgres:expr) => {{
        let lent: &mut $crate::store::lent::Lent = &mut *$lent;
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
    pub(crate) fn new(on: On, until: Instant) -> Self {
        Self { on: Some(on), until, busy: false, open: false }
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

    pub(crate) async fn begin(
        &mut self,
        sqlite: &'static str,
        postgres: &'static str,
    ) -> Result<(), StoreError> {
        let sql = self.pick(sqlite, postgres);
        run!(self, "begin", sqlx::query(sql))?;
        self.open = true;
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        run!(self, "commit", sqlx::query("COMMIT"))?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut on) = self.on.take() else { return };
        if self.busy {
            match &mut on {
                On::Sqlite(connection) => connection.close_on_drop(),
                On::Postgres(connection) => connection.close_on_drop(),
            }
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(give_back(on, self.open));
        }
    }
}

/// Hands a connection back, clean; within bounds, since the pool's own way back waits for ever on a dead peer.
async fn give_back(on: On, open: bool) {
    macro_rules! give {
        ($connection:expr) => {{
            let mut connection = $connection;
            if open {
                let rollback = sqlx::query("ROLLBACK").execute(&mut *connection);
                if !matches!(timeout(RETURN_TIMEOUT, rollback).await, Ok(Ok(_))) {
                    connection.close_on_drop();
                    return;
                }
            }
            let back = connection.return_to_pool();
            drop(timeout(RETURN_TIMEOUT, back).await);
        }};
    }
    match on {
        On::Sqlite(connection) => give!(connection),
        On::Postgres(connection) => give!(connection),
    }
}
