//! Starting and stopping: the first start, what is refused, and what a stop finishes.

mod postgres;
mod running;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::fixture::*;

/// A start that must fail: its exit code and what it said. One that serves is ended.
fn refused(folder: &Path, settings: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let settings: Vec<_> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let mut command = program(folder, &settings);
    command.arg("serve").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let pid = process.id();
    let mut words = String::new();
    // The first line on standard output means that it serves; else the pipe ends with the process.
    std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout.take().unwrap()), &mut words)
        .unwrap();
    if !words.is_empty() {
        signal(pid, "KILL");
        panic!("it was not refused, but says: {words}");
    }
    let output = process.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_first_start_shows_its_keys_and_a_call_that_works() {
    let mut huidu = Huidu::start();
    assert!(huidu.banner.contains(&format!("http://{}", huidu.address)), "{}", huidu.banner);
    assert!(huidu.client.starts_with("huidu_client_") && huidu.server.starts_with("huidu_server_"));
    assert!(!huidu.banner.contains("huidu_admin_") && !huidu.banner.contains(ADMIN), "{}", huidu.banner);
    let line = huidu.banner.get(huidu.banner.find("curl ").unwrap()..).unwrap();
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let scan = answer["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["flag"] == "wechat-scan-pay")
        .unwrap();
    assert_eq!((&scan["visible"], &scan["value"]), (&json!(true), &json!(true)), "{answer}");
    let environments = huidu.get("/v1/environments", ADMIN).expect(200).json();
    let keys: Vec<_> =
        environments["items"].as_array().unwrap().iter().map(|item| item["key"].clone()).collect();
    assert_eq!(keys, ["production", "staging"]);
    huidu.create_flag(&ramp("mine", 100.0, 0.0));
    huidu.stop();
    huidu.start_again();
    assert!(!huidu.banner.contains("huidu_"), "{}", huidu.banner);
    assert_eq!(huidu.entry("mine", &json!({"id": "u-1"}), &json!([]))["visible"], true);
    assert_eq!(huidu.get("/v1/keys", ADMIN).expect(200).json()["items"].as_array().unwrap().len(), 3);
}

#[test]
fn without_a_bootstrap_key_the_first_start_shows_an_admin_key_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path(), &[]);
    command.env_remove("HUIDU_BOOTSTRAP_ADMIN_KEY").arg("serve").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(process.stdout.take().unwrap())).map(Result::unwrap);
    let address = lines.next().unwrap().rsplit("http://").next().unwrap().to_owned();
    let line = lines.find(|line| line.contains("huidu_admin_")).unwrap();
    let admin = line.split_whitespace().find(|word| word.starts_with("huidu_admin_")).unwrap();
    let mut call = ureq::get(format!("http://{address}/v1/keys"))
        .header("authorization", format!("Bearer {admin}"))
        .call()
        .unwrap();
    let listed = call.body_mut().read_to_string().unwrap();
    assert!(listed.contains("\"role\":\"admin\"") && !listed.contains(admin), "{listed}");
    signal(process.id(), "TERM");
    assert!(process.wait().unwrap().success());
}

/// A database of another program.
async fn foreign(file: &Path) {
    use sqlx::Connection as _;
    let url = format!("sqlite:{}?mode=rwc", file.display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE recipes (name TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn a_used_folder_whose_database_is_not_ours_any_more_is_refused_and_left_as_it_is() {
    let mut huidu = Huidu::start();
    huidu.stop();
    let file = huidu.database();
    let whole = std::fs::read(&file).unwrap();
    let elsewhere = huidu.folder().join("other.db");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(foreign(&elsewhere));
    let other = std::fs::read(&elsewhere).unwrap();
    let mut flipped = whole.clone();
    flipped[4096..4100].copy_from_slice(&[0xff; 4]);
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("text", b"dear diary\n".repeat(1_000)),
        ("truncated", whole[..whole.len() / 2 / 4096 * 4096].to_vec()),
        ("a page header overwritten", flipped),
        ("another program's", other),
    ] {
        std::fs::write(&file, &bytes).unwrap();
        let (code, words) = refused(huidu.folder(), &[], &[]);
        assert_eq!(code, Some(1), "{what}: {words}");
        assert!(words.contains("restore it from a backup") && words.contains("huidu.db"), "{what}: {words}");
        assert!(std::fs::read(&file).unwrap() == bytes, "{what}: the file was changed");
    }
    std::fs::remove_file(&file).unwrap();
    let (code, words) = refused(huidu.folder(), &[], &[]);
    assert!(
        code == Some(1) && words.contains("is gone") && words.contains("restore it from a backup"),
        "{words}"
    );
    assert!(!file.exists());
    std::fs::write(&file, &whole).unwrap();
    huidu.start_again();
    assert!(!huidu.tester_token().is_empty());
}

#[test]
fn a_folder_is_served_once_and_its_unit_ids_are_fixed() {
    let mut huidu = Huidu::start();
    let (code, words) = refused(huidu.folder(), &[], &[]);
    assert!(code == Some(1) && words.contains("another huidu serves"), "{words}");
    assert!(!huidu.tester_token().is_empty(), "the first goes on");
    huidu.stop();
    let (code, words) = refused(huidu.folder(), &[("UNIT_IDS", "hashed")], &[]);
    assert!(code == Some(1) && words.contains("unit_ids") && words.contains("plain"), "{words}");
    huidu.start_again();
}

#[test]
fn settings_that_are_unknown_or_wrong_name_themselves() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, words) in [
        ("LISTNE", "127.0.0.1:0", "HUIDU_LISTNE"),
        ("LISTEN", "nowhere", "HUIDU_LISTEN"),
        ("SHUTDOWN_SECONDS", "16", "HUIDU_SHUTDOWN_SECONDS"),
        ("UNIT_IDS", "secret", "HUIDU_UNIT_IDS"),
        ("CURRENCIES", "yuan", "HUIDU_CURRENCIES"),
        ("TIMEZONE", "Mars/Base", "HUIDU_TIMEZONE"),
        ("DATABASE_URL", "mysql://x", "HUIDU_DATABASE_URL"),
        ("CORS_ORIGINS", "shop", "HUIDU_CORS_ORIGINS"),
        ("BOOTSTRAP_ADMIN_KEY", "too-short-key", "HUIDU_BOOTSTRAP_ADMIN_KEY"),
        ("LOG", "info,=", "HUIDU_LOG"),
        ("METRICS_PUBLIC", "perhaps", "HUIDU_METRICS_PUBLIC"),
    ] {
        let (code, complaint) = refused(folder.path(), &[(name, value)], &[]);
        assert!(code.is_some_and(|code| code > 0) && complaint.contains(words), "{name}: {complaint}");
        assert!(!complaint.contains("too-short-key"), "{complaint}");
    }
    let (_, complaint) = refused(folder.path(), &[("LISTNE", "127.0.0.1:0")], &[]);
    assert!(complaint.to_lowercase().contains("did you mean huidu_listen"), "{complaint}");
    for (toml, words) in [
        ("listne = \"127.0.0.1:0\"\n", "listne"),
        ("\nworkers = \"many\"\n", "workers"),
        ("\n\n= 1\n", "line 3"),
    ] {
        std::fs::write(folder.path().join("huidu.toml"), toml).unwrap();
        let (code, complaint) = refused(folder.path(), &[], &[]);
        assert!(code.is_some_and(|code| code > 0) && complaint.contains(words), "{toml}: {complaint}");
    }
    std::fs::remove_file(folder.path().join("huidu.toml")).unwrap();
    let (_, complaint) =
        refused(folder.path(), &[], &["--bootstrap-admin-key", "argument-key-0123456789abcdefghijklm"]);
    assert!(
        complaint.contains("HUIDU_BOOTSTRAP_ADMIN_KEY") && !complaint.contains("argument-key"),
        "{complaint}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was begun");
}

#[test]
fn a_port_that_is_taken_is_said_in_one_sentence() {
    let (taken, folder) = (Huidu::start(), tempfile::tempdir().unwrap());
    let (code, words) = refused(folder.path(), &[("LISTEN", &taken.address)], &[]);
    assert!(code == Some(1) && words.contains(&format!("cannot listen on {}", taken.address)), "{words}");
    assert!(!folder.path().join("huidu.db").exists());
}

#[test]
fn a_bootstrap_key_may_come_later_and_once_revoked_stays_so() {
    const LATER: &str = "later-admin-key-0123456789abcdefghij";
    let mut huidu = Huidu::start();
    huidu.get("/v1/keys", LATER).refused(401, "unauthorized");
    let known = huidu.get("/v1/keys", ADMIN).expect(200).text;
    huidu.stop();
    for revoked in [false, true, true] {
        let settings = [("BOOTSTRAP_ADMIN_KEY".to_owned(), LATER.to_owned())];
        let mut command = program(huidu.folder(), &settings);
        let mut process = command.arg("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(process.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        huidu.address = line.trim().rsplit("http://").next().unwrap().to_owned();
        let keys = huidu.get("/v1/keys", ADMIN).expect(200).json();
        if revoked {
            huidu.get("/v1/keys", LATER).refused(401, "unauthorized");
        } else {
            huidu.get("/v1/keys", LATER).expect(200);
            let mut ids = keys["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap());
            let id = ids.find(|id| !known.contains(id)).unwrap();
            huidu.call("DELETE", &format!("/v1/keys/{id}"), ADMIN, &[], b"").expect(204);
        }
        signal(process.id(), "TERM");
        assert!(process.wait().unwrap().success());
    }
}
