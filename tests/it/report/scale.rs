//! Reports over ten million exposures and a million conversions, measured by hand, since it takes a quarter of an hour:
//!
//!     cargo build --release && HUIDU_TEST_PROGRAM=target/release/huidu cargo test --test it -- --ignored --nocapture scale::
//!
//! Rows are made inside the database. Two weeks in twenty stages, 2 to 40 percent treated by two variants, 20 percent
//! control; one shopper of ten comes in most stages, most come once or twice; four stops, a goal, a guardrail.
//!
//! `HUIDU_TEST_EXPOSURES` (10000000) says how many, `HUIDU_TEST_EVENTS_PER_SECOND` (50) what comes while it is measured,
//! half of it exposures; `HUIDU_TEST_HOLD` how many seconds the service stays up afterwards.

#![expect(clippy::print_stdout, reason = "figures for a person")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use huidu::clock::{Clock as _, DAY_MS, HOUR_MS, MachineClock, rfc3339};
use serde_json::{Value, json};

use super::row;
use crate::fixture::*;
use crate::postgres::{Database, Engine, execute, number};

const STAGES: i64 = 20;
const SPAN_MS: i64 = 14 * DAY_MS;
/// Shoppers who make about 100 exposures.
const SHOPPERS_PER_100: i64 = 78;
/// Events that are sent at once while it is measured.
const BATCH: usize = 10;

struct Scale {
    huidu: Huidu,
    url: String,
    engine: Engine,
    runtime: tokio::runtime::Runtime,
    batches: AtomicUsize,
}

fn document() -> Value {
    let mut document = ramp("large", 40.0, 20.0);
    for (name, value) in [
        ("variants", json!({"off": 0, "link": 1, "code": 2})),
        ("value_type", json!("integer")),
        (
            "rules",
            json!([{"id": "ramp", "serve": {"rollout": {"percent": 40, "control": 20, "split": {"link": 1, "code": 1}}}}]),
        ),
        (
            "funnel",
            json!(["entry_clicked", "link_sent", {"step": "wechat_opened", "optional": true}, "entry_paid"]),
        ),
        (
            "metrics",
            json!([{"step": "order_paid", "by": "payment_method", "values": ["wechat", "alipay"]}, "payment_failed"]),
        ),
        ("guardrails", json!([{"step": "payment_failed", "margin": 0.002}])),
        ("goal", json!("order_paid")),
        ("capture", json!(["user.region"])),
    ] {
        document[name] = value;
    }
    document
}

impl Scale {
    fn start(engine: Engine) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (huidu, url) = match engine {
            Engine::Sqlite => {
                let huidu = Huidu::start_with(&[("DATABASE_TIMEOUT_MS", "3000")]);
                let url = format!("sqlite:{}", huidu.database().display());
                (huidu, url)
            }
            Engine::Postgres => {
                let database = runtime.block_on(Database::empty(engine));
                let url = database.url.clone();
                (Huidu::start_with(&[("DATABASE_URL", &url), ("DATABASE_TIMEOUT_MS", "3000")]), url)
            }
        };
        huidu.create_flag(&document());
        Self { huidu, url, engine, runtime, batches: AtomicUsize::default() }
    }

    fn number(&self, sql: &str) -> i64 {
        self.runtime.block_on(number(&self.url, self.engine, sql))
    }

    fn execute(&self, sql: &str) {
        let began = Instant::now();
        self.runtime.block_on(execute(&self.url, self.engine, sql));
        let words: Vec<&str> = sql.split_whitespace().take(3).collect();
        println!("  {:>6.1} s  {} ...", began.elapsed().as_secs_f64(), words.join(" "));
    }

    /// Stages, exposures and steps.
    fn fill(&self, exposures: i64, now: i64) {
        let flag = self.number("SELECT number FROM flags WHERE key = 'large'");
        let length = SPAN_MS / STAGES;
        let begin = now - SPAN_MS;
        self.execute(&format!("DELETE FROM stages WHERE flag = {flag} AND stage > 1"));
        for stage in 1..=STAGES {
            let opened = begin + (stage - 1) * length;
            let closed = if stage < STAGES { (opened + length).to_string() } else { "NULL".to_owned() };
            let percent = 2 * stage;
            let deciding = format!("replace(deciding, '\"percent\":40.0', '\"percent\":{percent}.0')");
            self.runtime.block_on(execute(&self.url, self.engine, &if stage == STAGES {
                format!("UPDATE stages SET stage = {STAGES}, opened_at = {opened}, closed_at = NULL WHERE flag = {flag} AND stage = 1")
            } else {
                format!("INSERT INTO stages (environment, flag, stage, opened_at, closed_at, version, deciding)
                         SELECT environment, flag, 100 + {stage}, {opened}, {closed}, version, {deciding} FROM stages WHERE flag = {flag} AND stage = 1")
            }));
        }
        self.execute(&format!("UPDATE stages SET stage = stage - 100 WHERE flag = {flag} AND stage > 100"));
        self.execute(&format!(
            "UPDATE flags SET stages = {STAGES}, stage_open = {STAGES} WHERE number = {flag}"
        ));
        self.execute("DROP INDEX exposures_by_at");
        self.execute("DROP INDEX steps_by_time");
        let shoppers = exposures * SHOPPERS_PER_100 / 100;
        self.execute(&self.exposures(flag, shoppers, begin, length));
        for sql in self.steps(flag) {
            self.execute(&sql);
        }
        self.execute("CREATE INDEX exposures_by_at ON exposures (environment, flag, at)");
        self.execute("CREATE INDEX steps_by_time ON steps (environment, COALESCE(flag, 0), at)");
        if self.engine == Engine::Sqlite {
            self.execute(
                "INSERT INTO step_places SELECT environment, unit, unit_attribute, step, id, number FROM steps ORDER BY 1, 2, 3, 4, 5",
            );
            self.execute(
                "UPDATE meta SET value = (SELECT MAX(number) FROM steps) WHERE key = 'steps_placed'",
            );
        }
        self.execute("ANALYZE");
    }

    /// Numbers that look random, by a shopper `i`, a stage `s` and a salt: 0 up to 2147483647.
    fn dice(salt: i64) -> String {
        format!(
            "((((i * 7919 + s * 104729 + {salt}) % 2147483647) * 48271 % 2147483647) * 69621 % 2147483647)"
        )
    }

    fn exposures(&self, flag: i64, shoppers: i64, begin: i64, length: i64) -> String {
        let (comes, when) = (Self::dice(1), Self::dice(77_777_777));
        let name = self.name();
        let bucket = "((i * 7127 % 1000003) * 48271 % 1000003) % 1000000";
        let (numbers, analyze) = match self.engine {
            Engine::Sqlite => (
                "n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < SHOPPERS), t(s) AS (SELECT 1 UNION ALL SELECT s + 1 FROM t WHERE s < STAGES)",
                "PRAGMA synchronous = OFF; ",
            ),
            Engine::Postgres => (
                "n AS (SELECT i::bigint FROM generate_series(1, SHOPPERS) AS i), t AS (SELECT s::bigint FROM generate_series(1, STAGES) AS s)",
                "",
            ),
        };
        let numbers =
            numbers.replace("SHOPPERS", &shoppers.to_string()).replace("STAGES", &STAGES.to_string());
        format!(
            "{analyze}WITH RECURSIVE {numbers}, shopper AS (
                SELECT i, {bucket} AS bucket, CASE WHEN i % 10 = 0 THEN 1288490188 WHEN i % 10 < 4 THEN 429496729 ELSE 128849018 END AS often FROM n)
             INSERT INTO exposures (environment, unit, flag, stage, rule, unit_attribute, arm, variant, bucket, at, captured, replaced)
             SELECT 1, {name}, {flag}, s, 'ramp', 'user.id', CASE WHEN bucket >= 800000 THEN 0 ELSE 1 END,
                CASE WHEN bucket >= 800000 THEN 'off' WHEN i % 2 = 0 THEN 'link' ELSE 'code' END, bucket,
                {begin} + (s - 1) * {length} + {when} % {length},
                '{{\"region\":\"CN-' || (11 + i % 31) || '\"}}', 0
             FROM shopper CROSS JOIN t
             WHERE (bucket >= 800000 OR bucket < s * 20000) AND {comes} < often"
        )
    }

    fn name(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite => "printf('u-%09d', i)",
            Engine::Postgres => "'u-' || lpad(i::text, 9, '0')",
        }
    }

    /// Stops of the treated, orders and failures of all.
    fn steps(&self, flag: i64) -> Vec<String> {
        let columns = "environment, unit, unit_attribute, step, id, flag, stage, rule, value, currency, order_id, at, attributes";
        let i = "CAST(substr(unit, 3) AS BIGINT)";
        let exposed = format!("(SELECT *, {i} AS i, stage AS s FROM exposures WHERE flag = {flag}) AS x");
        let (roll, order, after) = (Self::dice(31_337), Self::dice(424_242), Self::dice(5_150));
        let mut all = Vec::new();
        for (place, stop, share) in
            [(1, "entry_clicked", 40), (2, "link_sent", 30), (3, "wechat_opened", 22), (4, "entry_paid", 15)]
        {
            all.push(format!(
                "INSERT INTO steps ({columns}) SELECT 1, unit, 'user.id', '{stop}', 's-' || s, {flag}, s, 'ramp', NULL, NULL, NULL,
                    at + {place} * (5000 + {after} % 60000), NULL FROM {exposed} WHERE arm = 1 AND {roll} % 100 < {share}"
            ));
        }
        all.push(format!(
            "INSERT INTO steps ({columns}) SELECT 1, unit, 'user.id', 'order_paid', 'o-' || s, NULL, NULL, NULL, 100 + {order} % 90000, 'CNY',
                'o-' || i || '-' || s, at + {after} % {}, CASE i % 3 WHEN 0 THEN '{{\"payment_method\":\"wechat\"}}' ELSE '{{\"payment_method\":\"alipay\"}}' END
             FROM {exposed} WHERE {order} % 1000 < 100 + arm * 4", 20 * HOUR_MS
        ));
        all.push(format!(
            "INSERT INTO steps ({columns}) SELECT 1, unit, 'user.id', 'payment_failed', 'f-' || s, NULL, NULL, NULL, NULL, NULL, NULL, at + {after} % 600000, NULL
             FROM {exposed} WHERE {order} % 1000 >= 980"
        ));
        all
    }

    /// Asks once, and says how long that took; waits where hours are counted.
    fn ask(&self, what: &str, query: &str) -> Value {
        let path = format!("/v1/environments/production/flags/large/{query}");
        let began = Instant::now();
        loop {
            let answer = self.huidu.get(&path, ADMIN);
            if answer.status == 200 {
                println!(
                    "  {:>7.0} ms  {what} ({} bytes)",
                    began.elapsed().as_secs_f64() * 1e3,
                    answer.text.len()
                );
                return answer.json();
            }
            println!("  {:>7.0} ms  {what}: {}", began.elapsed().as_secs_f64() * 1e3, answer.text);
            std::thread::sleep(Duration::from_secs(5));
        }
    }

    /// Batches of events until `stop`; how long each took, in milliseconds.
    fn ingest(&self, stop: &AtomicBool) -> Vec<f64> {
        let mut times = Vec::new();
        let every =
            Duration::from_secs_f64(BATCH as f64 / number_of("HUIDU_TEST_EVENTS_PER_SECOND", 50) as f64);
        while !stop.load(Ordering::SeqCst) {
            // Never the same ones again: those would be duplicates.
            let batch = self.batches.fetch_add(1, Ordering::SeqCst);
            let event = |user: usize| {
                let (id, is_step) = (format!("n-{batch}-{user}"), user.is_multiple_of(2));
                let user = format!("n-{}", batch * BATCH + user);
                match is_step {
                    true => {
                        json!({"id": id, "type": "step", "step": "order_paid", "user_id": user, "value": 100, "currency": "CNY"})
                    }
                    false => json!({"type": "exposure", "flag": "large", "user_id": user, "variant": "link"}),
                }
            };
            let events: Vec<Value> = (0..BATCH).map(event).collect();
            let began = Instant::now();
            self.huidu.events(&self.huidu.server, &json!(events)).expect(200);
            times.push(began.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(every.saturating_sub(began.elapsed()));
        }
        times.sort_by(f64::total_cmp);
        times
    }

    /// One decision after the other until `stop`.
    fn decide(&self, stop: &AtomicBool) -> Vec<f64> {
        let mut times = Vec::new();
        for user in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let body = json!({"placement": "checkout", "user": {"id": format!("d-{user}")}});
            let began = Instant::now();
            self.huidu.post("/v1/decisions", &self.huidu.client, &body).expect(200);
            times.push(began.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(Duration::from_millis(5));
        }
        times.sort_by(f64::total_cmp);
        times
    }

    /// What `work` does to decisions and events.
    fn beside(&self, what: &str, work: impl FnOnce()) {
        let stop = AtomicBool::default();
        let (events, decisions) = std::thread::scope(|scope| {
            let events = scope.spawn(|| self.ingest(&stop));
            let decisions = scope.spawn(|| self.decide(&stop));
            work();
            stop.store(true, Ordering::SeqCst);
            (events.join().unwrap(), decisions.join().unwrap())
        });
        for (name, times) in [("10 events", events), ("a decision", decisions)] {
            let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1_000];
            println!(
                "  {what}: {name}: median {:.1}, 99 % {:.1}, most {:.1} ms of {}",
                at(500),
                at(990),
                at(1_000),
                times.len()
            );
        }
    }

    fn wait_for_hours(&self) {
        let began = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < Duration::from_secs(20) {
            let now = self
                .number("SELECT (SELECT count(*) FROM report_hours) + (SELECT count(*) FROM report_days)");
            // Whoever asks counts on without the job's rests, until each hour is there.
            let answer = self.huidu.get("/v1/environments/production/flags/large/report", ADMIN);
            if now != last || answer.status != 200 {
                (last, since) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        println!("  {:>6.0} s  counted: {last} hours and days", began.elapsed().as_secs_f64() - 20.0);
        let parts = [("hours", 0), ("days", 100)].map(|(name, first)| {
            let bytes = [1, 2, 3, 4, 7].map(|part| {
                let part = first + part;
                let sum = format!("SELECT CAST(COALESCE(sum(length(bytes)), 0) AS BIGINT) FROM report_parts WHERE part = {part}");
                self.number(&sum) / 1_024
            });
            format!("{name} {bytes:?}")
        });
        println!("  KiB kept (sums, again, by region, again by region, amounts): {}", parts.join(", "));
    }

    fn reports(&self, now: i64) {
        let at = |days: i64, minutes: i64| rfc3339(now - days * DAY_MS - minutes * 60_000 - 12_345);
        // Answers are kept for ten seconds; an odd `from` before everything asks anew.
        let whole = |n: i64| format!("report?from={}", rfc3339(now - 30 * DAY_MS - n));
        let report = self.ask("the whole, first", "report");
        let rows = report["variants"].as_array().unwrap();
        println!(
            "  {}",
            rows.iter()
                .map(|row| format!(
                    "{} {}: {} + {}, {} converted",
                    row["variant"],
                    row["arm"],
                    row["exposed_users"],
                    row["maturing_users"],
                    row["converted_users"]
                ))
                .collect::<Vec<_>>()
                .join("; ")
        );
        self.ask("the whole, kept for ten seconds", "report");
        for n in 1..=3 {
            self.ask("the whole, computed again", &whole(n));
        }
        self.ask("from and to inside hours, 10 days", &format!("report?from={}&to={}", at(11, 17), at(1, 3)));
        self.ask(
            "from and to inside hours, 10 days, again",
            &format!("report?from={}&to={}", at(11, 17), at(1, 4)),
        );
        self.ask("from and to inside hours, 3 days", &format!("report?from={}&to={}", at(5, 17), at(2, 3)));
        self.ask("by user.region", "report?by=user.region");
        self.ask(
            "by user.region, 10 days",
            &format!("report?by=user.region&from={}&to={}", at(11, 17), at(1, 3)),
        );
        self.ask("series by hour", "timeseries?by=hour");
        self.ask("series by day", "timeseries?by=day&tz=Asia/Shanghai");
        self.beside("without reports", || std::thread::sleep(Duration::from_secs(5)));
        self.beside("beside reports", || {
            for n in 10..=15 {
                self.ask("the whole while events come", &whole(n));
            }
        });
        assert!(row(&report["variants"], &[("arm", "control")])["exposed_users"].as_i64().unwrap() > 0);
    }
}

/// A variable, or what it is without.
fn number_of(variable: &str, otherwise: i64) -> i64 {
    std::env::var_os(variable).map_or(otherwise, |n| n.to_str().unwrap().parse().unwrap())
}

fn measure(engine: Engine) {
    let exposures = number_of("HUIDU_TEST_EXPOSURES", 10_000_000);
    println!("{engine:?}");
    let mut scale = Scale::start(engine);
    let now = MachineClock.now_ms();
    scale.huidu.stop();
    scale.fill(exposures, now);
    for table in ["exposures", "steps"] {
        println!("  {} {table}", scale.number(&format!("SELECT count(*) FROM {table}")));
    }
    println!("  {} orders", scale.number("SELECT count(*) FROM steps WHERE step = 'order_paid'"));
    scale.huidu.start_again();
    scale.beside("while hours are counted", || scale.wait_for_hours());
    scale.reports(MachineClock.now_ms());
    let hold = number_of("HUIDU_TEST_HOLD", 0);
    if hold > 0 {
        println!("  held at {} {}", scale.huidu.address, scale.url);
        std::thread::sleep(Duration::from_secs(hold.unsigned_abs()));
    }
}

#[test]
#[ignore = "takes a quarter of an hour: run by hand"]
fn sqlite() {
    measure(Engine::Sqlite);
}

#[test]
#[ignore = "takes a quarter of an hour: run by hand"]
fn postgres() {
    measure(Engine::Postgres);
}
