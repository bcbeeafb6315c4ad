//! Streams of changes: who hears of what, who is refused, and how a stream ends.

mod ends;
mod ofrep;
pub(crate) mod page;

use serde_json::{Value, json};

use crate::decide::make_key;
use crate::fixture::*;
use page::Page;

pub(crate) const STREAM: &str = "/v1/stream";
const FLAGS: &str = "/v1/environments/production/flags";

/// The number that a service's environment is at.
fn number(huidu: &Huidu, environment: &str) -> i64 {
    let environments = huidu.get("/v1/environments", ADMIN).expect(200).json();
    let items = environments["items"].as_array().unwrap().clone();
    items.iter().find(|item| item["key"] == environment).unwrap()["snapshot"].as_i64().unwrap()
}

/// A flag that is open to all, in an environment.
#[track_caller]
fn create_in(huidu: &Huidu, environment: &str, key: &str) {
    let headers = [("content-type", "application/json"), ("if-none-match", "*")];
    let path = format!("/v1/environments/{environment}/flags/{key}");
    huidu.call("PUT", &path, ADMIN, &headers, ramp(key, 100.0, 0.0).to_string().as_bytes()).expect(201);
}

#[track_caller]
fn kill(huidu: &Huidu, key: &str) {
    huidu.manage("POST", &format!("/flags/{key}/kill"), None, &json!({})).expect(200);
}

#[test]
fn a_page_hears_the_present_number_and_then_each_change_with_its_flags() {
    let huidu = Huidu::start();
    let before = number(&huidu, "production");
    let page = Page::open(&huidu, STREAM, &huidu.client);
    assert_eq!(page.head.status, 200, "{:?}", page.head);
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(page.head.header(name), Some(value), "{:?}", page.head);
    }
    let first = page.event(0);
    assert_eq!((first.kind.as_str(), first.id), ("change", before));
    assert_eq!(first.data, json!({"environment": "production", "snapshot": before, "flags": []}));
    assert!((1_000..=5_000).contains(&page.retry_ms()), "{}", page.retry_ms());
    huidu.create_flag(&ramp("f", 50.0, 0.0));
    let told = page.event(1);
    assert_eq!((told.kind.as_str(), told.id), ("change", before + 1));
    assert_eq!(told.data, json!({"environment": "production", "snapshot": before + 1, "flags": ["f"]}));
    kill(&huidu, "f");
    assert_eq!(page.event(2).data["flags"], json!(["f"]));
    // What changes nothing is told to nobody: the next event is of the next change.
    kill(&huidu, "f");
    huidu.create_flag(&ramp("g", 50.0, 0.0));
    assert_eq!(
        page.event(3).data,
        json!({"environment": "production", "snapshot": before + 3, "flags": ["g"]})
    );
}

#[test]
fn whoever_knows_the_present_number_is_told_the_next_only() {
    let huidu = Huidu::start();
    let now = number(&huidu, "production");
    let known = Page::open_with(&huidu, STREAM, &huidu.client, &[("last-event-id", &now.to_string())]);
    let others = ["", "x", "0", &(now + 1).to_string(), &(now - 1).to_string()]
        .map(|id| (id.to_owned(), Page::open_with(&huidu, STREAM, &huidu.client, &[("last-event-id", id)])));
    for (id, page) in &others {
        assert_eq!(page.event(0).data["snapshot"], now, "Last-Event-ID {id:?}");
        assert_eq!(page.event(0).data["flags"], json!([]), "nothing is replayed");
    }
    huidu.create_flag(&ramp("f", 50.0, 0.0));
    assert_eq!(
        known.event(0).data,
        json!({"environment": "production", "snapshot": now + 1, "flags": ["f"]})
    );
}

#[test]
fn environments_do_not_hear_each_other() {
    let huidu = Huidu::start();
    let staging_key = make_key(&huidu, "client", &json!("staging"));
    let named = [("huidu-environment", "staging")];
    let production = Page::open(&huidu, STREAM, &huidu.client);
    let staging = [Page::open(&huidu, STREAM, &staging_key), Page::open_with(&huidu, STREAM, ADMIN, &named)];
    create_in(&huidu, "staging", "of-staging");
    create_in(&huidu, "production", "of-production");
    for page in &staging {
        assert_eq!(page.event(0).data["environment"], "staging");
        assert_eq!(page.event(1).data["flags"], json!(["of-staging"]));
    }
    // Told of its own change, it was told of no other before.
    assert_eq!(production.event(1).data["flags"], json!(["of-production"]));
    create_in(&huidu, "staging", "once-more");
    assert_eq!(staging[0].event(2).data["flags"], json!(["once-more"]));
    let foreign = huidu.call("GET", STREAM, &staging_key, &[("huidu-environment", "production")], b"");
    foreign.refused(403, "forbidden");
}

#[test]
fn other_ids_of_an_audience_name_the_flags_that_ask_for_it() {
    let huidu = Huidu::start();
    let mut asking = ramp("asking", 100.0, 0.0);
    asking["rules"][0]["when"] = json!({"audience": "wechat-testers"});
    huidu.create_flag(&asking);
    let mut requiring = ramp("requiring", 100.0, 0.0);
    requiring["prerequisites"] = json!([{"flag": "asking", "variants": ["on"]}]);
    huidu.create_flag(&requiring);
    huidu.create_flag(&ramp("bystander", 100.0, 0.0));
    let page = Page::open(&huidu, STREAM, &huidu.client);
    page.event(0);
    let headers = [("content-type", "text/plain"), ("if-match", "\"1\"")];
    let path = "/v1/environments/production/audiences/wechat-testers";
    huidu.call("PUT", path, ADMIN, &headers, b"u-1\nu-2\n").expect(200);
    let flags = page.event(1).data["flags"].clone();
    let flags: Vec<&str> = flags.as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
    assert!(flags.contains(&"asking") && flags.contains(&"requiring"), "{flags:?}");
    assert!(flags.contains(&"wechat-scan-pay") && !flags.contains(&"bystander"), "{flags:?}");
}

#[test]
fn a_flags_own_end_is_told_to_open_pages() {
    let huidu = Huidu::start();
    let mut ending = ramp("ending", 100.0, 0.0);
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    ending["expire_at"] = end.to_string().into();
    huidu.create_flag(&ending);
    let now = number(&huidu, "production");
    let known = [("last-event-id", &*now.to_string())];
    let page = Page::open_with(&huidu, STREAM, &huidu.client, &known);
    let told = page.event(0);
    assert!(jiff::Timestamp::now() >= end, "{told:?}");
    // Told at the end itself, or where the end is written down already, with that number too.
    assert!([json!(["ending"]), json!([])].contains(&told.data["flags"]), "{told:?}");
    assert_eq!(huidu.entry("ending", &json!({"id": "u-1"}), &json!([]))["visible"], false);
    // Whoever was away meanwhile cannot know, and is told.
    let back = Page::open_with(&huidu, STREAM, &huidu.client, &known);
    assert!(back.event(0).id >= now, "{:?}", back.event(0));
}

#[test]
fn a_comment_every_15_seconds_says_that_the_connection_lives() {
    let huidu = Huidu::start();
    let page = Page::open(&huidu, STREAM, &huidu.client);
    page.event(0);
    assert_eq!(page.comments(), 0);
    page.until("a heartbeat", |page| page.comments() > 0);
    assert!(page.opened.elapsed() >= std::time::Duration::from_secs(14), "{:?}", page.opened.elapsed());
}

#[test]
fn a_stream_is_asked_for_as_everything_else() {
    let huidu = Huidu::start();
    for path in [STREAM, "/ofrep/v1/sse"] {
        for query in ["?since=4", "?token=x&since=4"] {
            let answer = huidu.get(&format!("{path}{query}"), &huidu.client);
            assert_eq!((answer.status, answer.code().as_str()), (400, "query_invalid"), "{path}{query}");
        }
        assert_eq!(huidu.get(path, "").status, 401);
        assert_eq!(huidu.get(path, "wrong").status, 401);
        assert_eq!(
            huidu.get(&format!("{path}?token=x"), "wrong").status,
            401,
            "a key in a header goes first"
        );
        let answer = huidu.post(path, &huidu.client, &json!({}));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    }
}

#[test]
fn a_page_of_another_origin_may_listen_where_it_may_call() {
    let huidu = Huidu::start_with(&[("CORS_ORIGINS", "https://shop.example")]);
    let token = ofrep::stream_uri(&huidu, &huidu.client);
    for (origin, allowed) in [("https://shop.example", true), ("https://evil.example", false)] {
        let page = Page::open_with(&huidu, &token, "", &[("origin", origin)]);
        assert_eq!(page.head.status, 200);
        let header = page.head.header("access-control-allow-origin");
        assert_eq!(header, allowed.then_some(origin), "{:?}", page.head);
    }
}

#[test]
fn what_is_open_sent_and_refused_is_counted() {
    let huidu = Huidu::start_with(&[("STREAMS_PER_KEY_MAX", "2")]);
    let open =
        |environment: &str| huidu.metric(&format!("huidu_streams_open{{environment=\"{environment}\"}}"));
    assert_eq!((open("production"), open("staging")), (Some(0.0), Some(0.0)));
    let pages = [(); 2].map(|()| Page::open(&huidu, STREAM, &huidu.client));
    pages.iter().for_each(|page| drop(page.event(0)));
    assert_eq!((open("production"), open("staging")), (Some(2.0), Some(0.0)));
    huidu.create_flag(&ramp("f", 50.0, 0.0));
    pages.iter().for_each(|page| drop(page.event(1)));
    assert_eq!(huidu.metric("huidu_stream_events_total{environment=\"production\"}"), Some(4.0));
    huidu.get(STREAM, &huidu.client).refused(503, "too_many_streams");
    assert_eq!(huidu.metric("huidu_streams_refused_total{limit=\"key\"}"), Some(1.0));
    drop(pages);
    eventually("closed pages are counted no more", || open("production") == Some(0.0));
}

#[test]
fn limits_refuse_at_once_with_different_waits_and_a_place_comes_back() {
    let settings = [("STREAMS_MAX", "3"), ("STREAMS_PER_KEY_MAX", "2")];
    let huidu = Huidu::start_with(&settings);
    let mut of_key =
        vec![Page::open(&huidu, STREAM, &huidu.client), Page::open(&huidu, STREAM, &huidu.client)];
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let refused = huidu.get(STREAM, &huidu.client).refused(503, "too_many_streams");
        waits.insert(refused.header("retry-after").unwrap().parse::<u32>().unwrap());
    }
    assert!(waits.len() > 2 && waits.iter().all(|wait| *wait >= 1), "{waits:?}");
    let other = Page::open(&huidu, STREAM, &huidu.server);
    assert_eq!(other.head.status, 200);
    huidu.get(STREAM, ADMIN).refused(503, "too_many_streams");
    let ofrep = huidu.get("/ofrep/v1/sse", ADMIN);
    crate::decide::ofrep::ofrep_refused(&ofrep, 503, "GENERAL");
    of_key.pop();
    eventually("the place is free again", || Page::open(&huidu, STREAM, ADMIN).head.status == 200);
}

#[test]
fn streams_take_no_connection_that_decisions_need() {
    let settings = [("CONNECTIONS_MAX", "4"), ("WORKERS", "1"), ("STREAMS_MAX", "12")];
    let huidu = Huidu::start_with(&settings);
    let pages: Vec<Page> = (0..12).map(|_| Page::open(&huidu, STREAM, &huidu.client)).collect();
    assert!(pages.iter().all(|page| page.head.status == 200));
    let body = json!({"placement": "checkout", "user": {"id": "u-1"}});
    huidu.post("/v1/decisions", &huidu.client, &body).expect(200);
    kill(&huidu, "wechat-scan-pay");
    for page in &pages {
        assert_eq!(page.event(1).data["flags"], json!(["wechat-scan-pay"]));
    }
}

#[test]
fn a_change_of_another_process_is_told_too() {
    crate::postgres::block_on(async {
        let database = crate::postgres::Database::empty(crate::postgres::Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || two_processes(&url)).await.unwrap();
    });
}

fn two_processes(url: &str) {
    let first = Huidu::start_with(&[("DATABASE_URL", url)]);
    let second = Huidu::beside(&first);
    let page = Page::open(&second, STREAM, &first.client);
    let uri = ofrep::stream_uri(&second, &first.client);
    let client = Page::open(&second, &uri, "");
    assert_eq!(page.head.status, 200);
    client.event(0);
    let before = page.event(0).id;
    first.create_flag(&ramp("f", 100.0, 0.0));
    assert_eq!(
        page.event(1).data,
        json!({"environment": "production", "snapshot": before + 1, "flags": ["f"]})
    );
    assert_eq!(client.event(1).data["etag"], (before + 1).to_string());
    kill(&first, "f");
    assert_eq!(page.event(2).data["snapshot"], before + 2);
    assert_eq!(second.get(&format!("{FLAGS}/f"), ADMIN).expect(200).json()["state"], "killed");
    // A token that one made is good at the other, and dead at both with its key.
    assert_eq!(Page::open(&first, &uri, "").head.status, 200);
    let keys: Value = first.get("/v1/keys", ADMIN).expect(200).json();
    let key =
        keys["items"].as_array().unwrap().iter().find(|key| key["role"] == "client").unwrap()["id"].clone();
    first.call("DELETE", &format!("/v1/keys/{}", key.as_str().unwrap()), ADMIN, &[], b"").expect(204);
    page.until("the other's streams end", |page| page.has_ended());
    eventually("the token is dead", || second.get(&uri, "").status == 204);
}
