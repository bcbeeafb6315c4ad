//! The same shoppers once more, without a service: what its reports must count, one by one.

use std::collections::{BTreeMap, BTreeSet};

use huidu::clock::{HOUR_MS, MINUTE_MS, parse_rfc3339};
use huidu::demo::{FRIEND_PAY, SCAN_PAY, Shoppers, Shown, Visit, outcome};
use serde_json::{Value, json};

use super::{COMPRESSION, DAYS, Demo, RATE, SEED};

/// Arm and variant of those who were exposed to a flag, by unit and time.
type Exposed = BTreeMap<(String, i64), (String, String)>;

fn time(time: &Value) -> i64 {
    parse_rfc3339(time.as_str().unwrap()).unwrap()
}

fn exposed(demo: &Demo, flag: &str) -> Exposed {
    let rows = demo.get(&format!("/v1/environments/production/flags/{flag}/exposures?format=ndjson"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.lines()
        .map(|row| serde_json::from_str::<Value>(row).unwrap())
        .map(|row| ((text(&row["unit"]), time(&row["at"])), (text(&row["arm"]), text(&row["variant"]))))
        .collect()
}

/// What came of the units of one variant.
#[derive(Default)]
struct Counts {
    matured: u64,
    maturing: u64,
    /// Units with an order, a failed payment, a complaint.
    metrics: [u64; 3],
    value: i64,
    funnel: Vec<u64>,
}

/// All visits, and what was seen at them: of both flags.
pub(super) struct Replay {
    visits: Vec<Visit>,
    scan: Exposed,
    friend: Exposed,
}

impl Replay {
    /// A stage lasts three days, and nobody comes twice within as long: so each exposure is that of one visit.
    pub(super) fn of(demo: &Demo, report: &Value) -> Self {
        let stages = report["stages"].as_array().unwrap().iter();
        let opened = stages.filter(|stage| !stage["arms"].as_object().unwrap().is_empty());
        let begins = opened.map(|stage| time(&stage["from"])).min().unwrap();
        let seconds = f64::from(DAYS) * 86_400.0 / f64::from(COMPRESSION);
        let number = Shoppers::number_for(f64::from(RATE) * seconds, f64::from(DAYS));
        let mut shoppers = Shoppers::new(SEED, number, begins);
        let until = time(&report["computed_at"]);
        let visits = std::iter::from_fn(|| shoppers.next_before(until)).collect();
        Self { visits, scan: exposed(demo, SCAN_PAY), friend: exposed(demo, FRIEND_PAY) }
    }

    fn shown(&self, at: &(String, i64)) -> Shown<'_> {
        Shown {
            scan: self.scan.get(at).is_some_and(|(arm, _)| arm == "treatment"),
            friend: self.friend.get(at).filter(|(arm, _)| arm == "treatment").map(|(_, variant)| &**variant),
        }
    }

    /// What the report of `flag` must say of each variant.
    fn counts(&self, flag: &str, stops: &[&str], as_of: i64) -> BTreeMap<(String, String), Counts> {
        let (own, window) =
            if flag == SCAN_PAY { (&self.scan, 24 * HOUR_MS) } else { (&self.friend, 72 * HOUR_MS) };
        let (mut counts, mut known) = (BTreeMap::new(), BTreeSet::new());
        for visit in &self.visits {
            let at = (visit.shopper.id.clone(), visit.at_ms);
            // A unit counts once in each variant, by its first exposure.
            let Some(row) = own.get(&at) else { continue };
            if !known.insert((&visit.shopper.id, row)) {
                continue;
            }
            let counts: &mut Counts = counts.entry(row.clone()).or_default();
            counts.funnel.resize(stops.len(), 0);
            if visit.at_ms + window + 10 * MINUTE_MS > as_of {
                counts.maturing += 1;
                continue;
            }
            counts.matured += 1;
            let acts = outcome(visit, self.shown(&at));
            let did = |step: &str| acts.iter().any(|act| act.step == step && act.flag.is_none());
            let steps = ["order_paid", "payment_failed", "complaint"];
            steps.iter().zip(&mut counts.metrics).for_each(|(step, users)| *users += u64::from(did(step)));
            counts.value += if did("order_paid") { visit.price } else { 0 };
            // What comes after a stop implies it: some happen where nobody sees them.
            let passed = acts.iter().filter(|act| act.flag == Some(flag));
            let end = passed.filter_map(|act| stops.iter().position(|stop| *stop == act.step)).max();
            counts.funnel.iter_mut().take(end.map_or(0, |end| end + 1)).for_each(|users| *users += 1);
        }
        counts
    }

    /// Every count of the report is that of the shoppers.
    pub(super) fn holds(&self, flag: &str, report: &Value) {
        let rows: Vec<&Value> =
            report["variants"].as_array().unwrap().iter().filter(|row| row["rule"] == "ramp").collect();
        let stops = rows[0]["funnel"].as_array().unwrap().iter();
        let stops: Vec<&str> = stops.map(|stop| stop["step"].as_str().unwrap()).collect();
        let counts = self.counts(flag, &stops, time(&report["computed_at"]));
        assert_eq!(counts.len(), rows.len(), "{:?}", counts.keys());
        for row in rows {
            let users = |list: &str| -> Vec<u64> {
                row[list].as_array().unwrap().iter().map(|own| own["users"].as_u64().unwrap()).collect()
            };
            let of = |field: &str| row[field].as_str().unwrap().to_owned();
            let own = &counts[&(of("arm"), of("variant"))];
            let told = json!([
                row["exposed_users"],
                row["maturing_users"],
                row["funnel_exposed_users"],
                row["value"]["CNY"],
                users("metrics"),
                users("funnel"),
            ]);
            let true_ones =
                json!([own.matured, own.maturing, own.matured, own.value, own.metrics, own.funnel]);
            assert_eq!(told, true_ones, "{} {} of {flag}", row["arm"], row["variant"]);
        }
    }
}
