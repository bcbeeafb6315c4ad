//! `huidu demo`: simulated shoppers through a ramp, in a folder that goes with it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use huidu::demo::{FRIEND_PAY, SCAN_PAY, truth};
use serde_json::Value;

use crate::fixture::{huidu_program, signal};

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

/// The comparisons of a flag's goal in its report, by variant.
fn goals(report: &Value) -> Vec<&Value> {
    let all = report["comparisons"].as_array().unwrap();
    all.iter().filter(|comparison| comparison["metric"] == "order_paid").collect()
}

#[test]
fn reports_of_the_simulation_cover_its_truth() {
    let demo = Demo::start(&["--days", "8", "--rate", "6000", "--compression", "691200", "--live-rate", "0"]);
    let mut compared = 0;
    for flag in [SCAN_PAY, FRIEND_PAY] {
        let report = demo.report(flag);
        assert_eq!(report["srm"]["ok"], true, "{report}");
        for comparison in goals(&report) {
            let truth = truth(flag, comparison["variant"].as_str().unwrap()).unwrap().order_effect;
            let bound = |at: usize| comparison["always_valid_ci"][at].as_f64().unwrap();
            assert!(bound(0) <= truth && truth <= bound(1), "{truth}: {comparison}");
            // So narrow that a wrong count would leave it; the friend's variants are seen by half as many, for three days.
            let widest = if flag == SCAN_PAY { 0.25 } else { 0.6 };
            assert!(bound(1) - bound(0) < widest, "{comparison}");
            assert!(comparison["stages_pooled"].as_array().unwrap().len() > 1, "{comparison}");
            assert!(comparison["sentence"]["en"].as_str().unwrap().contains("ordered"), "{comparison}");
            assert!(comparison["sentence"]["zh"].as_str().unwrap().contains("订单"), "{comparison}");
            compared += 1;
        }
        assert!(report["guardrails"][0]["sentence"]["en"].as_str().is_some_and(|words| !words.is_empty()));
    }
    assert_eq!(compared, 3);
    // Shoppers of the scan entry give up where they must save the code.
    let report = demo.report(SCAN_PAY);
    let rows = report["variants"].as_array().unwrap();
    let row = rows.iter().find(|row| row["arm"] == "treatment").unwrap();
    let kept = |step: &str| {
        let stop = row["funnel"].as_array().unwrap().iter().find(|stop| stop["step"] == step).unwrap();
        stop["of_previous"].as_f64().unwrap()
    };
    assert!(kept("qr_saved") < 0.5 && kept("qr_shown") > 0.8, "{row}");
    assert_eq!(demo.stop(), "");
}
