//! `huidu key` on the database itself.

use super::*;

#[test]
fn keys_are_listed_without_their_texts_and_revoked_under_a_running_service() {
    let huidu = Huidu::start();
    let made = on_database(
        &huidu,
        &[
            "key",
            "create",
            "--name",
            "Wang Fang",
            "--role",
            "editor",
            "--environment",
            "production",
            "--json",
        ],
    )
    .good()
    .json();
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with("huidu_editor_") && made["environment"] == "production", "{made}");
    let flags = "/v1/environments/production/flags";
    eventually("the service knows the key", || huidu.get(flags, key).status == 200);
    let list = on_database(&huidu, &["key", "list"]).good().out;
    let line = list.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{list}"));
    let hint = format!("...{}", key.get(key.len() - 4..).unwrap());
    for part in ["editor", "production", "Wang Fang", "good", hint.as_str()] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!list.contains(key) && list.lines().count() == 5, "{list}");
    let json = on_database(&huidu, &["key", "list", "--json"]).good().json();
    let service = huidu.get("/v1/keys", ADMIN).expect(200).json();
    let ids = |list: &Value| -> Vec<Value> {
        list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
    };
    assert_eq!(ids(&json), ids(&service));
    on_database(&huidu, &["key", "revoke", id]).good().says(&["is revoked", "Wang Fang"]);
    eventually("the service refuses the key", || huidu.get(flags, key).status == 401);
    on_database(&huidu, &["key", "revoke", id]).good().says(&["was revoked already"]);
    let list = on_database(&huidu, &["key", "list"]).good().out;
    assert!(list.lines().any(|line| line.starts_with(id) && line.contains("revoked 2")), "{list}");
    for wrong in ["", "0", "none-of-them"] {
        on_database(&huidu, &["key", "revoke", wrong]).bad(1, &["there is no key whose id begins"]);
    }
    let audit = huidu.get("/v1/environments/production/audit", ADMIN).expect(200).text;
    assert!(audit.contains("huidu key revoke"), "{audit}");
}

#[test]
fn an_id_that_two_keys_begin_with_revokes_neither() {
    let huidu = Huidu::start();
    let made = |name: &str| {
        let made =
            on_database(&huidu, &["key", "create", "--name", name, "--role", "admin", "--json"]).good();
        made.json()["id"].as_str().unwrap().to_owned()
    };
    // Ids begin with the time, so two keys made one after the other begin alike.
    let (one, other) = (made("one"), made("other"));
    let beginning = one.get(..6).unwrap();
    assert!(other.starts_with(beginning), "{one} {other}");
    on_database(&huidu, &["key", "revoke", beginning]).bad(1, &["keys have ids that begin with"]);
    let list = on_database(&huidu, &["key", "list"]).good().out;
    assert!(!list.contains("revoked"), "{list}");
}

#[test]
fn a_database_that_is_not_there_or_another_one_is_not_touched() {
    let empty = tempfile::tempdir().unwrap();
    for arguments in [&["key", "list"][..], &["key", "revoke", "0123"], &["migrate"]] {
        run(empty.path(), arguments).bad(1, &["huidu serve"]);
    }
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    let (mut first, mut second) = (Huidu::start(), Huidu::start());
    first.stop();
    second.stop();
    let url = format!("sqlite:{}", second.database().display());
    let folder = first.folder().to_str().unwrap();
    run(empty.path(), &["key", "list", "--data-dir", folder, "--database-url", &url])
        .bad(1, &["belongs to another database"]);
}
