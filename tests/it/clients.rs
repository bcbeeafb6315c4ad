//! Real OpenFeature clients, unmodified, against a real service. `tests/clients/` holds the scripts, and says what
//! each client needed; `tests/clients/install` fetches the clients once.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{ADMIN, Huidu, eventually, ramp};

/// Longest run of one script, on a machine that builds beside it.
const RUN_MAX: Duration = Duration::from_secs(180);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with the clients; installed on first use.
fn installed() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let output = Command::new(root().join("tests/clients/install")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        root().join("target/tests-node")
    });
    &FOLDER
}

/// An address of the loopback that belongs to this process alone, so that its pages have an origin that is known
/// before anybody listens there.
fn page_host() -> String {
    let pid = std::process::id();
    format!("127.{}.{}.{}", 1 + (pid >> 16 & 63), pid >> 8 & 255, pid & 255)
}

fn fixed(key: &str, value_type: &str, off: &Value, on: &Value) -> Value {
    json!({"key": key, "value_type": value_type, "variants": {"off": off, "on": on},
           "off_variant": "off", "default_variant": "on"})
}

/// A flag that no release of huidu could have written, which was never good before.
fn break_a_flag(huidu: &Huidu) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite:{}", huidu.database().display());
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        let mut change = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for sql in [
            "INSERT INTO flags SELECT environment, 9999, 'broken', 1, '{\"key\":\"broken\"}', sha256, state, stage_open, stages, \
             updated_at, updated_by FROM flags WHERE environment = 1 AND key = 'a-boolean'",
            "UPDATE environments SET snapshot = snapshot + 1 WHERE number = 1",
            "INSERT INTO changes SELECT 1, snapshot, 0, '{\"flags\":[\"broken\"],\"audiences\":[]}' \
             FROM environments WHERE number = 1",
        ] {
            sqlx::query(sql).execute(&mut *change).await.unwrap();
        }
        change.commit().await.unwrap();
        pool.close().await;
    });
    let path = "/ofrep/v1/evaluate/flags/broken";
    eventually("the broken flag is known", || huidu.post(path, &huidu.server, &json!({})).status == 500);
}

/// A service whose flags show every kind of answer.
fn scene() -> Huidu {
    let (host, port) = (page_host(), PAGE_PORT);
    let huidu = Huidu::start_with(&[("CORS_ORIGINS", &format!("http://{host}:{port}"))]);
    huidu.create_flag(&fixed("a-boolean", "boolean", &json!(false), &json!(true)));
    huidu.create_flag(&fixed("a-string", "string", &json!(""), &json!("灰度 \"x\"")));
    huidu.create_flag(&fixed("an-integer", "integer", &json!(0), &json!(7)));
    huidu.create_flag(&fixed("a-float", "float", &json!(0.5), &json!(1)));
    let object = json!({"layout": "card", "steps": [1, {"deep": null}]});
    huidu.create_flag(&fixed("an-object", "object", &json!({}), &object));
    let mut entry = ramp("entry", 100.0, 0.0);
    entry["funnel"] = json!(["entry_opened", "code_shown", "entry_paid"]);
    entry["metrics"] = json!([{"step": "order_paid", "by": "payment_method", "values": ["wechat"]}]);
    huidu.create_flag(&entry);
    huidu.create_flag(&ramp("held-back", 0.0, 100.0));
    let mut shoes = ramp("for-shoes", 100.0, 0.0);
    shoes["goods"] = json!({"include": [{"attribute": "goods.category", "op": "eq", "value": "shoes"}]});
    huidu.create_flag(&shoes);
    let mut region = fixed("by-region", "boolean", &json!(false), &json!(true));
    region["default_variant"] = json!("off");
    let when = json!({"attribute": "user.region", "op": "eq", "value": "CN-31"});
    region["rules"] = json!([{"id": "r", "when": when, "serve": {"variant": "on"}}]);
    huidu.create_flag(&region);
    let mut moving = fixed("moving", "string", &json!("off"), &json!("before"));
    moving["variants"]["after"] = json!("after");
    huidu.create_flag(&moving);
    for (key, way) in [("shut", "kill"), ("gone", "archive")] {
        huidu.create_flag(&fixed(key, "string", &json!("off"), &json!("open")));
        huidu.manage("POST", &format!("/flags/{key}/{way}"), Some(1), &json!({"reason": "test"})).expect(200);
    }
    break_a_flag(&huidu);
    huidu
}

/// The port of pages; below those that outgoing connections take.
const PAGE_PORT: u16 = 18_765;

/// A started script; it does not outlive the test.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs a script against `huidu` and gives what it wrote; fails where it fails.
#[track_caller]
fn run(huidu: &Huidu, program: &str, arguments: &[&str], script: &str) -> String {
    let folder = installed();
    let mut command = Command::new(program);
    command.args(arguments).arg(folder.join("tests/clients").join(script)).current_dir(folder);
    command.env("HUIDU_TEST_URL", format!("http://{}", huidu.address));
    command.env("HUIDU_TEST_CLIENT", &huidu.client).env("HUIDU_TEST_SERVER", &huidu.server);
    command.env("HUIDU_TEST_ADMIN", ADMIN).env("NO_PROXY", "*").env("no_proxy", "*");
    command.env("HUIDU_TEST_PAGE", format!("{}:{PAGE_PORT}", page_host()));
    let (mut reader, writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let began = Instant::now();
    let mut script = Script(command.spawn().unwrap());
    // The command holds the writing ends: without them the reader meets the end.
    drop(command);
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    let status = loop {
        if let Some(status) = script.0.try_wait().unwrap() {
            break Some(status);
        }
        if began.elapsed() > RUN_MAX {
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(script);
    let text = output.join().unwrap().unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{text}");
    text
}

/// Runs a script of Node's own test runner, which must pass `cases` of them.
#[track_caller]
fn node(huidu: &Huidu, script: &str, cases: usize) {
    let arguments = ["--preserve-symlinks", "--preserve-symlinks-main", "--test-reporter=tap"];
    let text = run(huidu, "node", &arguments, script);
    assert!(text.contains(&format!("\n# pass {cases}\n")), "not {cases} cases:\n{text}");
}

#[test]
fn the_server_sdk_for_javascript_is_served() {
    node(&scene(), "server.mjs", 13);
}

/// One browser at a time: two are much for a small machine, and pages have one address.
static BROWSER: Mutex<()> = Mutex::new(());

#[test]
fn the_web_sdk_in_chromium_is_served() {
    let _alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    node(&scene(), "web.mjs", 15);
}

#[test]
fn the_sdk_for_python_is_served() {
    installed();
    let python = root().join("target/tests-python/bin/python");
    let text = run(&scene(), python.to_str().unwrap(), &[], "client.py");
    assert!(text.contains("\nRan 10 tests"), "{text}");
}

#[test]
fn the_guides_page_shows_and_reports() {
    let _alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    node(&scene(), "shop.mjs", 11);
}

#[test]
fn the_guides_mini_program_shows_and_reports() {
    node(&scene(), "mini.mjs", 4);
}

#[test]
fn the_guides_backends_decide_verify_and_report() {
    node(&scene(), "backend-shop.mjs", 6);
    let python = root().join("target/tests-python/bin/python");
    let text = run(&scene(), python.to_str().unwrap(), &[], "backend_shop.py");
    assert!(text.contains("\nRan 5 tests"), "{text}");
}

#[test]
fn the_guide_shows_the_examples_as_they_are() {
    let guide = std::fs::read_to_string(root().join("docs/frontend.md")).unwrap();
    let mut files: Vec<_> = std::fs::read_dir(root().join("examples/frontend"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let marker = format!("<!-- examples/frontend/{name} -->\n```");
        let block = guide.split_once(&marker).unwrap_or_else(|| panic!("{name} is not in the guide")).1;
        let (_, code) = block.split_once('\n').unwrap();
        let (code, _) = code.split_once("\n```").unwrap();
        assert_eq!(format!("{code}\n"), std::fs::read_to_string(&file).unwrap(), "{name}");
    }
    assert_eq!(guide.matches("\n```").count() % 2, 0);
}

#[test]
fn the_lock_of_the_clients_names_no_registry() {
    let lock = std::fs::read_to_string(root().join("tests/clients/package-lock.json")).unwrap();
    assert!(lock.contains("\"integrity\"") && !lock.contains("\"resolved\"") && !lock.contains("://"));
}
