use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::engine::compile::StoredFlag;
use crate::engine::fixture::{audience, flag_json, snapshot, stored};
use crate::engine::flag::{AudienceKind, State};
use crate::engine::snapshot::{Audience, Snapshot};

/// A flag that is always open, with `fields` over it.
fn flag(number: i64, key: &str, fields: &Value) -> StoredFlag {
    let mut document = json!({"key": key, "rules": [{"id": "fixed", "serve": {"variant": "on"}}]});
    for (field, value) in fields.as_object().unwrap() {
        document[field] = value.clone();
    }
    StoredFlag { number, ..stored(&flag_json(&document)) }
}

fn killed(number: i64, key: &str) -> StoredFlag {
    StoredFlag { state: State::Killed, stage: None, ..flag(number, key, &json!({})) }
}

fn shop() -> Snapshot {
    let testers = audience("testers", AudienceKind::User, Some(&["u-1"]));
    let blocked = audience("blocked", AudienceKind::User, Some(&["u-2"]));
    let asks =
        json!({"rules": [{"id": "invited", "when": {"audience": "testers"}, "serve": {"variant": "on"}}]});
    let needs = |key: &str| json!({"prerequisites": [{"flag": key, "variants": ["on"]}]});
    let flags = vec![
        flag(1, "a", &json!({})),
        flag(2, "b", &asks),
        flag(3, "needs-a", &needs("a")),
        flag(4, "needs-needs-a", &needs("needs-a")),
        flag(5, "z", &json!({"expire_at": "2030-01-01T00:00:00Z"})),
    ];
    snapshot(vec![testers, blocked], flags)
}

/// What changed from one snapshot to another under the same settings.
fn changed(old: Option<&Snapshot>, new: &Snapshot) -> event::Changed {
    event::changed(&Swap { old, new, same_settings: true, at: 0 })
}

fn names(changed: &event::Changed) -> Vec<&str> {
    changed.flags.iter().map(|flag| &**flag).collect()
}

#[test]
fn exactly_what_may_decide_otherwise_is_named() {
    let before = shop();
    let check = |new: &Snapshot, flags: &[&str], shuts: bool| {
        let changed = changed(Some(&before), new);
        assert_eq!((names(&changed).as_slice(), changed.shuts), (flags, shuts));
    };
    check(&before.next(2, Vec::new(), vec![flag(2, "b", &json!({}))]), &["b"], false);
    check(&before.next(2, Vec::new(), vec![flag(6, "new", &json!({}))]), &["new"], false);
    // Whoever requires a changed flag decides otherwise too.
    check(&before.next(2, Vec::new(), vec![killed(1, "a")]), &["a", "needs-a", "needs-needs-a"], true);
    // Other ids of an audience change the flags that ask for it, and no others.
    let more = Audience { version: 2, ..audience("testers", AudienceKind::User, Some(&["u-1", "u-7"])) };
    check(&before.next(2, vec![more], Vec::new()), &["b"], false);
    let idle = Audience { version: 2, ..audience("blocked", AudienceKind::User, Some(&["u-9"])) };
    check(&before.next(2, vec![idle], Vec::new()), &[], false);
    // A flag's own end takes no number.
    let ended = before.expire(1_893_456_000_000).unwrap();
    assert_eq!(ended.number(), before.number());
    check(&ended, &["z"], true);
    // What was shut already is not shut by a change.
    let shut = before.next(2, Vec::new(), vec![killed(1, "a")]);
    let changed = changed(Some(&shut), &shut.next(3, Vec::new(), vec![killed(1, "a")]));
    assert!(!changed.shuts);
}

#[test]
fn an_audience_that_only_moves_tells_nobody() {
    let (feed, shop) = feed();
    let near = audience("testers", AudienceKind::User, Some(&["u-1"]));
    let away = Audience { ids: None, read_through: true, ..near.clone() };
    let lost = Audience { ids: None, ..near.clone() };
    let swap = |old: &Snapshot, audience: &Audience| {
        let new = old.next(old.number(), vec![audience.clone()], Vec::new());
        let changed = changed(Some(old), &new);
        feed.tell(&Swap { old: Some(old), new: &new, same_settings: true, at: 2_000 });
        (new, changed.nothing)
    };
    let before = feed.told.borrow().sequence;
    let (moved, nothing) = swap(&shop, &away);
    assert!(nothing);
    let (back, nothing) = swap(&moved, &near);
    assert!(nothing);
    assert_eq!(feed.told.borrow().sequence, before);
    let (_, nothing) = swap(&back, &lost);
    assert!(!nothing, "what cannot be read any more decides otherwise");
    assert_eq!(feed.told.borrow().sequence, before + 1);
}

#[test]
fn a_first_load_other_settings_and_very_many_changes_name_no_flag() {
    let (old, new) = (shop(), shop());
    assert_eq!(names(&changed(Some(&old), &new)).len(), 5);
    let new = old.next(2, Vec::new(), vec![killed(1, "a")]);
    let other = event::changed(&Swap { old: Some(&old), new: &new, same_settings: false, at: 0 });
    assert_eq!((names(&other).as_slice(), other.shuts), (&[][..], true));
    assert!(changed(None, &shop()).flags.is_empty());
    let many = |count: i64| {
        let flags = (0..count).map(|n| flag(n + 6, &format!("f-{n:03}"), &json!({}))).collect();
        let before = shop();
        let after = before.next(2, Vec::new(), flags);
        changed(Some(&before), &after).flags.len()
    };
    assert_eq!((many(100), many(101)), (100, 0));
}

/// A feed that has told of [`shop`] as number 1.
fn feed() -> (Arc<Feed>, Snapshot) {
    let feed = Feed::new("production", &Metrics::new().unwrap());
    let shop = shop();
    feed.tell(&Swap { old: None, new: &shop, same_settings: true, at: 1_000 });
    (feed, shop)
}

/// Tells of `snapshot` with `flags` as number `number`.
fn tell(feed: &Feed, snapshot: &mut Snapshot, number: i64, flags: Vec<StoredFlag>) {
    let next = snapshot.next(number, Vec::new(), flags);
    feed.tell(&Swap { old: Some(snapshot), new: &next, same_settings: true, at: 1_000 * number });
    *snapshot = next;
}

/// Number and flags of an event of `/v1/stream`.
fn told(bytes: &Bytes) -> (i64, Vec<String>) {
    let text = std::str::from_utf8(bytes).unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let number = data["snapshot"].as_i64().unwrap();
    assert!(text.starts_with(&format!("event: change\nid: {number}\n")) && text.ends_with("\n\n"), "{text}");
    assert_eq!(data["environment"], "production");
    let flags = data["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap().to_owned());
    (number, flags.collect())
}

/// The next news; fails if there are none.
async fn hear(listener: &mut Listener) -> (i64, Vec<String>) {
    let news = listener.news(Dialect::Change);
    told(&tokio::time::timeout(Duration::from_secs(20), news).await.expect("news"))
}

/// Whether nothing is to be heard now.
async fn is_quiet(listener: &mut Listener) -> bool {
    let mut news = Box::pin(listener.news(Dialect::Change));
    futures_util::FutureExt::now_or_never(&mut news).is_none()
}

#[tokio::test]
async fn a_listener_hears_each_change_once() {
    let (feed, mut shop) = feed();
    let mut listener = feed.listen();
    assert!(is_quiet(&mut listener).await);
    tell(&feed, &mut shop, 2, vec![flag(2, "b", &json!({}))]);
    assert_eq!(hear(&mut listener).await, (2, vec!["b".into()]));
    assert!(is_quiet(&mut listener).await);
    assert_eq!(feed.sent.get(), 1);
}

#[tokio::test]
async fn whoever_is_slow_hears_only_the_newest_and_that_all_may_have_changed() {
    let (feed, mut shop) = feed();
    let mut slow = feed.listen();
    for number in 2..1_000 {
        tell(&feed, &mut shop, number, vec![flag(2, "b", &json!({"description": number.to_string()}))]);
    }
    assert_eq!(hear(&mut slow).await, (999, vec![]));
    assert!(is_quiet(&mut slow).await, "nothing queued");
    assert_eq!(feed.recent().len(), RECENT_MAX);
}

#[tokio::test]
async fn what_shuts_is_heard_at_once_and_the_rest_in_turn() {
    let (feed, mut shop) = feed();
    // So many that the last of them would wait for longer than this test may take.
    let mut listeners: Vec<Listener> = (0..3_000).map(|_| feed.listen()).collect();
    tell(&feed, &mut shop, 2, vec![flag(2, "b", &json!({}))]);
    assert_eq!(feed.told.borrow().spread, SPREAD_MAX);
    let mut waiting = 0;
    for listener in &mut listeners {
        waiting += u32::from(is_quiet(listener).await);
    }
    assert!(waiting > 2_000, "{waiting} wait for their turn");
    tell(&feed, &mut shop, 3, vec![killed(1, "a")]);
    // A change that may wait does not make the kill before it wait.
    tell(&feed, &mut shop, 4, vec![flag(2, "b", &json!({"description": "again"}))]);
    let mut heard = 0;
    for listener in &mut listeners {
        let news = futures_util::FutureExt::now_or_never(Box::pin(listener.news(Dialect::Change)));
        heard += u32::from(news.is_some_and(|news| told(&news).0 == 4));
    }
    assert!(heard >= waiting, "{heard} of {waiting} heard of the kill without waiting");
}

#[tokio::test]
async fn turns_cover_the_line_evenly_and_few_listeners_do_not_wait() {
    let (feed, mut shop) = feed();
    let mut listeners: Vec<Listener> = (0..2_000).map(|_| feed.listen()).collect();
    for tenth in 0..10_u64 {
        let inside = |listener: &&Listener| (listener.place * 10) >> 32 == tenth;
        let count = listeners.iter().filter(inside).count();
        assert!((180..=220).contains(&count), "{count} in the tenth {tenth}");
    }
    listeners.truncate(20);
    tell(&feed, &mut shop, 2, vec![flag(2, "b", &json!({}))]);
    assert_eq!(feed.told.borrow().spread, Duration::from_millis(20));
    for listener in &mut listeners {
        assert_eq!(hear(listener).await.0, 2);
    }
    drop(listeners);
    assert_eq!(feed.open_gauge.get(), 0);
}

#[tokio::test]
async fn a_turn_that_was_given_up_stays() {
    let (feed, mut shop) = feed();
    let others: Vec<Listener> = (0..300).map(|_| feed.listen()).collect();
    let mut listener = feed.listen();
    tell(&feed, &mut shop, 2, vec![flag(2, "b", &json!({}))]);
    // As a heartbeat does, again and again: each time the wait is given up.
    let mut heard = None;
    for _ in 0..2_000 {
        let news = listener.news(Dialect::Change);
        if let Ok(bytes) = tokio::time::timeout(Duration::from_millis(5), news).await {
            heard = Some(told(&bytes));
            break;
        }
    }
    assert_eq!(heard, Some((2, vec!["b".into()])));
    drop(others);
}

#[test]
fn the_present_is_told_unless_it_is_known() {
    let (feed, mut shop) = feed();
    tell(&feed, &mut shop, 2, vec![flag(2, "b", &json!({}))]);
    let present = |known, now_ms| feed.listen().present(Dialect::Change, known, now_ms).as_ref().map(told);
    for known in [None, Some(1), Some(3)] {
        assert_eq!(present(known, 0), Some((2, vec![])), "{known:?}");
    }
    assert_eq!(present(Some(2), 0), None);
    // An end took no number: whoever comes back in the day after it may not know.
    let end = 1_893_456_000_000;
    let ended = shop.expire(end).unwrap();
    feed.tell(&Swap { old: Some(&shop), new: &ended, same_settings: true, at: end });
    assert_eq!(present(Some(2), end + 1), Some((2, vec![])));
    assert_eq!(present(Some(2), end + DAY_MS + 1), None);
}

#[tokio::test]
async fn pages_told_are_counted_for_each_number() {
    let (feed, mut shop) = feed();
    let (mut quick, mut slow) = (feed.listen(), feed.listen());
    tell(&feed, &mut shop, 2, vec![killed(1, "a")]);
    hear(&mut quick).await;
    tell(&feed, &mut shop, 3, vec![killed(2, "b")]);
    hear(&mut quick).await;
    hear(&mut slow).await;
    let mut late = feed.listen();
    drop(late.present(Dialect::Change, None, 0));
    let counted: Vec<_> =
        feed.recent().iter().map(|reached| (reached.number, reached.at, reached.pages())).collect();
    assert_eq!(counted, [(1, 1_000, 0), (2, 2_000, 2), (3, 3_000, 2)]);
}

#[tokio::test]
async fn who_waits_for_a_number_is_woken_by_it_or_a_later_one() {
    let (feed, mut shop) = feed();
    let reaching = tokio::spawn({
        let feed = feed.clone();
        async move { feed.reaches(3).await }
    });
    tell(&feed, &mut shop, 2, Vec::new());
    tokio::task::yield_now().await;
    assert!(!reaching.is_finished());
    tell(&feed, &mut shop, 5, Vec::new());
    tokio::time::timeout(Duration::from_secs(20), reaching).await.unwrap().unwrap();
}

#[test]
fn the_protocols_event_is_one() {
    let bytes = event::refetch(42, 1_795_541_005_343);
    assert_eq!(
        std::str::from_utf8(&bytes).unwrap(),
        "event: message\nid: 42\ndata: {\"etag\":\"42\",\"lastModified\":1795541005,\"type\":\"refetchEvaluation\"}\n\n"
    );
}
