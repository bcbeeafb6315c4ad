//! OFREP's own stream: what its clients are offered, told, and answered when they ask again.

use serde_json::{Value, json};

use super::page::Page;
use super::{STREAM, kill, number};
use crate::decide::make_key;
use crate::decide::ofrep::conforms;
use crate::fixture::*;

const BULK: &str = "/ofrep/v1/evaluate/flags";

fn bulk(huidu: &Huidu, key: &str) -> Answer {
    huidu.post(BULK, key, &json!({"context": {"targetingKey": "tester-1"}})).expect(200)
}

/// A bulk call as a client makes it that has an answer already.
fn again(huidu: &Huidu, tag: &str, query: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("if-none-match", tag)];
    let body = json!({"context": {"targetingKey": "tester-1"}}).to_string();
    huidu.call("POST", &format!("{BULK}{query}"), &huidu.client, &headers, body.as_bytes())
}

/// Where a client with this key is told to listen.
#[track_caller]
pub(super) fn stream_uri(huidu: &Huidu, key: &str) -> String {
    let body = bulk(huidu, key).json();
    let streams = body["eventStreams"].as_array().unwrap();
    assert_eq!(streams.len(), 1, "{body}");
    assert_eq!((&streams[0]["type"], &streams[0]["inactivityDelaySec"]), (&json!("sse"), &json!(120)));
    let uri = streams[0]["endpoint"]["requestUri"].as_str().unwrap().to_owned();
    assert!(uri.starts_with("/ofrep/v1/sse?token="), "{uri}");
    uri
}

#[test]
fn the_bulk_answer_offers_a_stream_and_is_the_same_at_each_poll() {
    let huidu = Huidu::start();
    let first = bulk(&huidu, &huidu.client);
    conforms("bulkEvaluationSuccess", &first.json());
    let second = bulk(&huidu, &huidu.client);
    assert_eq!(first.text, second.text);
    assert_eq!(first.header("etag"), second.header("etag"));
    let (client, server) = (stream_uri(&huidu, &huidu.client), stream_uri(&huidu, &huidu.server));
    assert_ne!(client, server, "a token ends with its own key");
}

#[test]
fn a_client_is_told_to_fetch_again_and_gets_the_new_answer_once() {
    let huidu = Huidu::start();
    let first = bulk(&huidu, &huidu.client);
    let tag = first.header("etag").unwrap();
    let page = Page::open(&huidu, &stream_uri(&huidu, &huidu.client), "");
    assert_eq!((page.head.status, page.head.header("content-type")), (200, Some("text/event-stream")));
    let now = number(&huidu, "production");
    kill(&huidu, "wechat-friend-pay");
    for (n, number) in [(0, now), (1, now + 1)] {
        let told = page.event(n);
        let message = json!({"event": told.kind, "id": told.id.to_string(), "data": told.text, "retry": page.retry_ms()});
        conforms("sseEvent", &message);
        conforms("sseEventData", &told.data);
        assert_eq!((told.kind.as_str(), told.id), ("message", number));
        assert_eq!(told.data["type"], "refetchEvaluation");
        assert_eq!(told.data["etag"], number.to_string());
        assert!(told.data["lastModified"].as_i64().unwrap() > 1_700_000_000, "{}", told.data);
    }
    let etag = page.event(1).data["etag"].as_str().unwrap().to_owned();
    let modified = page.event(1).data["lastModified"].clone();
    let query = format!("?flagConfigEtag={etag}&flagConfigLastModified={modified}");
    let answer = again(&huidu, tag, &query).expect(200);
    let friend = |answer: &Answer| -> Value {
        let flags = answer.json()["flags"].as_array().unwrap().clone();
        flags.into_iter().find(|flag| flag["key"] == "wechat-friend-pay").unwrap()
    };
    assert_eq!(friend(&answer)["reason"], "DISABLED");
    let tag = answer.header("etag").unwrap().to_owned();
    // Connected again, it is told the number that it has, asks, and is spared the answer.
    drop(page);
    let page = Page::open(&huidu, &stream_uri(&huidu, &huidu.client), "");
    assert_eq!(page.event(0).data["etag"], etag);
    assert_eq!(again(&huidu, &tag, &format!("?flagConfigEtag={etag}")).status, 304);
    let id = [("last-event-id", &*etag)];
    let page = Page::open_with(&huidu, &stream_uri(&huidu, &huidu.client), "", &id);
    huidu.create_flag(&ramp("f", 100.0, 0.0));
    assert_eq!(page.event(0).data["etag"], (now + 2).to_string());
}

#[test]
fn the_token_is_good_for_the_plain_stream_of_its_own_environment() {
    let huidu = Huidu::start();
    let staging = make_key(&huidu, "client", &json!("staging"));
    let answer =
        huidu.call("POST", BULK, ADMIN, &[("huidu-environment", "staging")], b"{}").expect(200).json();
    let of_admin = answer["eventStreams"][0]["endpoint"]["requestUri"].as_str().unwrap().to_owned();
    let rows = [
        (stream_uri(&huidu, &huidu.client), "production"),
        (stream_uri(&huidu, &huidu.server), "production"),
        (stream_uri(&huidu, &staging), "staging"),
        (of_admin, "staging"),
        (stream_uri(&huidu, ADMIN), "production"),
    ];
    for (uri, environment) in rows {
        let uri = uri.replace("/ofrep/v1/sse", STREAM);
        // A header cannot make it another's.
        let page = Page::open_with(&huidu, &uri, "", &[("huidu-environment", "production")]);
        assert_eq!(page.event(0).data["environment"], environment);
        assert_eq!(page.event(0).kind, "change");
    }
}

#[test]
fn whoever_offers_no_streams_names_none() {
    let huidu = Huidu::start_with(&[("STREAMS_MAX", "0")]);
    let answer = bulk(&huidu, &huidu.client).json();
    conforms("bulkEvaluationSuccess", &answer);
    assert!(answer.get("eventStreams").is_none(), "{answer}");
    huidu.get(STREAM, &huidu.client).refused(503, "too_many_streams");
}
