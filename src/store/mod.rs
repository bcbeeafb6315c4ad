//! All SQL and nothing else: no rules, no HTTP. The only place that knows two engines.
//!
//! Every call has a deadline. Time comes in as `now_ms`; the database's and the machine's clocks are not read.

mod api_keys;
mod audiences;
mod audit;
mod bulk;
mod changes;
mod environments;
mod error;
mod events;
mod exports;
mod exposed;
mod flags;
mod forget;
mod health;
mod leases;
mod lent;
mod marks;
mod migrate;
mod nodes;
mod postgres;
mod reach;
mod reasons;
mod report;
pub mod sqlite;
mod together;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{PgPool, SqlitePool};
use tokio::time::Instant;

pub use api_keys::{KeyRow, NewKey, Sequences};
pub use audiences::{
    AudienceChange, AudiencePut, AudienceRow, AudienceSize, AudienceVersionRow, DeltaRow, GenerationRow,
    HashedId, NewBlock, NewPart, PartRow, Place,
};
pub use audit::{AuditFilter, AuditRow, AuditSpan, NewAudit};
pub use changes::{ChangeRow, ChangedRows, Loaded};
pub use environments::{EnvironmentRow, Identity, NewEnvironment, NewSecret, SecretRow};
pub use error::StoreError;
pub use events::{
    EventBatch, EventOutcome, ExposedUsersRow, ExposureOutcome, ExposureRow, StepOutcome, StepRow,
};
pub use exports::{EventSpan, ExposurePlace, StepPlace, StepsOf, TimedStep};
pub use flags::{FlagRow, FlagUpdate, NewFlag, StageRow, VersionRow};
pub use forget::{EventTable, StoredStep, StoredUnit, UnitSpan};
pub use health::Engine;
pub use leases::{Lease, LeaseRow};
use lent::{Lent, On, both, run};
pub use marks::LATE_AFTER_MS;
pub use migrate::{MigrationInfo, MigrationState};
pub use nodes::{ChangeAt, NODE_LIVES, NodeReachedRow, ReachedRow};
pub use reach::{Outage, Reach};
pub use reasons::ReasonRow;
pub use report::{
    HourBytes, HourHead, HourMark, HourPart, MinuteRows, NewHour, Piece, ReportExposure, ReportReads,
    ReportSpan, ReportStep,
};
use sqlite::Writer;
pub use write::{Change, WriteTx};

/// How long calls may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// A reading call, waiting for a connection included.
    pub read: Duration,
    /// A writing call or a whole write transaction, waiting for its turn included.
    pub write: Duration,
    /// All migrations, waiting for another instance's included.
    pub migrate: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let short = Duration::from_secs(3);
        Self { read: short, write: short, migrate: Duration::from_secs(30) }
    }
}

/// How to open a store.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Make the SQLite file if it is missing.
    pub create: bool,
    /// How long calls may take.
    pub deadlines: Deadlines,
    /// Most connections to PostgreSQL; 0 = the default.
    pub connections: u32,
}

/// The pools of the engine in use.
#[derive(Debug, Clone)]
pub(crate) enum Db {
    Sqlite { write: Arc<Writer>, read: SqlitePool },
    Postgres(PgPool),
}

/// The database. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) db: Db,
    pub(crate) deadlines: Deadlines,
    /// Who knows whether it is used now; `None`: it always is.
    reach: Option<Arc<Reach>>,
    /// How often this process wrote events.
    events_written: Arc<AtomicU64>,
    /// How often it began to write anything.
    writes: Arc<AtomicU64>,
    /// Steps of SQLite that are stored but not found by unit yet.
    places: Arc<events::Places>,
}

/// What tests and operators count, of one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Counts {
    /// Rows of `flags`.
    pub flags: i64,
    /// Rows of `flag_versions`.
    pub versions: i64,
    /// Rows of `stages`.
    pub stages: i64,
    /// Rows of `changes`.
    pub changes: i64,
    /// Rows of `audit`.
    pub audit: i64,
    /// Ids in all blocks of audiences, kept contents included.
    pub audience_ids: i64,
    /// Rows of `exposures`.
    pub exposures: i64,
    /// Rows of `steps`.
    pub steps: i64,
}

/// Opens a database: `sqlite:path` or `postgres://...`.
///
/// # Errors
/// [`StoreError::NotFound`] if the file is missing and may not be made, [`StoreError::Foreign`] if it belongs
/// to another program, [`StoreError::Address`] for an address of neither kind.
pub async fn open(url: &str, options: &OpenOptions) -> Result<Store, StoreError> {
    let store = open_later(url, options)?;
    store.prepare(options.create).await?;
    Ok(store)
}

/// The database at `url`, which nothing is asked of yet: neither a file nor a server need be there.
///
/// # Errors
/// [`StoreError::Address`] for an address of neither kind.
pub fn open_later(url: &str, options: &OpenOptions) -> Result<Store, StoreError> {
    let deadlines = options.deadlines;
    let db = if let Some(path) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) {
        sqlite::pools(Path::new(path), options)
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Db::Postgres(postgres::open(url, options)?)
    } else {
        return Err(StoreError::Address("it begins with neither `sqlite:` nor `postgres:`".into()));
    };
    Ok(Store {
        db,
        deadlines,
        reach: None,
        events_written: Arc::default(),
        writes: Arc::default(),
        places: Arc::default(),
    })
}

impl Store {
    /// The same database, which refuses every call at once while `reach` knows it away.
    #[must_use]
    pub fn guarded(&self, reach: Arc<Reach>) -> Self {
        Self { reach: Some(reach), ..self.clone() }
    }

    /// Whether it is known not to answer: background work waits then.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.reach.as_ref().is_some_and(|reach| reach.is_away())
    }

    /// Why and since when it is not used, if it is not.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.reach.as_ref().and_then(|reach| reach.outage())
    }

    /// Makes the file of an embedded database if it is missing and `create` says so, and refuses one that is not
    /// huidu's before anything is written to it. A server is not asked.
    ///
    /// # Errors
    /// As of [`open`].
    pub async fn prepare(&self, create: bool) -> Result<(), StoreError> {
        match &self.db {
            Db::Sqlite { write, .. } => sqlite::prepare(write, create, self.deadlines).await,
            Db::Postgres(_) => Ok(()),
        }
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Timeout`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut lent = self.reader("ping").await?;
        run!(&mut lent, "ping", sqlx::query("SELECT 1")).map(drop)
    }

    /// How many rows of events this process wrote, the places of steps too: what was read before the last one may be old.
    #[must_use]
    pub fn events_written(&self) -> u64 {
        self.events_written.load(Ordering::Acquire)
    }

    /// How many transactions this process began that may write.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// Folds SQLite's log into the file, as far as nobody is in the way. It does not hold up the writer, who would else do it
    /// between two commits, but for what was written meanwhile: only a log that is folded in whole begins anew, and one that
    /// grows instead takes a page, a block and its size on disk for each commit. On a server there is nothing to do.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn fold_log(&self) -> Result<(), StoreError> {
        if matches!(self.db, Db::Postgres(_)) {
            return Ok(());
        }
        let within = self.deadlines.migrate;
        let folded_all = fold(self.lend("fold the log", within, false).await?).await?;
        // A reader who sees an older state held the rest back, and will again.
        if folded_all {
            fold(self.writer("fold the log", within).await?).await?;
        }
        Ok(())
    }

    /// Closes all connections; the writing one last, so that it folds SQLite's log into the file.
    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }

    /// Counts the rows of an environment.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn counts(&self, environment: i64) -> Result<Counts, StoreError> {
        let mut lent = self.reader("counts").await?;
        both!(&mut lent, "counts", c => sqlx::query_as::<_, Counts>(
            "SELECT (SELECT count(*) FROM flags WHERE environment = $1) AS flags,
                    (SELECT count(*) FROM flag_versions WHERE environment = $1) AS versions,
                    (SELECT count(*) FROM stages WHERE environment = $1) AS stages,
                    (SELECT count(*) FROM changes WHERE environment = $1) AS changes,
                    (SELECT count(*) FROM audit WHERE environment = $1) AS audit,
                    (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM audience_blocks
                     WHERE environment = $1) AS audience_ids,
                    (SELECT count(*) FROM exposures WHERE environment = $1) AS exposures,
                    (SELECT count(*) FROM steps WHERE environment = $1) AS steps")
            .bind(environment).fetch_one(c))
    }

    /// The settings of durability on the writing connection, as the engine itself names them.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn durability(&self) -> Result<Vec<(&'static str, String)>, StoreError> {
        let mut lent = self.writer("durability", self.deadlines.read).await?;
        let asked: [(&'static str, &'static str); 3] = match self.db {
            Db::Sqlite { .. } => [
                ("journal_mode", "SELECT journal_mode FROM pragma_journal_mode"),
                ("synchronous", "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous"),
                ("foreign_keys", "SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys"),
            ],
            Db::Postgres(_) => [
                ("fsync", "SELECT current_setting('fsync')"),
                ("synchronous_commit", "SELECT current_setting('synchronous_commit')"),
                ("full_page_writes", "SELECT current_setting('full_page_writes')"),
            ],
        };
        let mut found = Vec::with_capacity(asked.len());
        for (name, sql) in asked {
            let value =
                both!(&mut lent, "durability", c => sqlx::query_scalar::<_, String>(sql).fetch_one(c))?;
            found.push((name, value));
        }
        Ok(found)
    }

    /// A connection for reading.
    pub(crate) async fn reader(&self, what: &'static str) -> Result<Lent, StoreError> {
        self.lend(what, self.deadlines.read, false).await
    }

    /// The connection for writing.
    pub(crate) async fn writer(&self, what: &'static str, within: Duration) -> Result<Lent, StoreError> {
        self.lend(what, within, true).await
    }

    /// A connection inside a transaction that sees one state of the database.
    pub(crate) async fn read_transaction(&self, what: &'static str) -> Result<Lent, StoreError> {
        let mut lent = self.reader(what).await?;
        lent.begin("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(lent)
    }

    /// A connection inside a transaction that may write; on SQLite the only one.
    pub(crate) async fn write_transaction(
        &self,
        what: &'static str,
        within: Duration,
    ) -> Result<Lent, StoreError> {
        let mut lent = self.writer(what, within).await?;
        self.writes.fetch_add(1, Ordering::Release);
        lent.begin("BEGIN IMMEDIATE", "BEGIN").await?;
        Ok(lent)
    }

    async fn lend(&self, what: &'static str, within: Duration, writes: bool) -> Result<Lent, StoreError> {
        if self.is_away() {
            return Err(StoreError::Away);
        }
        let until = Instant::now() + within;
        let acquired = tokio::time::timeout_at(until, async {
            Ok(match &self.db {
                Db::Sqlite { write, .. } if writes => {
                    let (connection, place) = write.take().await?;
                    Lent::new(On::Sqlite(connection), Some(place), until)
                }
                Db::Sqlite { read, .. } => Lent::new(On::Sqlite(read.acquire().await?), None, until),
                Db::Postgres(pool) => Lent::new(On::Postgres(pool.acquire().await?), None, until),
            })
        });
        match acquired.await {
            Ok(Ok(lent)) => Ok(lent),
            Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => Err(StoreError::Timeout { what }),
            Ok(Err(error)) => Err(StoreError::of(what, &error)),
        }
    }
}

/// Folds the log in, and says whether all of it is.
async fn fold(mut lent: Lent) -> Result<bool, StoreError> {
    const FOLD: &str = "PRAGMA wal_checkpoint(PASSIVE)";
    let (busy, pages, folded): (i64, i64, i64) =
        both!(&mut lent, "fold the log", c => sqlx::query_as(FOLD).fetch_one(c))?;
    Ok(busy == 0 && pages == folded)
}
