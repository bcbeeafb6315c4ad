//! SQLite files: how they are opened, and what is seen before.

use std::path::{Path, PathBuf};

use huidu::store::sqlite::{FileState, inspect};
use huidu::store::{OpenOptions, StoreError, open};

use super::{environment, flag};
use crate::postgres::{Database, Engine, block_on, creating};

/// The bytes of a file and of its log.
fn bytes(path: &Path) -> (Vec<u8>, Vec<u8>) {
    let log = PathBuf::from(format!("{}-wal", path.display()));
    (std::fs::read(path).unwrap_or_default(), std::fs::read(log).unwrap_or_default())
}

async fn check(path: &Path) -> FileState {
    let before = bytes(path);
    let state = inspect(path).await.unwrap();
    assert_eq!(bytes(path), before, "looking changes nothing");
    state
}

/// The bytes of a closed database.
async fn closed() -> Vec<u8> {
    let db = Database::start(Engine::Sqlite).await;
    let environment = environment(&db, "production").await;
    for n in 0..50 {
        flag(&db, environment, &format!("f-{n}")).await;
    }
    db.close().await;
    let (file, log) = bytes(&db.file());
    assert!(log.is_empty() && file.len() > 40_960, "closing folds the log in");
    file
}

#[test]
fn the_writing_connection_is_durable() {
    block_on(async {
        let db = Database::start(Engine::Sqlite).await;
        let found = db.durability().await.unwrap();
        let expected = [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1")];
        assert_eq!(found.iter().map(|(k, v)| (*k, v.as_str())).collect::<Vec<_>>(), expected);
        assert_eq!(db.number("SELECT application_id FROM pragma_application_id").await, 0x6875_6964);
    });
}

#[test]
fn the_log_is_folded_into_the_file_beside_an_open_writer() {
    block_on(async {
        let db = Database::start(Engine::Sqlite).await;
        let environment = environment(&db, "production").await;
        for n in 0..20 {
            flag(&db, environment, &format!("folded-{n}")).await;
        }
        let in_file = || bytes(&db.file()).0.windows(9).any(|place| place == b"folded-19");
        assert!(!in_file(), "what was written last stands in the log alone");
        db.fold_log().await.unwrap();
        assert!(in_file());
    });
}

#[test]
fn the_log_begins_anew_while_writers_go_on() {
    block_on(async {
        let db = Database::start(Engine::Sqlite).await;
        let environment = environment(&db, "production").await;
        let write = async |round: usize| {
            for n in 0..30 {
                flag(&db, environment, &format!("f-{round}-{n}")).await;
            }
        };
        let mut longest = Vec::new();
        for round in 0..12 {
            tokio::join!(write(round), async {
                for _ in 0..5 {
                    db.fold_log().await.unwrap();
                }
            });
            longest.push(bytes(&db.file()).1.len());
        }
        // A log that never began anew would hold twelve times what the first round wrote.
        let (first, last) = (longest[0], longest[11]);
        assert!(last < 3 * first, "{longest:?}");
    });
}

#[test]
fn what_stands_at_the_path_is_told_and_left_alone() {
    block_on(async {
        let good = closed().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b?%23.db");
        assert_eq!(check(&path).await, FileState::Missing);
        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            bytes
        };
        let corrupt = FileState::Corrupt(String::new());
        let mut zeroed_page = good.clone();
        zeroed_page[4096..4104].fill(0xee);
        let cases = [
            ("empty", vec![], FileState::Empty),
            ("good", good.clone(), FileState::Huidu),
            ("text", "no database\n".repeat(500).into_bytes(), FileState::Foreign),
            ("short text", b"x".to_vec(), FileState::Foreign),
            ("flipped in the magic", flipped(3), FileState::Foreign),
            ("flipped in the mark", flipped(70), FileState::Foreign),
            ("flipped in the page size", flipped(16), corrupt.clone()),
            ("flipped in the schema format", flipped(47), corrupt.clone()),
            ("a page's header", zeroed_page, corrupt.clone()),
            ("half", good[..good.len() / 2].to_vec(), corrupt.clone()),
            ("less a byte", good[..good.len() - 1].to_vec(), corrupt.clone()),
            ("half a header", good[..50].to_vec(), corrupt.clone()),
        ];
        for (name, bytes, expected) in cases {
            std::fs::write(&path, bytes).unwrap();
            let state = match check(&path).await {
                FileState::Corrupt(_) => corrupt.clone(),
                state => state,
            };
            assert_eq!(state, expected, "{name}");
            let files = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(files, 1, "{name}: no side files");
        }
    });
}

#[test]
fn a_database_that_was_killed_is_ours_and_whole() {
    block_on(async {
        let db = Database::empty(Engine::Sqlite).await;
        // A reader that has looked keeps the migrating connection from folding the log in at its end.
        assert_eq!(db.identity().await.unwrap_err().code(), "statement");
        db.migrate().await.unwrap();
        let environment = environment(&db, "production").await;
        flag(&db, environment, "a").await;
        // What a killed process leaves: the file and its log, nothing folded in.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("killed.db");
        let (file, log) = bytes(&db.file());
        assert!(file.len() < 10_000 && log.len() > 40_960, "all is in the log: {} {}", file.len(), log.len());
        std::fs::write(&path, &file).unwrap();
        std::fs::write(folder.path().join("killed.db-wal"), &log).unwrap();
        assert_eq!(check(&path).await, FileState::Huidu);
        assert_eq!(check(&db.file()).await, FileState::Huidu, "while it is open elsewhere");
        let store = open(&format!("sqlite:{}", path.display()), &OpenOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        assert_eq!(store.flags(environment).await.unwrap().len(), 1);

        std::fs::remove_file(&path).unwrap();
        assert!(matches!(check(&path).await, FileState::Corrupt(_)), "a log without its file");
    });
}

#[test]
fn another_programs_file_is_never_written_to() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let url = format!("sqlite://{}", path.display());
        assert!(matches!(open(&url, &OpenOptions::default()).await, Err(StoreError::NotFound)));
        assert!(!path.exists());
        for bytes in [b"hello".to_vec(), vec![], vec![7; 9_000]] {
            std::fs::write(&path, &bytes).unwrap();
            assert!(matches!(open(&url, &creating()).await, Err(StoreError::Foreign { .. })));
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        let address = open("mysql://x", &creating()).await;
        assert!(matches!(address, Err(StoreError::Address(_))));
    });
}
