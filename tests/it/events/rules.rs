//! The rules of one event, as rows: who sends what, and the code that it gets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Sealer, counts, fate, from_now, shop};
use crate::fixture::Huidu;

/// What is sent, what becomes of it, and a word of the detail.
type Row = (Value, &'static str, &'static str);

/// Sends every row alone and all of them in one call: both must agree, and only accepted ones leave rows.
#[track_caller]
fn check(huidu: &Huidu, key: &str, rows: &[Row]) {
    let before = counts(huidu);
    for (event, want, word) in rows {
        let (got, detail) = fate(huidu, key, event);
        assert_eq!((&*got, detail.contains(word)), (*want, true), "{event}: {got}: {detail}");
    }
    let after = counts(huidu);
    if rows.iter().all(|(_, want, _)| *want != "accepted") {
        assert_eq!(before, after);
    }
    let all: Vec<_> = rows.iter().map(|row| row.0.clone()).collect();
    let answer = huidu.events(key, &json!(all)).expect(200).json();
    let refused = answer["rejected"].as_array().unwrap().iter();
    let refused: Vec<_> =
        refused.map(|r| (r["index"].as_u64().unwrap(), r["code"].as_str().unwrap())).collect();
    let want = rows.iter().enumerate().filter(|(_, row)| !matches!(row.1, "accepted" | "duplicate"));
    let want: Vec<_> = want.map(|(index, row)| (index as u64, row.1)).collect();
    assert_eq!(refused, want);
    assert_eq!(answer["accepted"], 0, "sent before: {answer}");
    assert_eq!(answer["duplicates"], rows.len() - want.len(), "{answer}");
    assert_eq!(counts(huidu), after);
}

fn step(id: &str, step: &str, more: &Value) -> Value {
    let mut event = json!({"id": id, "type": "step", "step": step});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

/// The token with bit `bit` of its bytes turned.
fn turned(token: &str, bit: usize) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn a_client_key_sends_exposures_and_stops_with_their_token_and_nothing_else() {
    let huidu = shop();
    let token = Sealer::of(&huidu).token("u-1", 0);
    let own = "server_key_required";
    check(
        &huidu,
        &huidu.client,
        &[
            (json!({"type": "exposure", "token": token}), "accepted", ""),
            (json!({"id": "e", "type": "exposure", "token": token}), "duplicate", ""),
            (step("s1", "gift_opened", &json!({"token": token})), "accepted", ""),
            (step("s1", "gift_opened", &json!({"token": token})), "duplicate", ""),
            (step("s1", "gift_sent", &json!({"token": token})), "accepted", ""),
            (step("s2", "gift_opened", &json!({"token": token})), "accepted", ""),
            (step("s3", "order_paid", &json!({"token": token})), own, "server key"),
            (step("s4", "gift_opened", &json!({"token": token, "value": 1, "currency": "CNY"})), own, ""),
            (step("s5", "order_paid", &json!({"user_id": "u-1"})), own, ""),
            (step("s6", "gift_opened", &json!({"user_id": "u-1", "flag": "gift"})), own, ""),
            (step("s7", "gift_opened", &json!({"units": {"user.id": "u-1"}, "flag": "gift"})), own, ""),
            (json!({"type": "exposure", "flag": "gift", "user_id": "u-1", "variant": "on"}), own, ""),
            (step("s8", "entry_clicked", &json!({"token": token})), "unknown_step", "token's flag"),
            (step("s9", "no_such_step", &json!({"token": token})), "unknown_step", ""),
        ],
    );
}

#[test]
fn a_token_that_this_environment_did_not_make_today_or_in_31_days_is_refused() {
    let huidu = shop();
    let sealer = Sealer::of(&huidu);
    let good = sealer.token("u-1", 0);
    let mut rows: Vec<Row> = vec![
        (json!({"type": "exposure", "token": sealer.token("old", 31)}), "accepted", ""),
        (json!({"type": "exposure", "token": sealer.token("u-1", 32)}), "token_expired", ""),
        (json!({"type": "exposure", "token": sealer.token("ahead", -1)}), "accepted", ""),
        (json!({"type": "exposure", "token": sealer.token("u-1", -2)}), "token_invalid", ""),
        (
            json!({"type": "exposure", "token": sealer.of_environment(2, "gift", "u-1", 0)}),
            "token_foreign",
            "",
        ),
        (
            json!({"type": "exposure", "token": sealer.of_environment(1, "none", "u-1", 0)}),
            "token_invalid",
            "",
        ),
        (json!({"type": "exposure", "token": good.get(..good.len() - 4).unwrap()}), "token_invalid", ""),
        (json!({"type": "exposure", "token": format!("{good}AAAA")}), "token_invalid", ""),
        (json!({"type": "exposure", "token": ""}), "token_invalid", ""),
        (json!({"type": "exposure", "token": "A".repeat(5_000)}), "token_invalid", ""),
    ];
    // Format, key, purpose, day, environment, body, tag: every bit is authenticated.
    let bits = URL_SAFE_NO_PAD.decode(&good).unwrap().len() * 8;
    for bit in 0..bits {
        rows.push((json!({"type": "exposure", "token": turned(&good, bit)}), "token_invalid", ""));
    }
    let (stopped, others) = rows.split_at(10);
    check(&huidu, &huidu.client, stopped);
    let all: Vec<_> = others.iter().map(|row| row.0.clone()).collect();
    for part in all.chunks(1_000) {
        let answer = huidu.events(&huidu.client, &json!(part)).expect(200).json();
        assert_eq!(answer["rejected"].as_array().unwrap().len(), part.len());
        assert!(
            answer["rejected"].as_array().unwrap().iter().all(|r| r["code"] == "token_invalid"),
            "{answer}"
        );
    }
}

#[test]
fn an_event_whose_fields_contradict_or_fail_it_is_refused_with_the_field_named() {
    let huidu = shop();
    let token = Sealer::of(&huidu).token("u-1", 0);
    let bad = "event_invalid";
    let paid = |more: Value| step("s", "order_paid", &more);
    let mut rows: Vec<Row> =
        [("user_id", json!("u-1")), ("units", json!({"user.id": "u-1"})), ("flag", json!("gift"))]
            .into_iter()
            .map(|(field, value)| {
                (step("s", "gift_opened", &json!({"token": token, field: value})), bad, field)
            })
            .collect();
    rows.extend([
        (json!({"type": "exposure", "token": token, "variant": "on"}), bad, "variant"),
        (json!({"type": "exposure", "token": token, "context": {}}), bad, "context"),
        (json!({"type": "exposure", "token": token, "step": "gift_opened"}), bad, "step"),
        (json!({"type": "exposure", "token": token, "value": 1}), bad, "value"),
        (json!({"type": "step", "step": "gift_opened", "token": token}), bad, "`id`"),
        (json!({"id": "s", "type": "step", "token": token}), bad, "`step`"),
        (json!({"id": "s", "type": "click", "token": token}), bad, "type"),
        (json!({"id": "s", "step": "order_paid"}), bad, "type"),
        (json!(7), bad, ""),
        (json!([]), bad, ""),
        (
            json!([
                null, "exposure", token, null, null, null, null, null, null, null, null, null, null, null,
                null
            ]),
            bad,
            "",
        ),
        (json!(null), bad, ""),
        (paid(json!({"user_id": "u-1", "colour": "red"})), bad, "colour"),
        (paid(json!({"user_id": 7})), bad, "user_id"),
        (paid(json!({})), bad, "user_id"),
        (paid(json!({"user_id": ""})), bad, "user_id"),
        (paid(json!({"user_id": "u".repeat(257)})), bad, "user_id"),
        (paid(json!({"user_id": "u\0"})), bad, "user_id"),
        (paid(json!({"user_id": "u-1", "order_id": "\0"})), bad, "order_id"),
        (paid(json!({"user_id": "u-1", "order_id": "o".repeat(10_000)})), bad, "order_id"),
        (paid(json!({"user_id": "u-1", "attributes": {"payment_method": "\0"}})), bad, "attributes"),
        (paid(json!({"units": {"goods.id": "g"}})), bad, "units"),
        (paid(json!({"units": {"device": "g"}})), bad, "units"),
        (paid(json!({"units": {"user.id": "u-2"}, "user_id": "u-1"})), bad, "user"),
        (paid(json!({"user_id": "u-1", "at": from_now(0), "ago_ms": 1})), bad, "ago_ms"),
        (paid(json!({"user_id": "u-1", "at": "yesterday"})), bad, "`at`"),
        (paid(json!({"user_id": "u-1", "ago_ms": -1})), bad, "ago_ms"),
        (paid(json!({"user_id": "u-1", "ago_ms": 0.5})), bad, "ago_ms"),
        (step("", "order_paid", &json!({"user_id": "u-1"})), bad, "`id`"),
        (step("\0", "order_paid", &json!({"user_id": "u-1"})), bad, "`id`"),
        (step("order\0", "order\0", &json!({"user_id": "u-1"})), bad, ""),
        (step("s", "no_such_step", &json!({"user_id": "u-1"})), "unknown_step", ""),
        (step("s", "gift_opened", &json!({"user_id": "u-1"})), "flag_required", "flag"),
        (step("s", "gift_opened", &json!({"user_id": "u-1", "flag": "device"})), "unknown_step", ""),
        (step("s", "gift_opened", &json!({"user_id": "u-1", "flag": "none"})), bad, "`flag`"),
        (step("s", "device_opened", &json!({"user_id": "u-1", "flag": "device"})), bad, "user.device_id"),
    ]);
    check(&huidu, &huidu.server, &rows);
}

#[test]
fn an_event_id_longer_than_256_bytes_is_refused() {
    let huidu = shop();
    for (length, want) in [(256, "accepted"), (257, "event_invalid"), (10_000, "event_invalid")] {
        let event = step(&"i".repeat(length), "order_paid", &json!({"user_id": "u-1"}));
        let answer = huidu.events(&huidu.server, &json!([event])).expect(200).json();
        let got = answer["rejected"][0]["code"].as_str().unwrap_or("accepted");
        assert_eq!(got, want, "{length}");
    }
}

#[test]
fn a_value_is_a_whole_number_of_a_known_currency() {
    let huidu = shop();
    let paid = |id: &str, value: Value, currency: Value| {
        step(id, "order_paid", &json!({"user_id": "u-1", "value": value, "currency": currency}))
    };
    let cny = || json!("CNY");
    check(
        &huidu,
        &huidu.server,
        &[
            (paid("v1", json!(0), cny()), "accepted", ""),
            (paid("v2", json!(9_007_199_254_740_991_i64), cny()), "accepted", ""),
            (paid("v3", json!(45900.0), cny()), "accepted", ""),
            (paid("v4", json!(9_007_199_254_740_992_i64), cny()), "event_invalid", "value"),
            (paid("v5", json!(u64::MAX), cny()), "event_invalid", "value"),
            (paid("v6", json!(-1), cny()), "event_invalid", "value"),
            (paid("v7", json!(0.5), cny()), "event_invalid", "value"),
            (paid("v8", json!("1"), cny()), "event_invalid", "value"),
            (paid("v9", json!(1), Value::Null), "event_invalid", "currency"),
            (paid("w1", Value::Null, cny()), "event_invalid", "currency"),
            (paid("w2", json!(1), json!("USD")), "currency_unknown", ""),
            (paid("w3", json!(1), json!("cny")), "currency_unknown", ""),
        ],
    );
}

#[test]
fn a_reported_exposure_is_taken_only_as_its_flag_decides_and_measures() {
    let huidu = shop();
    let shown = |flag: &str, user: &str, variant: &str, more: Value| {
        let mut event = json!({"type": "exposure", "flag": flag, "user_id": user, "variant": variant});
        if !more.is_null() {
            event["context"] = more;
        }
        event
    };
    let bad = "event_invalid";
    check(
        &huidu,
        &huidu.server,
        &[
            (shown("gift", "r1", "on", Value::Null), "accepted", ""),
            (shown("gift", "r2", "on", json!({"region": "CN-31"})), "accepted", ""),
            (shown("gift", "r3", "on", json!({"region": "HK"})), "accepted", ""),
            (shown("gift", "r4", "off", json!({"region": "HK"})), "not_measured", ""),
            (shown("gift", "r5", "maybe", Value::Null), bad, "variant"),
            (shown("none", "r6", "on", Value::Null), bad, "flag"),
            (shown("gone", "r7", "off", Value::Null), "flag_not_open", ""),
            (shown("device", "r8", "on", Value::Null), bad, "user.device_id"),
            (shown("gift", "r9", "on", json!("CN-31")), bad, "context"),
            (json!({"type": "exposure", "flag": "gift", "user_id": "r1"}), bad, "variant"),
            (json!({"type": "exposure", "user_id": "r1", "variant": "on"}), bad, "flag"),
            (json!({"type": "exposure", "flag": "gift", "variant": "on"}), bad, "user.id"),
        ],
    );
}

#[test]
fn a_call_that_is_no_list_of_at_most_1000_events_is_refused_as_a_whole() {
    let huidu = shop();
    let event =
        |n: usize| json!({"id": format!("e{n}"), "type": "step", "step": "order_paid", "user_id": "u"});
    let list = |n: usize| json!({"events": (0..n).map(event).collect::<Vec<_>>()});
    let empty = huidu.post("/v1/events", &huidu.server, &list(0)).expect(200).json();
    assert_eq!(empty, json!({"accepted": 0, "duplicates": 0, "rejected": []}));
    huidu.post("/v1/events", &huidu.server, &list(1_001)).refused(400, "too_many_events");
    let bodies = [
        json!({"events": {}}),
        json!({"events": "e"}),
        json!([]),
        json!([[event(1)]]),
        json!({}),
        json!({"events": [], "more": 1}),
    ];
    for body in bodies {
        let answer = huidu.post("/v1/events", &huidu.server, &body).expect(422);
        assert_eq!(answer.code(), "body_invalid", "{body}");
    }
    let json_type = [("content-type", "application/json")];
    huidu
        .call("POST", "/v1/events", &huidu.server, &json_type, b"{\"events\": [")
        .refused(400, "json_invalid");
    let mut big = json!({"events": []}).to_string().into_bytes();
    big.resize(1 << 20, b' ');
    huidu.call("POST", "/v1/events", &huidu.server, &json_type, &big).expect(200);
    big.push(b' ');
    huidu.call("POST", "/v1/events", &huidu.server, &json_type, &big).refused(413, "body_too_large");
    assert_eq!(counts(&huidu).steps, 0);
    let all = huidu.post("/v1/events", &huidu.server, &list(1_000)).expect(200).json();
    assert_eq!(all["accepted"], 1_000);
}
