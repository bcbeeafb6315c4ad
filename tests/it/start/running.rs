//! Stopping, logging, and what is stored of a unit.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::*;

/// An upload of which the service has seen the head: it asked for the rest.
fn under_way(huidu: &Huidu, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&huidu.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let key = &huidu.server;
    let head = format!(
        "POST /v1/decisions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn a_stop_finishes_what_is_under_way_and_takes_nothing_new() {
    for name in ["TERM", "INT"] {
        let mut huidu = Huidu::start();
        let body = json!({"placement": "checkout", "user": {"id": "u-1"}}).to_string();
        let (begin, end) = body.split_at(20);
        let mut streams: Vec<_> = (0..50).map(|_| under_way(&huidu, &body)).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(begin.as_bytes()).unwrap());
        signal(huidu.pid(), name);
        eventually("nothing new is taken", || TcpStream::connect(&huidu.address).is_err());
        for stream in &mut streams {
            stream.write_all(end.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200 OK") && answer.contains("wechat-scan-pay"),
                "{name}: {answer}"
            );
        }
        // A second signal to a process that has ended already is harmless: it was not waited for yet.
        assert!(huidu.stop() < Duration::from_secs(15), "{name}");
        assert!(huidu.log().contains("\"stopped\""), "{name}: it ended in order");
    }
}

#[test]
fn only_health_and_readiness_need_no_key() {
    let huidu = Huidu::start();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(huidu.get(path, "").expect(200).json().as_object().unwrap().len(), 1, "state only");
    }
    for path in ["/metrics", "/v1/keys", "/v1/environments", "/v1/audit"] {
        huidu.get(path, "").refused(401, "unauthorized");
    }
    let public = Huidu::start_with(&[("METRICS_PUBLIC", "true")]);
    public.get("/metrics", "").expect(200);
}

/// Counts an exposure of a shopper whose name stands nowhere else; whether the database's files hold it.
fn stores_plainly(unit_ids: &str) -> bool {
    const SHOPPER: &str = "shopper-zhang-7421";
    let huidu = Huidu::start_with(&[("UNIT_IDS", unit_ids)]);
    huidu.create_flag(&with_funnel());
    let entry = huidu.entry("f", &json!({"id": SHOPPER}), &json!([]));
    let event = json!({"type": "exposure", "token": entry["exposure_token"]});
    let step = json!({"id": "s-1", "type": "step", "step": "a-stop", "token": entry["exposure_token"]});
    let paid = json!({"id": "s-2", "type": "step", "step": "order_paid", "user_id": SHOPPER});
    let answer = huidu.events(&huidu.server, &json!([event.clone(), step, paid])).expect(200).json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(3), &json!([])), "{answer}");
    let again = huidu.events(&huidu.server, &json!([event])).expect(200).json();
    assert_eq!(again["duplicates"], 1, "the unit is still one");
    ["huidu.db", "huidu.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(huidu.folder().join(name)).unwrap_or_default();
        bytes.windows(SHOPPER.len()).any(|window| window == SHOPPER.as_bytes())
    })
}

fn with_funnel() -> Value {
    let mut flag = ramp("f", 100.0, 0.0);
    flag["funnel"] = json!(["a-stop"]);
    flag["metrics"] = json!(["order_paid"]);
    flag
}

#[test]
fn hashed_unit_ids_leave_no_plain_one_behind() {
    assert!(stores_plainly("plain"), "the search finds what is there");
    assert!(!stores_plainly("hashed"));
}

#[test]
fn log_lines_are_json_name_their_request_and_hold_no_key() {
    let mut huidu = Huidu::start_with(&[("LOG", "trace")]);
    let wish = json!({"name": "n", "role": "editor", "environment": "production"});
    let made = huidu.post("/v1/keys", ADMIN, &wish).expect(201).json()["key"].as_str().unwrap().to_owned();
    let token = huidu.tester_token();
    huidu.events(&huidu.client, &json!([{"type": "exposure", "token": token}])).expect(200);
    huidu.get("/v1/environments/production/flags", &made).expect(200);
    let headers = [("x-api-key", ADMIN), ("x-request-id", "my-own-id"), ("content-type", "application/json")];
    let kill = "/v1/environments/production/flags/wechat-scan-pay/kill";
    huidu.call("POST", kill, "", &headers, b"{}").expect(200);
    huidu.get("/v1/keys", "huidu_admin_unknownunknownunknown").refused(401, "unauthorized");
    huidu.stop();
    let log = huidu.log();
    assert!(log.lines().count() > 3);
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        let of_request = line["span"]["name"] == "request" || line["message"] == "a request was answered";
        assert!(!of_request || line["span"]["id"].is_string(), "{line}");
    }
    assert!(log.lines().any(|line| line.contains("my-own-id") && line.contains("a request was answered")));
    for secret in [ADMIN, &huidu.client, &huidu.server, &made, &token, "huidu_admin_unknownunknownunknown"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn the_database_file_is_in_wal_mode() {
    let mut huidu = Huidu::start();
    huidu.stop();
    // Bytes 18 and 19 of a SQLite file: write and read version, 2 is WAL.
    assert_eq!(std::fs::read(huidu.database()).unwrap()[18..20], [2, 2]);
}

/// Names of the service's threads, with how nice each is (proc(5): the 19th field).
fn threads(pid: impl std::fmt::Display) -> Vec<(String, i64)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let thread = |stat: String| {
        let (before, after) = stat.rsplit_once(") ").unwrap();
        let name = before.split_once('(').unwrap().1;
        (name.to_owned(), after.split(' ').nth(16).unwrap().parse().unwrap())
    };
    stats.map(thread).collect()
}

#[test]
fn what_decisions_do_not_wait_for_stands_back_behind_them() {
    let huidu = Huidu::start_with(&[("WORKERS", "2")]);
    huidu
        .events(
            &huidu.server,
            &json!([{"type": "exposure", "flag": "wechat-scan-pay", "user_id": "u-1", "variant": "on"}]),
        )
        .expect(200);
    huidu.get("/v1/environments/production/flags/wechat-scan-pay/report", ADMIN).expect(200);
    let own = threads(std::process::id())[0].1;
    let (decide, other): (Vec<_>, Vec<_>) = threads(huidu.pid())
        .into_iter()
        .partition(|(name, _)| name.starts_with("actix-server") || name == "http-server");
    assert!(decide.len() >= 3, "{decide:?}");
    assert!(decide.iter().all(|(_, nice)| *nice == own), "{decide:?}");
    for name in ["huidu", "tokio-rt-worker", "sqlx-sqlite-wor"] {
        let mut named = other.iter().filter(|(other, _)| other == name).peekable();
        assert!(named.peek().is_some(), "no {name}: {other:?}");
        assert!(named.all(|(_, nice)| *nice == own + 7), "{name}: {other:?}");
    }
}

/// Nanoseconds of processor time (proc(5): schedstat) of the threads that decide, and of all others.
fn spent(pid: u32) -> (u64, u64) {
    let (mut decide, mut others) = (0, 0);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap().path();
        let read = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let time: u64 = read("schedstat").split(' ').next().unwrap().parse().unwrap_or_default();
        if read("comm").starts_with("actix-server") { decide += time } else { others += time }
    }
    (decide, others)
}

/// What `work` costs the threads that decide, and all others.
fn cost(huidu: &Huidu, work: impl FnOnce()) -> (u64, u64) {
    let before = spent(huidu.pid());
    work();
    let after = spent(huidu.pid());
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_change_costs_what_decides_little() {
    let huidu = Huidu::start_with(&[("WORKERS", "1")]);
    let mut flag = ramp("large", 10.0, 10.0);
    let conditions: Vec<Value> = (0..900)
        .map(|n| json!({"attribute": "user.app_version", "op": "semver_gte", "value": format!("1.2.{n}")}))
        .collect();
    let all_of = json!({"id": "many", "when": {"all_of": conditions}, "serve": {"variant": "on"}});
    flag["rules"].as_array_mut().unwrap().insert(0, all_of);
    huidu.create_flag(&flag);
    let (decide, others) = cost(&huidu, || {
        for version in 1..=10 {
            flag["description"] = format!("{version}").into();
            huidu.manage("PUT", "/flags/large", Some(version), &flag).expect(200);
        }
    });
    assert!(decide * 3 < others, "{decide} ns where decisions are made, {others} beside");
}

#[test]
fn five_hundred_events_cost_what_decides_little_more_than_one() {
    let huidu = Huidu::start_with(&[("WORKERS", "1")]);
    let send = |name: &str, count: usize| {
        cost(&huidu, || {
            for call in 0..10 {
                let event = |n| json!({"id": format!("{name}-{call}-{n}"), "type": "step", "step": "order_paid", "user_id": format!("u-{n}"), "value": 1, "currency": "CNY"});
                let events: Vec<Value> = (0..count).map(event).collect();
                huidu.events(&huidu.server, &json!(events)).expect(200);
            }
        })
    };
    send("first", 1);
    let (one, _) = send("one", 1);
    let (many, _) = send("many", 500);
    assert!(many < one * 4, "{many} ns where decisions are made for 500, {one} for one");
}
