//! What was acknowledged is there once, whatever ends the process; what was refused is not.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::events::{counts, shop, steps};
use crate::fixture::{Huidu, eventually, signal};
use crate::postgres::{Engine, block_on, execute};

/// Posts events and answers status, `Retry-After` and body; `None` if no whole answer came.
fn post(address: &str, key: &str, events: &[Value]) -> Option<(u16, Option<String>, Value)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let request = ureq::http::Request::builder()
        .method("POST")
        .uri(format!("http://{address}/v1/events"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json");
    let body = json!({"events": events}).to_string();
    let mut answer = agent.run(request.body(body).unwrap()).ok()?;
    let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let text = answer.body_mut().read_to_string().ok()?;
    Some((answer.status().as_u16(), retry, serde_json::from_str(&text).ok()?))
}

/// Ten exposures and ten steps that no other batch has.
fn batch(round: usize, thread: usize, number: usize) -> Vec<Value> {
    let of = |n: usize| {
        let id = format!("{round}-{thread}-{number}-{n}");
        let exposure =
            json!({"type": "exposure", "flag": "gift", "user_id": id, "variant": "on", "ago_ms": 60_000});
        [exposure, json!({"id": id, "type": "step", "step": "order_paid", "user_id": id, "ago_ms": 1_000})]
    };
    (0..10).flat_map(of).collect()
}

/// Four threads send batches until the service goes away, which `end` sees to after `enough` answers.
fn acknowledged(huidu: &Huidu, round: usize, enough: usize, end: impl FnOnce()) -> Vec<Vec<Value>> {
    let answers = AtomicUsize::new(0);
    let send = |thread: usize| {
        let mut taken = Vec::new();
        for number in 0.. {
            let events = batch(round, thread, number);
            match post(&huidu.address, &huidu.server, &events) {
                Some((200, _, answer)) => {
                    assert_eq!(answer, json!({"accepted": 20, "duplicates": 0, "rejected": []}));
                    taken.push(events);
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                Some((503, ..)) | None => break,
                Some(other) => panic!("{other:?}"),
            }
        }
        taken
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || send(thread))).collect();
        eventually("batches are acknowledged", || answers.load(Ordering::Relaxed) >= enough);
        end();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Every acknowledged event has its row, and sending all of them again adds none.
#[track_caller]
fn all_there_once(huidu: &Huidu, batches: &[Vec<Value>]) {
    assert!(!batches.is_empty());
    let before = counts(huidu);
    let stored: BTreeSet<String> = steps(huidu).into_iter().map(|step| step.id).collect();
    for id in batches.iter().flatten().filter_map(|event| event["id"].as_str()) {
        assert!(stored.contains(id), "{id} was acknowledged, and is lost");
    }
    for batch in batches {
        let answer = huidu.events(&huidu.server, &json!(batch)).expect(200).json();
        assert_eq!(answer, json!({"accepted": 0, "duplicates": 20, "rejected": []}));
    }
    assert_eq!(counts(huidu), before);
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_exactly_once() {
    let mut huidu = shop();
    let mut batches = Vec::new();
    for round in 0..3 {
        // The moment of the kill falls anywhere in a commit: its place differs with each run.
        let enough = 8 + jiff::Timestamp::now().subsec_nanosecond().unsigned_abs() as usize % 40;
        let pid = huidu.pid();
        batches.extend(acknowledged(&huidu, round, enough, || signal(pid, "KILL")));
        huidu.kill();
        huidu.start_again();
        all_there_once(&huidu, &batches);
    }
}

#[test]
fn a_start_reads_which_steps_are_stored_so_that_new_ones_are_not_looked_up() {
    let mut huidu = shop();
    let event = |id: &str| json!([{"id": id, "type": "step", "step": "order_paid", "user_id": "u"}]);
    let accepted = |huidu: &Huidu, id: &str| {
        huidu.events(&huidu.server, &event(id)).expect(200).json()["accepted"] == json!(1)
    };
    assert!(accepted(&huidu, "stored"));
    huidu.stop();
    // The place of a step that is not stored: whoever looks it up takes it for a duplicate.
    let sql = "INSERT INTO step_places (environment, unit, unit_attribute, step, id, number)
               SELECT environment, unit, unit_attribute, step, 'planted', 0 FROM steps";
    let url = format!("sqlite:{}", huidu.database().display());
    block_on(execute(&url, Engine::Sqlite, sql));
    huidu.start_again();
    assert!(!accepted(&huidu, "stored"));
    eventually("all stored steps are known", || accepted(&huidu, "planted"));
    assert!(!accepted(&huidu, "stored") && !accepted(&huidu, "planted"));
}

#[test]
fn a_stop_under_load_stores_all_that_it_acknowledged() {
    let mut huidu = shop();
    let pid = huidu.pid();
    let batches = acknowledged(&huidu, 0, 20, || signal(pid, "TERM"));
    // A process that ended is not yet reaped, so that a second signal finds it; its status must be a success.
    huidu.stop();
    huidu.start_again();
    all_there_once(&huidu, &batches);
}

#[test]
fn a_full_queue_refuses_whole_calls_and_recovers() {
    let huidu = Huidu::start_with(&[("EVENT_QUEUE_EVENTS", "1000")]);
    let call = |thread: usize, number: usize| -> Vec<Value> {
        let event = |n: usize| json!({"id": format!("{thread}-{number}-{n}"), "type": "step", "step": "order_paid", "user_id": "u"});
        (0..600).map(event).collect()
    };
    let send = |thread: usize| {
        let mut outcome = Vec::new();
        for number in 0..10 {
            let (status, retry, answer) = post(&huidu.address, &huidu.server, &call(thread, number)).unwrap();
            match status {
                200 => assert_eq!(answer["accepted"], 600),
                503 => {
                    assert_eq!(answer["code"], "queue_full", "{answer}");
                    assert!(retry.unwrap().parse::<u32>().unwrap() >= 1);
                }
                _ => panic!("{status} {answer}"),
            }
            outcome.push((format!("{thread}-{number}-"), status == 200));
        }
        outcome
    };
    let calls: Vec<_> = std::thread::scope(|scope| {
        let send = &send;
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(move || send(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(calls.iter().any(|call| call.1) && calls.iter().any(|call| !call.1), "{calls:?}");
    let stored = steps(&huidu);
    for (prefix, taken) in calls {
        let rows = stored.iter().filter(|step| step.id.starts_with(&prefix)).count();
        assert_eq!(rows, if taken { 600 } else { 0 }, "{prefix}");
    }
    eventually("the queue takes events again", || {
        let answer = post(&huidu.address, &huidu.server, &call(9, 9)).unwrap();
        answer.0 == 200
    });
    eventually("nothing waits", || huidu.metric("huidu_event_queue_events") == Some(0.0));
}

#[test]
fn one_poisonous_event_of_a_full_call_costs_only_itself() {
    let huidu = shop();
    let mut events: Vec<_> = (0..1_000)
        .map(|n| json!({"id": format!("p-{n}"), "type": "step", "step": "order_paid", "user_id": "u"}))
        .collect();
    for (at, poison) in [(0, json!("\u{0}")), (499, json!("x".repeat(10_000))), (999, json!({}))] {
        events[at]["user_id"] = poison;
    }
    let answer = huidu.events(&huidu.server, &json!(events)).expect(200).json();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(997), &json!(0)));
    let at: Vec<_> =
        answer["rejected"].as_array().unwrap().iter().map(|r| r["index"].as_u64().unwrap()).collect();
    assert_eq!(at, [0, 499, 999]);
    assert_eq!(counts(&huidu).steps, 997);
}

#[test]
fn two_hundred_calls_at_once_are_all_taken() {
    let huidu = shop();
    std::thread::scope(|scope| {
        for n in 0..200 {
            let huidu = &huidu;
            scope.spawn(move || {
                let event =
                    json!({"id": format!("c-{n}"), "type": "step", "step": "order_paid", "user_id": "u"});
                let (status, _, answer) = post(&huidu.address, &huidu.server, &[event]).unwrap();
                assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
            });
        }
    });
    assert_eq!(counts(&huidu).steps, 200);
    // One transaction takes what waits.
    let commits = huidu.metric("huidu_event_commit_duration_seconds_count").unwrap();
    assert!((1.0..200.0).contains(&commits), "{commits} commits");
}

#[test]
fn changes_alone_are_folded_into_the_file_too() {
    let huidu = Huidu::start();
    let name = "a-name-that-stands-nowhere-else";
    let flag = json!({"key": name, "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off"});
    huidu.create_flag(&flag);
    eventually("the change stands in the database's file", || {
        let file = std::fs::read(huidu.database()).unwrap();
        file.windows(name.len()).any(|place| place == name.as_bytes())
    });
}
