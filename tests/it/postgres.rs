//! Databases for tests: a SQLite file, or a database of a PostgreSQL that lives as long as this process.

use std::net::TcpListener;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use huidu::store::{OpenOptions, Store, open};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};
use tempfile::TempDir;

/// Which engine a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// A migrated database of one test.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) engine: Engine,
    folder: TempDir,
}

impl Deref for Database {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Options that make the file.
pub(crate) fn creating() -> OpenOptions {
    let mut options = OpenOptions { create: true, ..OpenOptions::default() };
    // Two cores serve all tests at once.
    options.deadlines.read = Duration::from_secs(20);
    options.deadlines.write = Duration::from_secs(20);
    options.deadlines.migrate = Duration::from_secs(60);
    options
}

impl Database {
    /// An empty database.
    pub(crate) async fn empty(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match engine {
            Engine::Sqlite => format!("sqlite:{}", folder.path().join("huidu.db").display()),
            Engine::Postgres => new_postgres_database().await,
        };
        let store = open(&url, &creating()).await.unwrap();
        Self { store, url, engine, folder }
    }

    /// A migrated database.
    pub(crate) async fn start(engine: Engine) -> Self {
        let database = Self::empty(engine).await;
        database.store.migrate().await.unwrap();
        database
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("huidu.db")
    }

    /// Runs a statement behind the store's back.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.url, self.engine, sql).await;
    }

    /// Asks for one number behind the store's back.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        number(&self.url, self.engine, sql).await
    }
}

/// Runs a statement on the database at `url`.
pub(crate) async fn execute(url: &str, engine: Engine, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    match engine {
        Engine::Sqlite => {
            let mut c = SqliteConnection::connect(url).await.unwrap();
            c.execute(sql).await.unwrap();
            c.close().await.unwrap();
        }
        Engine::Postgres => {
            let mut c = PgConnection::connect(url).await.unwrap();
            c.execute(sql).await.unwrap();
            c.close().await.unwrap();
        }
    }
}

/// Asks the database at `url` for one number.
pub(crate) async fn number(url: &str, engine: Engine, sql: &str) -> i64 {
    let sql = AssertSqlSafe(sql.to_owned());
    match engine {
        Engine::Sqlite => {
            let mut c = SqliteConnection::connect(url).await.unwrap();
            c.fetch_one(sql).await.unwrap().get(0)
        }
        Engine::Postgres => {
            let mut c = PgConnection::connect(url).await.unwrap();
            c.fetch_one(sql).await.unwrap().get(0)
        }
    }
}

/// Makes each `async fn name(db) { ... }` the tests `sqlite::name` and `postgres::name`.
macro_rules! on_both_engines {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident) $body:block)*) => {
        $($(#[$meta])* async fn $name($db: $crate::postgres::Database) $body)*
        mod sqlite {
            $(#[test]
            fn $name() {
                $crate::postgres::run($crate::postgres::Engine::Sqlite, super::$name);
            })*
        }
        mod postgres {
            $(#[test]
            fn $name() {
                $crate::postgres::run($crate::postgres::Engine::Postgres, super::$name);
            })*
        }
    };
}
pub(crate) use on_both_engines;

/// Runs a test on a migrated database of its own.
pub(crate) fn run<F: Future<Output = ()>>(engine: Engine, test: impl FnOnce(Database) -> F) {
    block_on(async { test(Database::start(engine).await).await });
}

/// Runs a future to its end.
pub(crate) fn block_on<F: Future<Output = ()>>(test: F) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

struct Cluster {
    port: u16,
    /// Its standard input is the life line: PostgreSQL ends when this process, however it ends, lets go.
    _shell: Child,
}

async fn new_postgres_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let port = tokio::task::spawn_blocking(|| cluster().port).await.unwrap();
    let name = format!("huidu_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let at = |database: &str| format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable");
    let mut admin = connect_when_ready(&at("postgres")).await;
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    admin.close().await.unwrap();
    at(&name)
}

/// The first test waits for the start: nobody listens at first, then it answers that it is starting up.
async fn connect_when_ready(url: &str) -> PgConnection {
    for _ in 0..600 {
        if let Ok(connection) = PgConnection::connect(url).await {
            return connection;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("PostgreSQL did not start within a minute");
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let bin = binaries().expect(
            "these tests need PostgreSQL: no /usr/lib/postgresql/*/bin/initdb here (Debian: apt install postgresql)",
        );
        start(&bin)
    })
}

/// The newest installed release's programs.
fn binaries() -> Option<PathBuf> {
    let releases = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<_> = releases
        .filter_map(Result::ok)
        .filter_map(|e| {
            let bin = e.path().join("bin");
            let number: u32 = e.file_name().to_str()?.parse().ok()?;
            bin.join("initdb").exists().then_some((number, bin))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

fn start(bin: &Path) -> Cluster {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bin = bin.display();
    let script = format!(
        "dir=$(mktemp -d) && {bin}/initdb -D $dir --locale=C -E UTF8 -A trust -U postgres >/dev/null && {{ \
         {bin}/postgres -D $dir -p {port} -c fsync=off -c listen_addresses=127.0.0.1 -c max_connections=400 \
         -c unix_socket_directories= >$dir/log 2>&1 & pg=$!; cat >/dev/null; kill -TERM $pg; wait $pg; rm -rf $dir; }}"
    );
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let mut command = if root {
        let mut su = Command::new("su");
        su.args(["postgres", "-s", "/bin/sh", "-c", &script]);
        su
    } else {
        let mut sh = Command::new("/bin/sh");
        sh.args(["-c", &script]);
        sh
    };
    let shell = command.current_dir("/tmp").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    Cluster { port, _shell: shell }
}
