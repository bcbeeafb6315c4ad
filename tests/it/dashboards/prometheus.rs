//! A real Prometheus with the real rules scrapes two real instances under traffic: whatever a dashboard or a rule asks
//! has an answer.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::promql::{filled, operands};
use super::traffic::{RESTLESS, STEADY, drive, prepare};
use super::{Board, list, text, word};
use crate::fixture::Huidu;
use crate::postgres::{Database, Engine, block_on};

/// How long answers may take to come; a busy machine needs patience, a missing metric never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a healthy service answers with nothing, and why that is right. Each must stay empty.
const EMPTY: [(&str, &str); 1] = [("absent(up{job=\"huidu\"})", "the service is scraped")];

/// A running Prometheus.
struct Prometheus {
    process: Child,
    address: String,
    folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Prometheus {
    /// Scrapes and evaluates each second, so that a test need not wait for what takes minutes in service.
    fn start(instances: [&Huidu; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files:\n".to_owned();
        for file in ["huidu_recording.yml", "huidu_alerts.yml"] {
            let rules = text(&format!("dashboards/rules/{file}"));
            let quick: Vec<_> = rules
                .lines()
                .map(|line| if line.starts_with("    interval: ") { "    interval: 1s" } else { line })
                .collect();
            std::fs::write(folder.path().join(file), quick.join("\n")).unwrap();
            writeln!(config, "  - {file}").unwrap();
        }
        let (key, targets) =
            (&instances[0].server, instances.map(|huidu| format!("'{}'", huidu.address)).join(", "));
        write!(config, "scrape_configs:\n  - job_name: huidu\n    authorization: {{credentials: {key}}}\n    static_configs: [{{targets: [{targets}]}}]\n").unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let started = Command::new("prometheus")
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let process = started.expect("prometheus is missing: install the Debian package prometheus");
        let prometheus = Self { process, address, folder };
        prometheus.wait("Prometheus is ready", |it| ureq::get(it.url("/-/ready")).call().is_ok());
        prometheus
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn wait(&self, what: &str, mut check: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !check(self) {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}; {}", log());
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The `data` of an answer.
    fn ask(&self, path: &str, fields: &[(&str, &str)]) -> Value {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = if fields.is_empty() {
            agent.get(self.url(path)).call().unwrap()
        } else {
            agent.post(self.url(path)).send_form(fields.iter().copied()).unwrap()
        };
        let answer: Value = answer.body_mut().read_json().unwrap();
        assert_eq!(answer["status"], "success", "{fields:?}: {answer}");
        answer["data"].clone()
    }

    /// Whether a query gives any number; one that cannot be parsed fails the test.
    fn has(&self, query: &str, instant: bool) -> bool {
        let now = jiff::Timestamp::now().as_second();
        let (from, to) = ((now - 60).to_string(), now.to_string());
        let data = if instant {
            self.ask("/api/v1/query", &[("query", query)])
        } else {
            self.ask(
                "/api/v1/query_range",
                &[("query", query), ("start", &from), ("end", &to), ("step", "1")],
            )
        };
        if data["resultType"] == "scalar" {
            return true;
        }
        list(&data["result"]).iter().any(|series| {
            let one = std::slice::from_ref(&series["value"]);
            let values = if instant { one } else { list(&series["values"]) };
            values.iter().any(|value| value[1].as_str().is_some_and(|number| number != "NaN"))
        })
    }

    /// The rules as Prometheus read them: kind, name, query. Each must be evaluated without a fault.
    fn rules(&self) -> Vec<(String, String, String)> {
        let data = self.ask("/api/v1/rules", &[]);
        let rules = list(&data["groups"]).iter().flat_map(|group| list(&group["rules"]));
        rules
            .inspect(|rule| assert!(rule["lastError"].is_null() && rule["health"] != "err", "{rule}"))
            .map(|rule| (word(&rule["type"]), word(&rule["name"]), word(&rule["query"])))
            .collect()
    }
}

/// Something that must have an answer in one of its forms.
struct Question {
    place: String,
    forms: Vec<String>,
    instant: bool,
}

/// What fills a variable: `label_values(SERIES, LABEL)`.
fn choices(definition: &str) -> Option<String> {
    let (series, label) = definition.strip_prefix("label_values(")?.strip_suffix(')')?.rsplit_once(", ")?;
    Some(format!("count by ({label}) ({series}{{{label}!=\"\"}})").replace("}{", ", "))
}

fn questions(prometheus: &Prometheus) -> Vec<Question> {
    let chosen: [(&str, &[&str]); 2] = [("environment", &["production"]), ("flag", &[STEADY, RESTLESS])];
    let mut all = Vec::new();
    for board in Board::all() {
        for written in board.queries() {
            let forms = filled(&board, &written.query, &chosen);
            all.push(Question { place: written.place, forms, instant: written.instant });
        }
        for variable in board.variables().iter().filter(|variable| !variable.definition.is_empty()) {
            let query = choices(&variable.definition).unwrap_or_else(|| panic!("{}", variable.definition));
            let place = format!("{}: variable {}", board.file, variable.name);
            all.push(Question { place, forms: filled(&board, &query, &chosen), instant: true });
        }
    }
    for (kind, name, query) in prometheus.rules() {
        let parts = if kind == "alerting" { operands(&query) } else { vec![query] };
        for part in parts.into_iter().filter(|part| EMPTY.iter().all(|(empty, _)| empty != part)) {
            all.push(Question { place: format!("rule {name}"), forms: vec![part], instant: true });
        }
    }
    all
}

fn two_instances(url: &str) {
    let first = Huidu::start_with(&[("DATABASE_URL", url)]);
    let second = Huidu::beside(&first);
    prepare([&first, &second]);
    let prometheus = Prometheus::start([&first, &second]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let shoppers = threads.spawn(|| drive([&first, &second], &stop));
        // However it ends, the shoppers must go home.
        let _end = Stop(&stop);
        let mut open = questions(&prometheus);
        assert!(open.len() > 150, "{}", open.len());
        let began = Instant::now();
        loop {
            open.retain(|question| !question.forms.iter().any(|form| prometheus.has(form, question.instant)));
            if open.is_empty() {
                break;
            }
            assert!(!shoppers.is_finished(), "the shoppers stopped");
            let left: Vec<_> =
                open.iter().map(|q| format!("{}\n    {}", q.place, q.forms.join("\n    "))).collect();
            assert!(began.elapsed() < PATIENCE, "without an answer:\n{}", left.join("\n"));
            std::thread::sleep(Duration::from_millis(500));
        }
        for (query, why) in EMPTY {
            assert!(!prometheus.has(query, true), "{query} has an answer, though {why}");
        }
        assert!(!prometheus.rules().is_empty());
    });
}

/// Tells the shoppers to stop when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn whatever_dashboards_and_rules_ask_has_an_answer() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || two_instances(&url)).await.unwrap();
    });
}
