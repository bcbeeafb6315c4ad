//! Keys: made over HTTP and at the command line, shown once, ended, kept apart by environment.

use std::process::Command;

use huidu::clock::{Clock as _, MachineClock, rfc3339};
use serde_json::{Value, json};

use crate::fixture::*;

fn make(huidu: &Huidu, by: &str, body: &Value) -> (String, String) {
    let made = huidu.post("/v1/keys", by, body).expect(201).json();
    (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

fn wish(role: &str, environment: Option<&str>) -> Value {
    json!({"name": format!("a {role}"), "role": role, "environment": environment})
}

/// Whether a key is let in where every key of its environment that may read is.
fn admits(huidu: &Huidu, key: &str) -> bool {
    match huidu.get("/v1/environments/production/flags", key).status {
        200 => true,
        401 => false,
        status => panic!("{status}"),
    }
}

fn key_command(huidu: &Huidu, arguments: &[&str]) -> std::process::Output {
    program(huidu.folder(), &[]).args(["key", "create"]).args(arguments).output().unwrap()
}

/// Whether any file of the database holds `text`.
fn stored(huidu: &Huidu, text: &str) -> bool {
    ["huidu.db", "huidu.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(huidu.folder().join(name)).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn a_key_is_shown_once_and_only_its_hash_is_kept() {
    let huidu = Huidu::start();
    for role in ["client", "server", "analyst", "editor", "admin"] {
        let (id, key) = make(&huidu, ADMIN, &wish(role, Some("production")));
        assert!(key.starts_with(&format!("huidu_{role}_")), "{key}");
        assert!(stored(&huidu, &id) && !stored(&huidu, &key), "{role}");
        let random = key.rsplit('_').next().unwrap();
        assert!(!stored(&huidu, random), "{role}");
        let list = huidu.get("/v1/keys", ADMIN).expect(200);
        assert!(
            list.text.contains(&id) && !list.text.contains(&key) && !list.text.contains(random),
            "{role}"
        );
        let read = huidu.get("/v1/environments/production/flags", &key).status;
        assert_eq!(read, if matches!(role, "client" | "server") { 403 } else { 200 }, "{role}");
    }
    assert!(!stored(&huidu, ADMIN) && !stored(&huidu, &huidu.server) && !stored(&huidu, &huidu.client));
}

#[test]
fn a_key_that_is_not_fully_said_is_not_made() {
    let huidu = Huidu::start();
    let listed = || {
        let mut keys = huidu.get("/v1/keys", ADMIN).expect(200).json();
        // When one was used last is written down a little later.
        keys["items"].as_array_mut().unwrap().iter_mut().for_each(|key| key["last_used_at"] = json!(null));
        keys
    };
    let before = listed();
    let long = "x".repeat(101);
    let past = rfc3339(MachineClock.now_ms() - 1);
    for (body, code) in [
        (json!({"name": "n", "role": "admin"}), "body_invalid"),
        (json!({"name": "n", "environment": null}), "body_invalid"),
        (json!({"role": "admin", "environment": null}), "body_invalid"),
        (json!({"name": "n", "role": "admin", "environment": null, "colour": 1}), "body_invalid"),
        (json!({"name": "n", "role": "owner", "environment": null}), "key_invalid"),
        (json!({"name": "n", "role": "admin", "environment": "none"}), "key_invalid"),
        (json!({"name": "", "role": "admin", "environment": null}), "key_invalid"),
        (json!({"name": long, "role": "admin", "environment": null}), "key_invalid"),
        (json!({"name": "n", "role": "admin", "environment": null, "expires_at": past}), "key_invalid"),
        (json!({"name": "n", "role": "admin", "environment": null, "expires_at": "soon"}), "key_invalid"),
    ] {
        let answer = huidu.post("/v1/keys", ADMIN, &body).refused(422, code);
        assert!(!answer.text.contains("huidu_admin_"), "{body}");
    }
    for key in [&huidu.client, &huidu.server] {
        huidu.post("/v1/keys", key, &wish("admin", None)).refused(403, "forbidden");
        huidu.get("/v1/keys", key).refused(403, "forbidden");
    }
    huidu.post("/v1/keys", "", &wish("admin", None)).refused(401, "unauthorized");
    assert_eq!(listed(), before);
}

#[test]
fn an_expired_and_a_revoked_key_are_refused_like_an_unknown_one() {
    let mut huidu = Huidu::start();
    let mut short = wish("editor", Some("production"));
    short["expires_at"] = json!(rfc3339(MachineClock.now_ms() + 2_000));
    let (_, short) = make(&huidu, ADMIN, &short);
    let (id, key) = make(&huidu, ADMIN, &wish("editor", Some("production")));
    assert!(admits(&huidu, &key) && admits(&huidu, &short));
    huidu.call("DELETE", &format!("/v1/keys/{id}"), ADMIN, &[], b"").expect(204);
    assert!(!admits(&huidu, &key), "revoked at once");
    huidu.call("DELETE", &format!("/v1/keys/{id}"), ADMIN, &[], b"").expect(204);
    huidu.call("DELETE", "/v1/keys/none", ADMIN, &[], b"").refused(404, "not_found");
    eventually("the key expires", || !admits(&huidu, &short));
    let body = |key: &str| {
        let mut body =
            huidu.get("/v1/environments/production/flags", key).refused(401, "unauthorized").json();
        body.as_object_mut().unwrap().remove("instance");
        body
    };
    let unknown = body("huidu_editor_unknownunknownunknownunknown");
    assert_eq!((body(&key), body(&short)), (unknown.clone(), unknown));
    huidu.stop();
    huidu.start_again();
    assert!(!admits(&huidu, &key) && !admits(&huidu, &short) && admits(&huidu, ADMIN));
}

#[test]
fn an_admin_of_one_environment_manages_its_keys_only() {
    let huidu = Huidu::start();
    let (_, own) = make(&huidu, ADMIN, &wish("admin", Some("staging")));
    let (foreign, _) = make(&huidu, ADMIN, &wish("server", Some("production")));
    let (id, key) = make(&huidu, &own, &wish("server", Some("staging")));
    for environment in [None, Some("production"), Some("none")] {
        huidu.post("/v1/keys", &own, &wish("client", environment)).refused(403, "forbidden");
    }
    let list = huidu.get("/v1/keys", &own).expect(200).json();
    assert!(list["items"].as_array().unwrap().iter().all(|item| item["environment"] == "staging"), "{list}");
    assert!(list.to_string().contains(&id) && !list.to_string().contains(&foreign), "{list}");
    huidu.call("DELETE", &format!("/v1/keys/{foreign}"), &own, &[], b"").refused(404, "not_found");
    huidu.call("DELETE", &format!("/v1/keys/{id}"), &own, &[], b"").expect(204);
    huidu
        .post("/v1/decisions", &key, &json!({"placement": "checkout", "user": {"id": "u"}}))
        .refused(401, "unauthorized");
}

#[test]
fn the_command_line_makes_keys_beside_a_running_and_a_stopped_service() {
    let mut huidu = Huidu::start();
    let text = |output: std::process::Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let running = text(key_command(&huidu, &["--name", "lost", "--role", "admin"]));
    assert!(running.starts_with("huidu_admin_") && !running.contains(char::is_whitespace), "{running:?}");
    eventually("the running service knows the key", || admits(&huidu, &running));
    huidu.stop();
    let stopped =
        text(key_command(&huidu, &["--name", "ann", "--role", "analyst", "--environment", "production"]));
    huidu.start_again();
    assert!(admits(&huidu, &running) && admits(&huidu, &stopped));
    huidu.get("/v1/environments/staging/flags", &stopped).refused(403, "forbidden");
    huidu.get("/v1/environments/staging/flags", &running).expect(200);
}

#[test]
fn the_command_line_refuses_what_it_cannot_do_and_makes_no_database() {
    let huidu = Huidu::start();
    for (arguments, words) in [
        (&["--name", "n", "--role", "owner"][..], "a role is client"),
        (&["--name", "n"][..], "--role"),
        (&["--name", "n", "--role", "admin", "--environment", "none"][..], "no environment"),
        (&["--name", "n", "--role", "admin", "--expires-at", "2020-01-01T00:00:00Z"][..], "past"),
        (&["--name", "n", "--role", "admin", "--expires-at", "soon"][..], "RFC 3339"),
    ] {
        let output = key_command(&huidu, arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && complaint.contains(words), "{arguments:?}: {complaint}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    let output = program(empty.path(), &[])
        .args(["key", "create", "--name", "n", "--role", "admin"])
        .output()
        .unwrap();
    assert!(
        !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("huidu serve"),
        "{output:?}"
    );
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn the_help_of_serve_names_every_setting_with_its_default() {
    let help = Command::new(huidu_program()).args(["serve", "--help"]).env_clear().output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let table = [
        ("config", None),
        ("listen", Some("127.0.0.1:8080")),
        ("workers", Some("0")),
        ("connections-max", Some("10000")),
        ("streams-max", Some("10000")),
        ("streams-per-key-max", Some("5000")),
        ("shutdown-seconds", Some("10")),
        ("data-dir", Some("huidu-data")),
        ("database-url", None),
        ("database-connections", Some("8")),
        ("database-timeout-ms", Some("3000")),
        ("retention-days-exposures", Some("0")),
        ("retention-days-steps", Some("0")),
        ("retention-days-audit", Some("0")),
        ("default-environment", Some("production")),
        ("unit-ids", Some("plain")),
        ("currencies", Some("CNY")),
        ("timezone", Some("UTC")),
        ("event-queue-events", Some("100000")),
        ("event-queue-bytes", Some("67108864")),
        ("event-batch-max", Some("20000")),
        ("audience-ids-max", Some("100000000")),
        ("audience-memory-bytes", Some("536870912")),
        ("audience-cache-bytes", Some("67108864")),
        ("audience-timeout-ms", Some("200")),
        ("bootstrap-admin-key", None),
        ("cors-origins", None),
        ("trusted-proxies", None),
        ("failed-auth-per-minute", Some("60")),
        ("writes-per-minute", Some("600")),
        ("log-format", Some("pretty")),
        ("log", Some("info,actix_server=warn,sqlx=warn")),
        ("metrics-public", Some("false")),
    ];
    for (name, default) in table {
        let begin = help
            .find(&format!("--{name} "))
            .or_else(|| help.find(&format!("--{name}[")))
            .unwrap_or_else(|| panic!("--{name}: {help}"));
        let own = help.get(begin + 2..).unwrap();
        let own = own.split("\n      --").next().unwrap();
        assert!(default.is_none_or(|value| own.contains(&format!("[default: {value}]"))), "{own}");
        assert!(
            own.lines().filter(|line| !line.trim().is_empty()).count() > 1,
            "--{name} has no words: {own}"
        );
    }
    let settings = help.lines().filter(|line| line.trim_start().starts_with("--")).count();
    assert_eq!(settings, table.len(), "a setting is not in this table: {help}");
}
