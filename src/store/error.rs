//! What can go wrong below, sorted by what the caller can do about it.

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or refuses to work now; later it may.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// It is known not to answer, and was not asked.
    #[error("the database is away")]
    Away,
    /// The deadline passed; whether a write took place is unknown.
    #[error("the database did not answer in time ({what})")]
    Timeout {
        /// Which call it was.
        what: &'static str,
    },
    /// Someone else was first.
    #[error("it is at version {current}, version {sent} was sent")]
    Conflict {
        /// The stored version.
        current: i64,
        /// The version that the caller had read.
        sent: i64,
    },
    /// It is there already.
    #[error("it exists already")]
    Exists,
    /// There is nothing of that name.
    #[error("there is nothing of that name")]
    NotFound,
    /// The database is damaged, or holds what this release cannot read.
    #[error("the database is damaged: {what}")]
    Corrupt {
        /// What was seen.
        what: String,
    },
    /// The disk is full.
    #[error("the disk of the database is full")]
    Full,
    /// The database belongs to another program.
    #[error("this is no database of huidu: {what}")]
    Foreign {
        /// What was seen.
        what: String,
    },
    /// The database was migrated by a newer release.
    #[error("the database was migrated by a newer huidu (migration {migration} is unknown here)")]
    Newer {
        /// The unknown migration.
        migration: i64,
    },
    /// The address of the database cannot be understood.
    #[error("the database's address cannot be used: {0}")]
    Address(String),
    /// A statement was refused: a fault of huidu.
    #[error("the database refused a statement: {0}")]
    Statement(String),
    /// An environment is not at the number that a change was made for; nothing was changed.
    #[error("the environment was changed meanwhile")]
    Moved,
    /// Changes that were asked for are kept no more.
    #[error("the changes after number {after} are kept no more")]
    Swept {
        /// The number after which they were asked for.
        after: i64,
    },
    /// It holds an older state than one that was read from it: it was restored from a backup, or lost what it had.
    #[error("the database is older than what was read from it before: it is at {at}, {known} is known")]
    SetBack {
        /// The number that it is at.
        at: i64,
        /// The number that is known.
        known: i64,
    },
    /// The lease that the work was done under has ended, or is another instance's.
    #[error("the lease has ended, or is held by another instance")]
    LeaseLost,
    /// A write transaction was used before it locked an environment: a fault of huidu.
    #[error("no environment is locked")]
    NotLocked,
}

impl StoreError {
    /// The stable name of the failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Away => "away",
            Self::Timeout { .. } => "timeout",
            Self::Conflict { .. } => "conflict",
            Self::Exists => "exists",
            Self::NotFound => "not_found",
            Self::Corrupt { .. } => "corrupt",
            Self::Full => "full",
            Self::Foreign { .. } => "foreign",
            Self::Newer { .. } => "newer",
            Self::Address(_) => "address",
            Self::Statement(_) => "statement",
            Self::Moved => "moved",
            Self::Swept { .. } => "swept",
            Self::SetBack { .. } => "set_back",
            Self::LeaseLost => "lease_lost",
            Self::NotLocked => "not_locked",
        }
    }

    /// Whether the database does not answer now, and may later.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout { .. } | Self::Away)
    }

    /// Sorts what the driver reported during the call named `what`.
    pub(crate) fn of(what: &'static str, error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => {
                if let Some(e) = database.try_downcast_ref::<SqliteError>() {
                    of_sqlite(e)
                } else if let Some(e) = database.try_downcast_ref::<PgDatabaseError>() {
                    of_postgres(what, e)
                } else {
                    Self::Statement(error.to_string())
                }
            }
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Configuration(e) => Self::Address(e.to_string()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Self::Corrupt { what: format!("{what}: {error}") }
            }
            sqlx::Error::Migrate(e) => Self::of_migration(e),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error.to_string()),
            _ => Self::Statement(error.to_string()),
        }
    }

    /// Sorts what the migrator reported.
    pub(crate) fn of_migration(error: &MigrateError) -> Self {
        match error {
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => Self::of("migrate", e),
            MigrateError::VersionMissing(migration) => Self::Newer { migration: *migration },
            _ => Self::Corrupt { what: error.to_string() },
        }
    }
}

fn of_sqlite(error: &SqliteError) -> StoreError {
    use sqlx::error::DatabaseError as _;

    if error.is_unique_violation() {
        return StoreError::Exists;
    }
    let text = error.to_string();
    // The low byte is the primary code: BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB.
    match error.code().and_then(|c| c.parse::<i32>().ok()).map(|c| c & 0xff) {
        Some(5 | 6 | 8 | 10 | 14) => StoreError::Unavailable(text),
        Some(11) => StoreError::Corrupt { what: text },
        Some(13) => StoreError::Full,
        Some(26) => StoreError::Foreign { what: text },
        _ => StoreError::Statement(text),
    }
}

fn of_postgres(what: &'static str, error: &PgDatabaseError) -> StoreError {
    let code = error.code();
    let text = || format!("{} ({code})", error.message());
    match code {
        "23505" => StoreError::Exists,
        "53100" => StoreError::Full,
        "57014" | "55P03" | "25P03" | "25P04" => StoreError::Timeout { what },
        // Serialisation failure, deadlock, read-only standby.
        "40001" | "40P01" | "25006" => StoreError::Unavailable(text()),
        "3D000" | "28000" | "28P01" => StoreError::Address(text()),
        _ if code.starts_with("08") || code.starts_with("53") || code.starts_with("57P") => {
            StoreError::Unavailable(text())
        }
        _ if code.starts_with("XX") => StoreError::Corrupt { what: text() },
        _ => StoreError::Statement(text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_sorted_by_what_can_be_done() {
        let closed = StoreError::of("ping", &sqlx::Error::PoolClosed);
        assert_eq!(closed.code(), "unavailable");
        let newer = StoreError::of_migration(&MigrateError::VersionMissing(9));
        assert_eq!(newer, StoreError::Newer { migration: 9 });
        let row = StoreError::of("flags", &sqlx::Error::Decode("x".into()));
        assert_eq!(row.code(), "corrupt");
    }
}
