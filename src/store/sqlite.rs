//! Opening SQLite, and looking at a file before it is opened.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqlitePool};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::error::StoreError;
use super::{Db, Deadlines, OpenOptions};

/// The one connection that writes. It stays where it is between two transactions: the pool would have it answer first,
/// each time that it came back.
#[derive(Debug)]
pub(crate) struct Writer {
    pool: SqlitePool,
    kept: Arc<Mutex<Option<PoolConnection<Sqlite>>>>,
}

/// Where the connection belongs that writes; whoever has it keeps all others waiting.
pub(super) type Kept = OwnedMutexGuard<Option<PoolConnection<Sqlite>>>;

impl Writer {
    /// The connection, and where to put it back if it is still good.
    pub(super) async fn take(&self) -> Result<(PoolConnection<Sqlite>, Kept), sqlx::Error> {
        let mut place = self.kept.clone().lock_owned().await;
        let connection = match place.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        Ok((connection, place))
    }

    /// How it connects.
    pub(super) fn options(&self) -> Arc<SqliteConnectOptions> {
        self.pool.connect_options()
    }

    /// Waits for whoever writes, and closes the connection for good.
    pub(super) async fn close(&self) {
        drop(self.kept.lock().await.take());
        self.pool.close().await;
    }
}

/// Marks a SQLite file as ours: "huid".
pub const APPLICATION_ID: i32 = 0x6875_6964;
/// Above this size only the header is looked at.
pub const CHECK_BYTES_MAX: u64 = 64 * 1024 * 1024;

const READERS_MAX: u32 = 4;
/// Pages that the writer keeps in memory, as -KiB: events go to pages all over their tables.
const WRITER_CACHE: &str = "-16384";
/// Pages of the log at which the writer itself folds it in. That is done beside it long before: see [`super::Store::fold_log`].
const LOG_PAGES: &str = "16000";
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What stands at the path of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// Nothing.
    Missing,
    /// A file of 0 bytes, which SQLite would take for a new database.
    Empty,
    /// Another program's file.
    Foreign,
    /// Damaged; what was seen.
    Corrupt(String),
    /// A database of huidu.
    Huidu,
}

/// Looks at the file at `path` and leaves it as it is, an unfinished log beside it included.
///
/// # Errors
/// [`StoreError::Unavailable`] if the file cannot be read.
pub async fn inspect(path: &Path) -> Result<FileState, StoreError> {
    let log_bytes = std::fs::metadata(beside(path, "-wal")).map_or(0, |m| m.len());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound && log_bytes == 0 => return Ok(FileState::Missing),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Ok(FileState::Corrupt("only the log of the database is there, not its file".into()));
        }
        Err(e) => return Err(unavailable(path, &e)),
    };
    let bytes = file.metadata().map_err(|e| unavailable(path, &e))?.len();
    if bytes == 0 && log_bytes == 0 {
        return Ok(FileState::Empty);
    }
    let mut header = [0_u8; 100];
    let header = match file.read_exact(&mut header) {
        Ok(()) => header,
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
            let cut = bytes == 0 || header.starts_with(MAGIC);
            let what = || format!("the file is cut to {bytes} bytes");
            return Ok(if cut { FileState::Corrupt(what()) } else { FileState::Foreign });
        }
        Err(e) => return Err(unavailable(path, &e)),
    };
    drop(file);
    if !header.starts_with(MAGIC) || be32(&header, 68) != APPLICATION_ID.cast_unsigned() {
        return Ok(FileState::Foreign);
    }
    if log_bytes == 0 && cut_short(&header, bytes) {
        return Ok(FileState::Corrupt(format!("the file is cut to {bytes} bytes")));
    }
    if bytes.max(log_bytes) > CHECK_BYTES_MAX {
        return Ok(FileState::Huidu);
    }
    check(path, log_bytes > 0).await
}

async fn check(path: &Path, has_log: bool) -> Result<FileState, StoreError> {
    // With a log beside it the file alone is old or half written: then SQLite must read both, and a
    // read-only connection folds nothing in. Without one it need not even make its side files.
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(!has_log)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let checked = async {
        let mut connection = connect.connect().await?;
        let found = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)").fetch_one(&mut connection).await;
        connection.close().await?;
        found
    };
    match checked.await {
        Ok(found) if found == "ok" => Ok(FileState::Huidu),
        Ok(found) => Ok(FileState::Corrupt(found)),
        Err(error) => match StoreError::of("inspect", &error) {
            StoreError::Unavailable(text) => Err(StoreError::Unavailable(text)),
            other => Ok(FileState::Corrupt(other.to_string())),
        },
    }
}

/// Whether the header promises more pages than the file has.
fn cut_short(header: &[u8; 100], bytes: u64) -> bool {
    let page = match be16(header, 16) {
        1 => 65_536,
        size => u64::from(size),
    };
    // The count of pages holds only if the last writer kept it.
    be32(header, 24) == be32(header, 92) && u64::from(be32(header, 28)) * page > bytes
}

fn be32(header: &[u8; 100], at: usize) -> u32 {
    header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn be16(header: &[u8; 100], at: usize) -> u16 {
    header.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
}

fn unavailable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Waits for the lock that serialises making and migrating the database at `path`.
pub(super) async fn lock(path: &Path) -> Result<File, StoreError> {
    let path = beside(path, ".migrate");
    tokio::task::spawn_blocking(move || {
        let file = File::create(&path).map_err(|e| unavailable(&path, &e))?;
        file.lock().map_err(|e| unavailable(&path, &e))?;
        Ok(file)
    })
    .await
    .map_err(|e| StoreError::Unavailable(e.to_string()))?
}

/// The pools of the database at `path`; nothing is opened yet.
pub(super) fn pools(path: &Path, options: &OpenOptions) -> Db {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let pool = || {
        SqlitePoolOptions::new()
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(options.deadlines.migrate)
    };
    let write = connect
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("cache_size", WRITER_CACHE)
        // What a statement would undo by is kept beside it: in memory, not in a file.
        .pragma("temp_store", "memory")
        .pragma("wal_autocheckpoint", LOG_PAGES);
    let write =
        Arc::new(Writer { pool: pool().max_connections(1).connect_lazy_with(write), kept: Arc::default() });
    let read = pool().max_connections(READERS_MAX).connect_lazy_with(connect.pragma("query_only", "on"));
    Db::Sqlite { write, read }
}

/// Makes the file if that is wanted, refuses another program's, and opens the writing connection.
pub(super) async fn prepare(write: &Writer, create: bool, deadlines: Deadlines) -> Result<(), StoreError> {
    let options = write.options();
    let path = options.get_filename();
    if !path.exists() {
        if !create {
            return Err(StoreError::NotFound);
        }
        tokio::time::timeout(deadlines.migrate, make(path))
            .await
            .map_err(|_elapsed| StoreError::Timeout { what: "make the database" })??;
    }
    ours(path)?;
    let taken = tokio::time::timeout(deadlines.migrate, write.take()).await;
    let taken = taken.map_err(|_elapsed| StoreError::Timeout { what: "open" })?;
    let (connection, mut place) = taken.map_err(|e| StoreError::of("open", &e))?;
    *place = Some(connection);
    Ok(())
}

/// Writes a whole copy of the database at `from`, as it is at this moment, into the empty file at `to`. Who writes
/// meanwhile is not held up. It takes as long as it takes: there is no deadline.
///
/// # Errors
/// [`StoreError::Full`] where the disk of `to` is full, or any failure of opening and reading.
pub async fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    ours(from)?;
    let connect =
        SqliteConnectOptions::new().filename(from).create_if_missing(false).busy_timeout(BUSY_TIMEOUT);
    let copied = async {
        let mut connection = connect.disable_statement_logging().connect().await?;
        let to = to.to_string_lossy().into_owned();
        let copied = sqlx::query("VACUUM INTO $1").bind(to).execute(&mut connection).await;
        connection.close().await?;
        copied
    };
    copied.await.map(drop).map_err(|e| StoreError::of("copy the database", &e))
}

/// Makes the file under another name, marked as ours, and renames it: whoever is killed in between leaves
/// nothing at `path` that looks like a database gone empty.
async fn make(path: &Path) -> Result<(), StoreError> {
    let lock = lock(path).await?;
    if path.exists() {
        return Ok(());
    }
    let new = beside(path, ".new");
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(unavailable(&new, &e)),
        _ => {}
    }
    let connect = SqliteConnectOptions::new().filename(&new).create_if_missing(true);
    let made = async {
        let mut connection = connect.disable_statement_logging().connect().await?;
        sqlx::query("PRAGMA application_id = 1752525156").execute(&mut connection).await?;
        connection.close().await
    };
    made.await.map_err(|e| StoreError::of("make the database", &e))?;
    std::fs::rename(&new, path).map_err(|e| unavailable(path, &e))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| unavailable(folder, &e))?;
    drop(lock);
    Ok(())
}

/// Refuses the file of another program before anything is written to it.
fn ours(path: &Path) -> Result<(), StoreError> {
    let mut header = [0_u8; 100];
    let read = File::open(path).and_then(|mut f| f.read_exact(&mut header));
    match read {
        Ok(()) if header.starts_with(MAGIC) && be32(&header, 68) == APPLICATION_ID.cast_unsigned() => Ok(()),
        Err(e) if e.kind() != ErrorKind::UnexpectedEof => Err(unavailable(path, &e)),
        _ => Err(StoreError::Foreign { what: format!("{} is not marked as ours", path.display()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_reads_huid() {
        assert_eq!(APPLICATION_ID.to_be_bytes(), *b"huid");
        assert_eq!(APPLICATION_ID, 1_752_525_156);
    }

    #[test]
    fn a_file_shorter_than_its_header_says_is_cut() {
        let mut header = [0_u8; 100];
        header[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        header[28..32].copy_from_slice(&3_u32.to_be_bytes());
        assert!(cut_short(&header, 8192));
        assert!(!cut_short(&header, 12_288));
    }
}
