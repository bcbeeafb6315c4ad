//! A checkout with everything that a dashboard can show: shoppers of each arm, stops, orders, failures, complaints,
//! events that are refused, pages that listen, an entry that is shut and opened again.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use huidu::clock::{HOUR_MS, MINUTE_MS};
use serde_json::{Value, json};

use crate::events::from_now;
use crate::fixture::{ADMIN, Huidu, eventually, ramp};

/// An entry that has all that an entry can have, and does not change.
pub(super) const STEADY: &str = "steady";
/// An entry that is shut and opened.
pub(super) const RESTLESS: &str = "restless";

fn steady() -> Value {
    json!({
        "key": STEADY, "placement": "checkout", "value_type": "string", "salt": "steady",
        "variants": {"off": "off", "link": "link", "card": "card"}, "off_variant": "off",
        "rules": [
            {"id": "invited", "when": {"attribute": "user.vip", "op": "eq", "value": true}, "serve": {"variant": "link"}},
            {"id": "ramp", "serve": {"rollout": {"percent": 60, "control": 40, "split": {"link": 1, "card": 1}}}},
        ],
        "funnel": ["entry_clicked", {"step": "wechat_opened", "optional": true}, "entry_paid"],
        "goal": "order_paid", "metrics": ["order_paid", "payment_failed", "complaint"],
        "guardrails": [{"step": "payment_failed", "margin": 0.002}, {"step": "complaint", "limit": 0.02}],
        "attribution_hours": 2,
    })
}

/// Makes the two entries, and waits until both instances decide them.
pub(super) fn prepare([first, second]: [&Huidu; 2]) {
    first.create_flag(&steady());
    first.create_flag(&ramp(RESTLESS, 50.0, 50.0));
    for flag in [STEADY, RESTLESS] {
        let path = format!("/ofrep/v1/evaluate/flags/{flag}");
        let asked = json!({"context": {"targetingKey": "early"}});
        eventually("both know the entry", || second.post(&path, &second.client, &asked).status == 200);
    }
    // A guess at a key.
    first.get("/v1/keys", "huidu_admin_guessed").refused(401, "unauthorized");
}

/// Lets shoppers come to both instances until it is told to stop.
pub(super) fn drive(instances: [&Huidu; 2], stop: &AtomicBool) {
    // Pages that listen; nobody need read what they are told.
    let _pages = instances.map(|huidu| {
        let mut page = TcpStream::connect(&huidu.address).unwrap();
        let head = format!(
            "GET /v1/stream HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {}\r\n\r\n",
            huidu.client
        );
        page.write_all(head.as_bytes()).unwrap();
        page
    });
    for (turn, huidu) in instances.iter().cycle().enumerate() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let mut events = faulty(turn);
        events.push(past(huidu, turn));
        for number in 0..8 {
            visit(huidu, &format!("u-{turn}-{number}"), number, &mut events);
        }
        huidu.events(&huidu.server, &json!(events)).expect(200);
        let asked = json!({"context": {"targetingKey": format!("u-{turn}-0")}});
        let path = format!("/ofrep/v1/evaluate/flags/{STEADY}");
        huidu.post(&path, &huidu.client, &asked).expect(200);
        huidu.post(&path, &huidu.client, &json!({"context": {}})).expect(400);
        if turn % 8 == 0 {
            turn_over(instances[0]);
            huidu.get(&format!("/v1/environments/production/flags/{STEADY}/report"), ADMIN).expect(200);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Shuts the restless entry, or opens it again.
fn turn_over(huidu: &Huidu) {
    let now = huidu.get(&format!("/v1/environments/production/flags/{RESTLESS}"), ADMIN).expect(200).json();
    let deed = if now["state"] == "killed" { "restore" } else { "kill" };
    huidu
        .manage("POST", &format!("/flags/{RESTLESS}/{deed}"), now["version"].as_i64(), &json!({}))
        .expect(200);
}

/// A shopper of three hours ago, of whom a backend tells now: what is computed from hours that ended needs them.
fn past(huidu: &Huidu, turn: usize) -> Value {
    let user = format!("past-{turn}");
    let variant = huidu.entry(STEADY, &json!({"id": user}), &json!([]))["variant"].clone();
    json!({"type": "exposure", "flag": STEADY, "user_id": user, "variant": variant, "ago_ms": 3 * HOUR_MS,
           "context": {"targetingKey": user}})
}

/// Events that are refused, there already, or moved in time.
fn faulty(turn: usize) -> Vec<Value> {
    let step = |id: &str| json!({"id": format!("{id}-{turn}"), "type": "step", "step": "order_paid", "user_id": "u"});
    let mut ahead = step("ahead");
    ahead["at"] = from_now(10 * MINUTE_MS).into();
    let mut events = vec![step("twice"), step("twice"), ahead];
    for number in 0..5 {
        let mut unknown = step(&format!("unknown-{number}"));
        unknown["step"] = "nobody_declared_this".into();
        events.push(unknown);
    }
    events
}

/// A shopper comes, sees what there is to see, and does a little of everything.
fn visit(huidu: &Huidu, user: &str, number: usize, events: &mut Vec<Value>) {
    let body = json!({"placement": "checkout", "user": {"id": user, "vip": number == 0},
                      "order": {"id": user, "currency": "CNY", "goods": [{"id": "g", "category": "shoes", "price": 100}]}});
    let answer = huidu.post("/v1/decisions", &huidu.server, &body).expect(200).json();
    for entry in answer["entries"].as_array().unwrap() {
        let Some(token) = entry["exposure_token"].as_str() else { continue };
        events.push(json!({"type": "exposure", "token": token}));
        if entry["flag"] == STEADY && entry["visible"] == true {
            for stop in ["entry_clicked", "wechat_opened", "entry_paid"] {
                events.push(json!({"id": user, "type": "step", "step": stop, "token": token}));
            }
        }
    }
    for (step, every) in [("order_paid", 2), ("payment_failed", 3), ("complaint", 4)] {
        if number.is_multiple_of(every) || step == "order_paid" {
            let mut event = json!({"id": user, "type": "step", "step": step, "user_id": user});
            if step == "order_paid" {
                event["value"] = 100.into();
                event["currency"] = "CNY".into();
            }
            events.push(event);
        }
    }
}
