//! How a stream ends: with its key, with the service, and what tokens no longer open.

use std::time::Duration;

use serde_json::json;

use super::ofrep::stream_uri;
use super::page::Page;
use super::{STREAM, kill};
use crate::fixture::*;

/// A key made by a call, as id and text.
fn key(huidu: &Huidu, wish: &serde_json::Value) -> (String, String) {
    let made = huidu.post("/v1/keys", ADMIN, wish).expect(201).json();
    (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

#[test]
fn a_revoked_key_ends_its_streams_and_kills_its_token() {
    let huidu = Huidu::start();
    let (id, text) = key(&huidu, &json!({"name": "shop", "role": "client", "environment": "production"}));
    let uri = stream_uri(&huidu, &text);
    let own = [Page::open(&huidu, STREAM, &text), Page::open(&huidu, &uri, "")];
    let other = Page::open(&huidu, STREAM, &huidu.client);
    own.iter().chain([&other]).for_each(|page| drop(page.event(0)));
    huidu.call("DELETE", &format!("/v1/keys/{id}"), ADMIN, &[], b"").expect(204);
    for page in &own {
        page.until("the stream ends", Page::has_ended);
    }
    for path in [uri.clone(), uri.replace("/ofrep/v1/sse", STREAM)] {
        let dead = huidu.get(&path, "").expect(204);
        assert_eq!((dead.text.as_str(), dead.header("cache-control")), ("", Some("no-store")), "{dead:?}");
    }
    kill(&huidu, "wechat-scan-pay");
    other.event(1);
    assert!(!other.has_ended(), "others go on");
}

#[test]
fn an_expired_key_ends_its_streams_and_kills_its_token() {
    let huidu = Huidu::start();
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let wish = json!({"name": "shop", "role": "client", "environment": "production", "expires_at": soon.to_string()});
    let (_, text) = key(&huidu, &wish);
    let uri = stream_uri(&huidu, &text);
    let page = Page::open(&huidu, &uri, "");
    page.event(0);
    page.until("the stream ends", Page::has_ended);
    assert!(page.opened.elapsed() < Duration::from_secs(14), "not only at the next heartbeat");
    huidu.get(&uri, "").expect(204);
}

#[test]
fn what_is_no_stream_token_opens_nothing() {
    let huidu = Huidu::start();
    let uri = stream_uri(&huidu, &huidu.client);
    let (_, good) = uri.split_once("token=").unwrap();
    let exposure = huidu.tester_token();
    let (cut, _) = good.split_at(good.len() - 1);
    let other = |at, c| {
        if at != 20 {
            c
        } else if c == 'A' {
            'B'
        } else {
            'A'
        }
    };
    let changed: String = good.chars().enumerate().map(|(at, c)| other(at, c)).collect();
    for token in ["", "x", &exposure, cut, &changed, &huidu.client] {
        for path in [STREAM, "/ofrep/v1/sse"] {
            assert_eq!(huidu.get(&format!("{path}?token={token}"), "").status, 204, "{path} {token}");
        }
    }
    let event = json!([{"type": "exposure", "token": good}]);
    let refused = huidu.events(&huidu.client, &event).expect(200).json();
    assert_eq!(refused["rejected"][0]["code"], "token_invalid", "{refused}");
    let verified = huidu.post("/v1/tokens/verify", &huidu.server, &json!({"token": good})).expect(200).json();
    assert_eq!((&verified["valid"], &verified["code"]), (&json!(false), &json!("token_invalid")));
}

#[test]
fn a_stop_does_not_wait_for_open_streams() {
    let mut huidu = Huidu::start_with(&[("SHUTDOWN_SECONDS", "15")]);
    let uri = stream_uri(&huidu, &huidu.client);
    let pages: Vec<Page> = (0..50)
        .map(|n| match n % 2 {
            0 => Page::open(&huidu, STREAM, &huidu.client),
            _ => Page::open(&huidu, &uri, ""),
        })
        .collect();
    pages.iter().for_each(|page| drop(page.event(0)));
    let took = huidu.stop();
    assert!(took < Duration::from_secs(8), "{took:?}");
    for page in &pages {
        page.until("the stream ends", Page::has_ended);
        assert_eq!(page.events(), 1);
    }
    assert!(huidu.log().contains("\"stopped\""), "it ended in order");
}

#[test]
fn a_token_stands_in_no_log() {
    let mut huidu = Huidu::start_with(&[("LOG", "trace")]);
    let uri = stream_uri(&huidu, &huidu.client);
    Page::open(&huidu, &uri, "").event(0);
    huidu.get("/ofrep/v1/sse?token=looks-like-one-0123456789", "").expect(204);
    huidu.stop();
    let (_, token) = uri.split_once("token=").unwrap();
    assert!(!huidu.log().contains(token) && !huidu.log().contains("looks-like-one"));
    assert!(huidu.log().contains("\"stopped\""), "there is a log");
}
