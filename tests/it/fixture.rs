//! A real huidu in a process of its own, and a client that speaks to it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The admin key that every test service is given.
pub(crate) const ADMIN: &str = "test-admin-key-0123456789abcdefghij";

/// A running service. Its folder outlives a restart, and goes with this.
pub(crate) struct Huidu {
    pub(crate) address: String,
    pub(crate) client: String,
    pub(crate) server: String,
    /// What the first start printed.
    pub(crate) banner: String,
    folder: TempDir,
    settings: Vec<(String, String)>,
    process: Child,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The `code` of a problem.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Fails unless the status is `status`.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Fails unless it is a problem of this status and code, with a request id.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{self:?}");
        assert_eq!(self.json()["instance"].as_str(), self.header("x-request-id"), "{self:?}");
        self
    }
}

impl Huidu {
    /// A first start with the defaults.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A first start with settings, given as variables without `HUIDU_`.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings: Vec<_> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let (process, address, banner) = spawn(folder.path(), &settings);
        let key = |role: &str| {
            let words = banner.split_whitespace();
            words
                .filter(|word| word.starts_with(&format!("huidu_{role}_")))
                .map(str::to_owned)
                .next()
                .unwrap_or_default()
        };
        Self {
            address,
            client: key("client"),
            server: key("server"),
            banner: banner.clone(),
            folder,
            settings,
            process,
        }
    }

    /// A first start that cannot be ready yet.
    pub(crate) fn start_unready(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings: Vec<_> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let (process, address, banner) = spawn_unready(folder.path(), &settings);
        let none = String::new;
        Self { address, client: none(), server: none(), banner, folder, settings, process }
    }

    /// Another instance on the same PostgreSQL, with a folder of its own.
    pub(crate) fn beside(other: &Self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Only a first start prints keys.
        std::fs::write(folder.path().join("started"), "").unwrap();
        let settings = other.settings.clone();
        let (process, address, banner) = spawn(folder.path(), &settings);
        let (client, server) = (other.client.clone(), other.server.clone());
        Self { address, client, server, banner, folder, settings, process }
    }

    /// A start on a folder that holds a database already.
    pub(crate) fn start_from(folder: TempDir) -> Self {
        std::fs::write(folder.path().join("started"), "").unwrap();
        let (process, address, banner) = spawn(folder.path(), &[]);
        let none = String::new;
        Self { address, client: none(), server: none(), banner, folder, settings: Vec::new(), process }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("huidu.db")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL, without a word.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM; how long the stop took.
    pub(crate) fn stop(&mut self) -> Duration {
        let began = Instant::now();
        signal(self.process.id(), "TERM");
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status:?}");
        began.elapsed()
    }

    /// Starts again on the same folder, at a new address.
    pub(crate) fn start_again(&mut self) {
        let (process, address, banner) = spawn(self.folder.path(), &self.settings);
        (self.process, self.address, self.banner) = (process, address, banner);
    }

    /// Starts again where it cannot be ready yet.
    pub(crate) fn start_again_unready(&mut self) {
        let (process, address, banner) = spawn_unready(self.folder.path(), &self.settings);
        (self.process, self.address, self.banner) = (process, address, banner);
    }

    /// What it printed after a start that could not be ready.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }

    /// A call with any method, key (`""` = none), headers and body.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = if body.is_empty() && matches!(method, "GET" | "DELETE" | "HEAD" | "OPTIONS") {
            agent.run(request.body(()).unwrap())
        } else {
            agent.run(request.body(body).unwrap())
        };
        let mut response = response.unwrap();
        let headers = response.headers().iter();
        Answer {
            status: response.status().as_u16(),
            headers: headers
                .map(|(n, v)| (n.as_str().to_owned(), v.to_str().unwrap_or_default().to_owned()))
                .collect(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    }

    pub(crate) fn get(&self, path: &str, key: &str) -> Answer {
        self.call("GET", path, key, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.call("POST", path, key, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    /// A management call of the admin, with `If-Match` if a version is given.
    pub(crate) fn manage(&self, method: &str, path: &str, version: Option<i64>, body: &Value) -> Answer {
        let tag = version.map(|version| format!("\"{version}\""));
        let mut headers = vec![("content-type", "application/json")];
        match &tag {
            Some(tag) => headers.push(("if-match", tag)),
            None if method == "PUT" => headers.push(("if-none-match", "*")),
            None => {}
        }
        let path = format!("/v1/environments/production{path}");
        self.call(method, &path, ADMIN, &headers, body.to_string().as_bytes())
    }

    /// Creates a flag.
    #[track_caller]
    pub(crate) fn create_flag(&self, document: &Value) {
        let key = document["key"].as_str().unwrap();
        self.manage("PUT", &format!("/flags/{key}"), None, document).expect(201);
    }

    /// The decision of a flag of the placement `checkout`, as a server sees it.
    pub(crate) fn entry(&self, flag: &str, user: &Value, goods: &Value) -> Value {
        let body = json!({"placement": "checkout", "user": user, "order": {"id": "o-1", "currency": "CNY", "goods": goods}});
        let answer = self.post("/v1/decisions", &self.server, &body).expect(200).json();
        let entries = answer["entries"].as_array().unwrap().clone();
        entries.into_iter().find(|entry| entry["flag"] == flag).unwrap()
    }

    /// The token of the seeded tester for the scan entry.
    pub(crate) fn tester_token(&self) -> String {
        let entry = self.entry(
            "wechat-scan-pay",
            &json!({"id": "tester-1"}),
            &json!([{"id": "g-1", "category": "shoes", "price": 1}]),
        );
        entry["exposure_token"].as_str().unwrap().to_owned()
    }

    /// Sends events with a key.
    pub(crate) fn events(&self, key: &str, events: &Value) -> Answer {
        self.post("/v1/events", key, &json!({"events": events}))
    }

    /// The value of the first series whose line begins with `series`.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics", ADMIN).expect(200).text;
        text.lines()
            .find(|line| line.starts_with(series))
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
    }

    /// What the service wrote to its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Huidu {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// The program under test: the one that was built beside the tests, or the one that `tests/run` names.
pub(crate) fn huidu_program() -> PathBuf {
    std::env::var_os("HUIDU_TEST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_huidu").into(), PathBuf::from)
}

/// The program with a clean environment, not yet started.
pub(crate) fn program(folder: &Path, settings: &[(String, String)]) -> Command {
    let mut command = Command::new(huidu_program());
    command.env_clear().current_dir(folder).env("HUIDU_DATA_DIR", folder);
    command.env("HUIDU_LISTEN", "127.0.0.1:0").env("HUIDU_BOOTSTRAP_ADMIN_KEY", ADMIN);
    command.env("HUIDU_AUDIENCE_TIMEOUT_MS", "20000");
    command.env("HUIDU_DATABASE_TIMEOUT_MS", "20000").env("HUIDU_LOG_FORMAT", "json");
    for (name, value) in settings {
        command.env(format!("HUIDU_{name}"), value);
    }
    command
}

/// Starts the service and reads where it listens, and what else it prints until it is ready.
fn spawn(folder: &Path, settings: &[(String, String)]) -> (Child, String, String) {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut process =
        program(folder, settings).arg("serve").stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first = lines.next().map(Result::unwrap).unwrap_or_else(|| {
        panic!("huidu did not start: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default())
    });
    let address = first.rsplit("http://").next().unwrap().to_owned();
    let mut banner = first;
    if !folder.join("started").exists() {
        for line in lines.by_ref().map_while(Result::ok) {
            banner.push('\n');
            banner.push_str(&line);
            // The example call ends the banner of a first start.
            if line.trim_start().starts_with("-d '") {
                break;
            }
        }
        std::fs::write(folder.join("started"), "").unwrap();
    }
    // Somebody must read on, or the service would wait for the pipe.
    std::thread::spawn(move || for _ in lines {});
    let began = Instant::now();
    while ureq::get(format!("http://{address}/readyz")).call().is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "huidu is not ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    (process, address, banner)
}

/// Starts the service where it cannot be ready yet: what it prints goes into the file `output`.
fn spawn_unready(folder: &Path, settings: &[(String, String)]) -> (Child, String, String) {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let output = std::fs::File::create(folder.join("output")).unwrap();
    let process = program(folder, settings).arg("serve").stdout(output).stderr(log).spawn().unwrap();
    let mut banner = String::new();
    eventually("it listens", || {
        banner = std::fs::read_to_string(folder.join("output")).unwrap();
        banner.contains('\n')
    });
    let first = banner.lines().next().unwrap();
    let address = first.rsplit("http://").next().unwrap().to_owned();
    (process, address, first.to_owned())
}

/// Waits until `check` holds, at most ten seconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let began = Instant::now();
    while !check() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: not within 10 seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A flag document that opens `on` by one rollout.
pub(crate) fn ramp(key: &str, percent: f64, control: f64) -> Value {
    json!({
        "key": key, "placement": "checkout", "value_type": "boolean",
        "variants": {"off": false, "on": true}, "off_variant": "off", "salt": key,
        "rules": [{"id": "ramp", "serve": {"rollout": {"percent": percent, "control": control}}}],
    })
}
