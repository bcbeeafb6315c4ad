//! `huidu demo`: simulated shoppers through a ramp, in a folder that goes with it.

mod replay;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use huidu::demo::{FRIEND_PAY, RAMP_PERCENT, SCAN_PAY, Shoppers, Shown, TRUTHS, Truth, Visit, outcome};
use serde_json::Value;

use crate::fixture::{huidu_program, signal};
use replay::Replay;

/// A demo that caught up with the present.
struct Demo {
    process: std::process::Child,
    address: String,
    admin: String,
    folder: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(huidu_program());
        command.env_clear().env("TMPDIR", folder.path()).current_dir(folder.path());
        command.args(["demo", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        for line in lines.by_ref().map_while(Result::ok) {
            said.push(line);
            if said.last().unwrap().starts_with("caught up") {
                break;
            }
        }
        std::thread::spawn(move || for _ in lines {});
        let word = |start: &str| {
            let words = said.iter().flat_map(|line| line.split_whitespace());
            words.filter_map(|word| word.strip_prefix(start)).next().map(str::to_owned)
        };
        let address = word("http://").unwrap_or_else(|| panic!("{said:?}"));
        let admin = format!("huidu_admin_{}", word("huidu_admin_").unwrap());
        assert!(said.last().unwrap().starts_with("caught up"), "{said:?}");
        Self { process, address, admin, folder }
    }

    fn get(&self, path: &str) -> String {
        let call = ureq::get(format!("http://{}{path}", self.address));
        let call = call.header("authorization", format!("Bearer {}", self.admin));
        call.call().unwrap().body_mut().read_to_string().unwrap()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path)).unwrap()
    }

    /// The report of a flag, once nothing waits to be counted: on a busy machine hours may be counted before their
    /// simulated events have come, and the answer that counts them again says what it could not count in its time.
    fn report(&self, flag: &str) -> Value {
        for asked in 0..100 {
            // Another question each time, since answers are kept for ten seconds.
            let from = format!("2000-01-01T00:00:00.{asked:03}Z");
            let report = self.json(&format!("/v1/environments/production/flags/{flag}/report?from={from}"));
            if !report["notes"].as_array().unwrap().iter().any(|note| note["code"] == "hours_waiting") {
                return report;
            }
        }
        panic!("hours of {flag} still wait to be counted after a hundred answers");
    }

    /// Ends it; what it complained of.
    fn stop(mut self) -> String {
        signal(self.process.id(), "TERM");
        assert!(self.process.wait().unwrap().success());
        let left: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let mut complaints = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
        complaints
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_ramp_of_days_passes_within_seconds_and_leaves_nothing_behind() {
    let demo = Demo::start(&["--days", "4", "--rate", "3000", "--compression", "345600"]);
    let flag = demo.json("/v1/environments/production/flags/wechat-friend-pay");
    assert_eq!(
        (&flag["stage"], &flag["flag"]["rules"][1]["serve"]["rollout"]["percent"]),
        (&6.into(), &50.into())
    );
    // Each stage has lasted a quarter of the days, by the clock of the simulation.
    let versions = demo.json("/v1/environments/production/flags/wechat-friend-pay/versions");
    let at: Vec<i64> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| huidu::clock::parse_rfc3339(item["at"].as_str().unwrap()).unwrap())
        .collect();
    assert!(at.windows(2).take(3).all(|pair| pair[0] - pair[1] == 24 * 3_600_000), "{versions}");
    let metrics = demo.get("/metrics");
    let value = |series: &str| {
        let line = metrics.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    for series in [
        r#"huidu_exposures_total{arm="control",environment="production",flag="wechat-scan-pay",variant="off"}"#,
        r#"huidu_exposures_total{arm="treatment",environment="production",flag="wechat-friend-pay",variant="share_card"}"#,
        r#"huidu_steps_total{arm="treatment",environment="production",flag="wechat-scan-pay",step="qr_shown",variant="on"}"#,
        r#"huidu_steps_total{arm="control",environment="production",flag="wechat-friend-pay",step="order_paid",variant="off"}"#,
    ] {
        assert!(value(series) > 10.0, "{series}: {}", value(series));
    }
    for series in ["huidu_events_rejected_total", "huidu_events_clamped_total"] {
        assert!(value(series) < 0.5, "{metrics}");
    }
    assert_eq!(demo.stop(), "");
}

/// Which shoppers: the same number gives the same shoppers, outcomes and cohorts each time, so what is held against the
/// truth does not pass or fail by chance. Only which windows of the last hour have closed differs from run to run, some
/// dozens of visits among sixteen thousand. The limits are wide enough for most other numbers, too: at a single look fewer
/// than one in a thousand always-valid intervals misses the truth, and four standard errors are passed by one figure in
/// 16,000.
const SEED: u64 = 1;
/// Days of the ramp, visits a second, and how much faster time goes: sixteen thousand visits.
const DAYS: u32 = 12;
const RATE: u32 = 15_500;
const COMPRESSION: u32 = 1_000_000;
/// Standard errors that a share or a mean may be away from the truth.
const ERRORS: f64 = 4.0;

/// Shoppers to ask what the simulation truly does.
fn passers_by() -> Vec<Visit> {
    let shoppers = Shoppers::new(11, 0, 0);
    (0..40_000).map(|number| shoppers.passer_by(number, 0)).collect()
}

fn number(figure: &Value) -> f64 {
    figure.as_f64().unwrap_or_else(|| panic!("{figure} is no number"))
}

/// What is said of `step` and a variant in a table of a report.
fn row<'r>(table: &'r Value, truth: &Truth, step: &str) -> &'r Value {
    let mut rows = table.as_array().unwrap().iter();
    let found = rows.find(|row| {
        row["variant"] == truth.variant && [&row["metric"], &row["step"]].contains(&&Value::from(step))
    });
    found.unwrap_or_else(|| panic!("{step} of {}: {table:#}", truth.variant))
}

/// `interval` holds the truth, and is so narrow that it says something.
#[track_caller]
fn holds(interval: &Value, truth: f64, widest: f64) {
    let [low, high] = [0, 1].map(|at| number(&interval[at]));
    assert!(low <= truth && truth <= high, "{truth} is outside {interval}");
    assert!(high - low < widest, "{interval} is wider than {widest}");
}

/// The goal: so narrow that a wrong count would leave it. Half as many goods have the friend's entry, and two variants
/// share its shoppers.
fn goal_is_true(report: &Value, truth: &Truth) {
    let made = row(&report["comparisons"], truth, "order_paid");
    holds(&made["always_valid_ci"], truth.order_effect, if truth.flag == SCAN_PAY { 0.08 } else { 0.2 });
    // In the last three days hardly a window of three days has closed.
    let stages = made["stages_pooled"].as_array().unwrap().len();
    assert!(stages == RAMP_PERCENT.len() || truth.flag == FRIEND_PAY && stages > 2, "{made}");
    for (language, word) in [("en", "ordered"), ("zh", "订单")] {
        assert!(made["sentence"][language].as_str().unwrap().contains(word), "{made}");
    }
}

/// Guardrails: failed payments and complaints.
fn harm_is_true(report: &Value, truth: &Truth) {
    for (step, effect) in [("payment_failed", 0.0), ("complaint", truth.complaint_effect)] {
        let made = row(&report["guardrails"], truth, step);
        holds(&made["always_valid_bounds"], effect, if truth.flag == SCAN_PAY { 0.025 } else { 0.05 });
        // With these shoppers the harm of the scan entry's complaints is proven; what does no harm is never said to do any.
        let states: &[&str] =
            if effect > number(&made["margin"]) { &["harmed", "broken"] } else { &["holds", "undecided"] };
        assert!(states.iter().any(|state| made["state"] == **state), "{effect}: {made}");
        assert!(!made["sentence"]["en"].as_str().unwrap().is_empty(), "{made}");
    }
}

/// Value per user and per order: entries change how many order, not what an order is worth.
fn worth_is_true(report: &Value, truth: &Truth, visits: &[Visit]) {
    let prices = || visits.iter().map(|visit| visit.price as f64);
    let price = prices().sum::<f64>() / visits.len() as f64;
    let spread = (prices().map(|own| (own - price).powi(2)).sum::<f64>() / visits.len() as f64).sqrt();
    let made = row(&report["values"], truth, "order_paid");
    let goal = row(&report["comparisons"], truth, "order_paid");
    holds(&made["always_valid_ci"], truth.order_effect * price, f64::INFINITY);
    holds(&made["per_order"]["always_valid_ci"], 0.0, f64::INFINITY);
    for arm in ["treatment", "control"] {
        let figure = |table: &Value, name: &str| number(&table[format!("{arm}_{name}")]);
        let (per_user, per_order) = (figure(made, "per_user"), figure(&made["per_order"], "per_order"));
        // Nobody orders twice within a window: who orders, times what an order is worth.
        let product = figure(goal, "rate") * per_order;
        assert!((per_user / product - 1.0).abs() < 1e-9, "{arm}: {per_user} is not {product}: {made}");
        let mut rows = report["variants"].as_array().unwrap().iter();
        let own = |row: &&Value| row["arm"] == arm && (arm == "control" || row["variant"] == truth.variant);
        let orders = number(&rows.find(own).unwrap()["converted_users"]);
        let error = ERRORS * spread / orders.sqrt();
        assert!((per_order - price).abs() < error, "{arm}: {per_order} is not {price} -+ {error}: {made}");
    }
}

/// How far those come who see the entry, stop by stop.
fn funnel_is_true(report: &Value, truth: &Truth, visits: &[Visit]) {
    let mut rows = report["variants"].as_array().unwrap().iter();
    let row = rows.find(|row| row["variant"] == truth.variant && row["arm"] == "treatment").unwrap();
    let (stops, exposed) = (row["funnel"].as_array().unwrap(), number(&row["funnel_exposed_users"]));
    let shown =
        Shown { scan: truth.flag == SCAN_PAY, friend: (truth.flag == FRIEND_PAY).then_some(truth.variant) };
    let ends: Vec<Option<usize>> = visits
        .iter()
        .map(|visit| {
            let acts = outcome(visit, shown).into_iter().filter(|act| act.flag == Some(truth.flag));
            acts.filter_map(|act| stops.iter().position(|stop| stop["step"] == act.step)).max()
        })
        .collect();
    for (at, stop) in stops.iter().enumerate() {
        let reached = ends.iter().filter(|end| end.is_some_and(|end| end >= at)).count();
        let share = reached as f64 / visits.len() as f64;
        let error = ERRORS * (share * (1.0 - share) / exposed).sqrt();
        assert!(error < if truth.flag == SCAN_PAY { 0.06 } else { 0.1 }, "{error}: {row}");
        let found = number(&stop["of_exposed"]);
        assert!((found - share).abs() < error, "{found} is not {share} -+ {error}: {stop}");
    }
    assert!(number(&stops.last().unwrap()["users"]) > 10.0, "{row}");
}

#[test]
fn reports_of_the_simulation_cover_its_truth() {
    let [seed, days] = [SEED, u64::from(DAYS)].map(|number| number.to_string());
    let [rate, compression] = [RATE, COMPRESSION].map(|number| number.to_string());
    let pace = ["--seed", &seed, "--days", &days, "--rate", &rate, "--compression", &compression];
    let demo = Demo::start(&[&pace[..], &["--live-rate", "0"]].concat());
    let visits = passers_by();
    for flag in [SCAN_PAY, FRIEND_PAY] {
        let report = demo.report(flag);
        assert_eq!(report["srm"]["ok"], true, "{report}");
        Replay::of(&demo, &report).holds(flag, &report);
        for truth in TRUTHS.iter().filter(|truth| truth.flag == flag) {
            goal_is_true(&report, truth);
            harm_is_true(&report, truth);
            worth_is_true(&report, truth, &visits);
            funnel_is_true(&report, truth, &visits);
        }
    }
    assert_eq!(demo.stop(), "");
}
