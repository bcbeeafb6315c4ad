//! `huidu backup`: taken under load, served from elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::*;

#[test]
fn a_backup_under_load_holds_what_was_acknowledged_before_it_and_serves_elsewhere() {
    let huidu = Huidu::start_with(&[("WRITES_PER_MINUTE", "1000000")]);
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("huidu.db");
    let file = copy.to_str().unwrap();
    let (stop, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let before = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let number = made.load(Ordering::SeqCst);
                huidu.create_flag(&ramp(&format!("load-{number}"), 1.0, 0.0));
                made.store(number + 1, Ordering::SeqCst);
            }
        });
        eventually("flags are made", || made.load(Ordering::SeqCst) >= 5);
        let before = made.load(Ordering::SeqCst);
        let done = on_database(&huidu, &["backup", "--to", file, "--json"]);
        stop.store(true, Ordering::SeqCst);
        let told = done.good().json();
        assert_eq!(told["bytes"], fs::metadata(&copy).unwrap().len());
        before
    });
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600, "it holds secrets");
    assert!(!elsewhere.path().join("huidu.db.part").exists());
    let token = huidu.tester_token();
    let restored = Huidu::start_from(elsewhere);
    let flags = call(&restored, &["flag", "list", "--json"]).good().json();
    let keys: Vec<_> =
        flags["items"].as_array().unwrap().iter().map(|item| item["flag"]["key"].clone()).collect();
    for number in 0..before {
        assert!(keys.contains(&json!(format!("load-{number}"))), "load-{number} of {before}: {keys:?}");
    }
    // Keys, and the secrets that seal tokens, came along.
    let verified =
        restored.post("/v1/tokens/verify", &huidu.server, &json!({"token": token})).expect(200).json();
    assert_eq!(verified["valid"], true, "{verified}");
}

#[test]
fn a_backup_overwrites_nothing_and_leaves_nothing_half() {
    let huidu = Huidu::start();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("b.db");
    let file = to.to_str().unwrap();
    fs::write(&to, "mine").unwrap();
    on_database(&huidu, &["backup", "--to", file]).bad(1, &["b.db exists already"]);
    assert_eq!(fs::read_to_string(&to).unwrap(), "mine");
    // What a killed backup left behind is no hindrance.
    fs::write(folder.path().join("c.db.part"), "half").unwrap();
    let to = folder.path().join("c.db");
    on_database(&huidu, &["backup", "--to", to.to_str().unwrap()]).good().says(&["c.db: ", " bytes"]);
    let nowhere = folder.path().join("none/d.db");
    on_database(&huidu, &["backup", "--to", nowhere.to_str().unwrap()]).bad(1, &["d.db.part cannot be made"]);
    let url = ["--database-url", "postgres://nobody@127.0.0.1:1/none"];
    on_database(&huidu, &[&["backup", "--to", "e.db"], &url[..]].concat()).bad(1, &["pg_dump"]);
    let names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let empty = tempfile::tempdir().unwrap();
    run(empty.path(), &["backup", "--to", "f.db"]).bad(1, &["huidu serve"]);
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}
