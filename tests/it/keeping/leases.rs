//! One holder at a time (P10): what slept too long writes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use huidu::clock::{Clock as _, MachineClock, rfc3339};
use huidu::jobs::lease::Leases;
use huidu::random::{SharedRandom, SystemRandom};
use huidu::store::StoreError;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{audited, shared_database, snapshot, texts};
use crate::fixture::*;
use crate::postgres::{Database, block_on, on_both_engines};

const LONG: Duration = Duration::from_secs(3_600);

/// Ends a lease as time would.
async fn pass(db: &Database) {
    db.execute("UPDATE leases SET expires_at = 1").await;
}

on_both_engines! {
    async fn a_lease_has_one_holder_and_its_token_only_grows(db) {
        assert_eq!(db.lease("work").await.unwrap(), None);
        let first = db.take_lease("work", "ann", LONG).await.unwrap().unwrap();
        assert_eq!((first.token, first.holder.as_str()), (1, "ann"));
        for holder in ["bob", "ann"] {
            assert_eq!(db.take_lease("work", holder, LONG).await.unwrap(), None, "{holder}");
        }
        assert_eq!(db.take_lease("other", "bob", LONG).await.unwrap().unwrap().token, 1);
        db.renew_lease(&first, LONG).await.unwrap();
        db.give_back_lease(&first).await.unwrap();
        let second = db.take_lease("work", "bob", LONG).await.unwrap().unwrap();
        assert_eq!(second.token, 2);
        // Whoever lost it can neither renew it nor give it back for the other.
        assert_eq!(db.renew_lease(&first, LONG).await, Err(StoreError::LeaseLost));
        db.give_back_lease(&first).await.unwrap();
        db.renew_lease(&second, LONG).await.unwrap();
        pass(&db).await;
        assert_eq!(db.renew_lease(&second, LONG).await, Err(StoreError::LeaseLost), "an ended one is taken anew");
        assert_eq!(db.take_lease("work", "bob", LONG).await.unwrap().unwrap().token, 3);
    }

    async fn a_lease_lasts_by_the_databases_clock(db) {
        let lasts = Duration::from_secs(100);
        db.take_lease("work", "ann", lasts).await.unwrap().unwrap();
        let row = db.lease("work").await.unwrap().unwrap();
        let left = row.expires_at - row.now;
        assert!((1..=100_000).contains(&left), "{left}");
        assert!((row.now - MachineClock.now_ms()).abs() < 60_000, "milliseconds since 1970: {}", row.now);
        assert_eq!(row.done_at, 0);
    }

    async fn what_is_written_under_a_lost_lease_is_not_written(db) {
        let environment = crate::store::environment(&db, "production").await;
        let ann = db.take_lease("work", "ann", LONG).await.unwrap().unwrap();
        let mut held = db.change(environment).await.unwrap();
        held.hold(&ann).await.unwrap();
        held.commit_change("{}", 1).await.unwrap();
        pass(&db).await;
        let mut slept = db.begin_write().await.unwrap();
        assert_eq!(slept.hold(&ann).await, Err(StoreError::LeaseLost), "it ended, though nobody took it yet");
        drop(slept);
        let bob = db.take_lease("work", "bob", LONG).await.unwrap().unwrap();
        let mut slept = db.change(environment).await.unwrap();
        assert_eq!(slept.hold(&ann).await, Err(StoreError::LeaseLost));
        assert_eq!(slept.mark_done(&ann).await, Err(StoreError::LeaseLost));
        drop(slept);
        let mut next = db.change(environment).await.unwrap();
        next.mark_done(&bob).await.unwrap();
        next.commit_change("{}", 2).await.unwrap();
        assert_eq!(db.counts(environment).await.unwrap().changes, 2);
        let row = db.lease("work").await.unwrap().unwrap();
        assert!(row.done_at > 1_000_000_000_000 && row.done_at <= row.now, "{row:?}");
    }

    async fn a_held_lease_cannot_be_taken_before_its_transaction_ends(db) {
        let ann = db.take_lease("work", "ann", Duration::from_secs(1)).await.unwrap().unwrap();
        let mut held = db.begin_write().await.unwrap();
        held.hold(&ann).await.unwrap();
        let taken = {
            let store = db.store.clone();
            tokio::spawn(async move {
                // Asks until the lease has ended; the row stays locked all the while.
                loop {
                    if let Some(lease) = store.take_lease("work", "bob", LONG).await.unwrap() {
                        return lease;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        };
        loop {
            let row = db.lease("work").await.unwrap().unwrap();
            assert_eq!((row.holder.as_str(), row.token), ("ann", 1));
            if row.now > row.expires_at + 300 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!taken.is_finished());
        held.commit().await.unwrap();
        assert_eq!(taken.await.unwrap().token, 2);
    }

    async fn many_ask_and_one_gets_it(db) {
        let asked = (0..8).map(|n| {
            let store = db.store.clone();
            tokio::spawn(async move { store.take_lease("work", &n.to_string(), LONG).await.unwrap() })
        });
        let asked: Vec<_> = asked.collect();
        let mut holders = 0;
        for task in asked {
            holders += usize::from(task.await.unwrap().is_some());
        }
        assert_eq!(holders, 1);
    }

    async fn work_runs_under_a_lease_and_is_dropped_when_that_is_lost(db) {
        let random: SharedRandom = Arc::new(SystemRandom);
        let ann = Leases::new(db.store.clone(), &random).unwrap();
        let bob = Leases::new(db.store.clone(), &random).unwrap();
        let inner = bob.clone();
        let done = ann.under("work", |lease| async move {
            assert_eq!(inner.under("work", |_| async {}).await.unwrap(), None, "one at a time");
            lease.token
        });
        assert_eq!(done.await.unwrap(), Some(1));
        assert_eq!(bob.under("work", |lease| async move { lease.token }).await.unwrap(), Some(2));
        let lost = ann.under("work", |_| async {
            pass(&db).await;
            std::future::pending::<()>().await;
        });
        assert_eq!(lost.await.unwrap(), None);
        assert_eq!(bob.under("work", |lease| async move { lease.token }).await.unwrap(), Some(4));
    }
}

/// The process that holds the expiry's lease now.
fn holder(url: &str) -> Option<u32> {
    let found = texts(
        url,
        "SELECT holder FROM leases WHERE name = 'expiry'
         AND expires_at > CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
    );
    found.first().map(|holder| holder.split('-').next().unwrap().parse().unwrap())
}

#[test]
fn a_holder_that_is_frozen_at_work_is_followed_and_writes_nothing_when_it_wakes() {
    let url = shared_database();
    let first = Huidu::start_with(&[("DATABASE_URL", &url)]);
    let second = Huidu::beside(&first);
    let mut flag = ramp("f", 100.0, 0.0);
    flag["expire_at"] = json!(rfc3339(MachineClock.now_ms() + 2_500));
    first.create_flag(&flag);
    eventually("both know the flag", || snapshot(&first) == snapshot(&second));
    let before = snapshot(&first);

    // While the environment is locked, whoever closes the stage stands in the middle of its transaction.
    let mut frozen = 0;
    block_on(async {
        let mut lock = PgConnection::connect(&url).await.unwrap();
        lock.execute("BEGIN").await.unwrap();
        lock.execute("SELECT number FROM environments WHERE key = 'production' FOR UPDATE").await.unwrap();
        let url = url.clone();
        frozen = tokio::task::spawn_blocking(move || {
            let mut found = None;
            eventually("one takes the lease", || {
                found = holder(&url);
                found.is_some()
            });
            let found = found.unwrap();
            signal(found, "STOP");
            found
        })
        .await
        .unwrap();
        lock.execute("ROLLBACK").await.unwrap();
    });
    let began = Instant::now();
    let (asleep, awake) = if first.pid() == frozen { (&first, &second) } else { (&second, &first) };
    assert_eq!(asleep.pid(), frozen);
    let patience = Duration::from_secs(40);
    while audited(awake, "expire").is_empty() {
        assert!(began.elapsed() < patience, "nobody followed");
        std::thread::sleep(Duration::from_millis(50));
    }
    signal(frozen, "CONT");
    eventually("the woken one hears of it", || snapshot(asleep) == before + 1);
    // Whatever it was about to write, it has had its chance once another end is written down.
    let mut next = ramp("g", 100.0, 0.0);
    next["expire_at"] = json!(rfc3339(MachineClock.now_ms() + 500));
    asleep.create_flag(&next);
    eventually("the next end", || audited(asleep, "expire").len() == 2);
    let rows = audited(awake, "expire");
    assert_eq!(rows.iter().filter(|row| row["subject"] == "f").count(), 1, "{rows:?}");
    let tokens = texts(&url, "SELECT CAST(token AS TEXT) FROM leases WHERE name = 'expiry'");
    assert!(tokens[0].parse::<i64>().unwrap() >= 3, "{tokens:?}");
}
