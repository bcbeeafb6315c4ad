//! Steps of SQLite: stored in the order of their coming, found by unit once they have their places.

use std::time::Duration;

use huidu::store::{
    EventBatch, ExposureRow, ReportSpan, StepOutcome, StepRow, Store, StoreError, StoredUnit, open,
};

use crate::postgres::{Database, Engine, creating, run};

const WAITING: &str = "SELECT count(*) FROM steps AS s WHERE NOT EXISTS (
    SELECT 1 FROM step_places AS p WHERE p.number = s.number AND p.environment = s.environment AND p.unit = s.unit
       AND p.unit_attribute = s.unit_attribute AND p.step = s.step AND p.id = s.id)";
const EMPTY_PLACES: &str = "SELECT count(*) FROM step_places AS p WHERE NOT EXISTS (SELECT 1 FROM steps AS s WHERE s.number = p.number)";
const MARK: &str = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'steps_placed'";

fn step(unit: &str, id: &str, at: i64) -> StepRow {
    StepRow {
        environment: 1,
        unit: unit.into(),
        unit_attribute: "user.id".into(),
        step: "order_paid".into(),
        id: id.into(),
        flag: None,
        stage: None,
        rule: None,
        resolve: false,
        value: Some(45_900),
        currency: Some("CNY".into()),
        order_id: None,
        at,
        attributes: None,
    }
}

/// Steps of 100 units, numbered from `first` on.
fn steps(first: i64, count: i64) -> Vec<StepRow> {
    (first..first + count).map(|n| step(&format!("u-{}", n % 100), &format!("e-{n}"), 100)).collect()
}

fn shown(n: i64) -> ExposureRow {
    ExposureRow {
        environment: 1,
        unit: format!("u-{n}"),
        flag: 1,
        stage: 1,
        rule: "ramp".into(),
        unit_attribute: "user.id".into(),
        arm: 1,
        variant: "on".into(),
        bucket: Some(n),
        at: 10,
        captured: None,
    }
}

fn unit(unit: &str) -> StoredUnit<'_> {
    StoredUnit { environment: 1, attribute: "user.id", unit }
}

/// How many of `steps` were new.
async fn send(store: &Store, steps: Vec<StepRow>) -> usize {
    let outcome = store.append_events(&EventBatch { exposures: vec![], steps }, 50).await.unwrap();
    outcome.steps.iter().filter(|step| **step != StepOutcome::Duplicate).count()
}

async fn ids_of(store: &Store, of: &str) -> Vec<String> {
    let found = store.steps_of(unit(of), ("", ""), 1_000).await.unwrap();
    found.into_iter().map(|row| row.id).collect()
}

fn on_sqlite<F: Future<Output = ()>>(test: impl FnOnce(Database) -> F) {
    run(Engine::Sqlite, test);
}

#[test]
fn a_step_is_known_before_and_after_it_has_its_place() {
    on_sqlite(async |db| {
        assert_eq!(send(&db, steps(0, 300)).await, 300);
        db.place_waiting_steps().await.unwrap();
        assert_eq!(db.number(WAITING).await, 300, "few, and not for long");
        assert_eq!(send(&db, steps(200, 200)).await, 100);
        assert_eq!(ids_of(&db, "u-7").await, ["e-107", "e-207", "e-307", "e-7"]);
        assert_eq!((db.number(WAITING).await, db.number(MARK).await), (0, 400));
        assert_eq!(send(&db, steps(300, 200)).await, 100);
        assert_eq!(db.number(WAITING).await, 100);
        assert_eq!(db.counts(1).await.unwrap().steps, 500);
    });
}

#[test]
fn a_late_step_has_its_place_at_once() {
    on_sqlite(async |db| {
        let late = vec![step("u-1", "early", 49), step("u-1", "late", 50)];
        assert_eq!(send(&db, late).await, 2);
        assert_eq!(db.number(WAITING).await, 1);
        let only = "SELECT count(*) FROM step_places WHERE id = 'early'";
        assert_eq!((db.number(only).await, db.number("SELECT count(*) FROM step_places").await), (1, 1));
        assert_eq!(send(&db, vec![step("u-1", "early", 60)]).await, 0, "whenever it is sent again");
        db.place_steps().await.unwrap();
        assert_eq!(send(&db, vec![step("u-1", "earlier", 1)]).await, 1);
        db.place_steps().await.unwrap();
        assert_eq!(db.number(MARK).await, 3, "a start does not read it again");
    });
}

#[test]
fn what_a_crash_left_is_placed_before_more_is_stored() {
    on_sqlite(async |db| {
        assert_eq!(send(&db, steps(0, 3_000)).await, 3_000);
        let after = open(&db.url, &creating()).await.unwrap();
        assert_eq!(send(&after, steps(2_990, 20)).await, 10);
        assert_eq!((db.number(WAITING).await, db.number(MARK).await), (10, 3_000));
        let third = open(&db.url, &creating()).await.unwrap();
        assert_eq!(ids_of(&third, "u-5").await.len(), 31);
        assert_eq!(db.number(WAITING).await, 0);
    });
}

#[test]
fn processes_on_one_file_know_each_others_steps() {
    on_sqlite(async |db| {
        let other = open(&db.url, &creating()).await.unwrap();
        for first in [0, 20, 40] {
            assert_eq!(send(&db, steps(first, 10)).await, 10);
            assert_eq!(send(&other, steps(first, 20)).await, 10);
            assert_eq!(send(&db, steps(first, 20)).await, 0);
        }
        other.place_steps().await.unwrap();
        assert_eq!((db.number(WAITING).await, db.number(MARK).await), (0, 60));
        db.place_steps().await.unwrap();
        assert_eq!(
            (db.number(EMPTY_PLACES).await, db.number("SELECT count(*) FROM step_places").await),
            (0, 60)
        );
    });
}

/// The place of a step that is not stored: whoever looks the step up takes it for a duplicate.
const EMPTY_PLACE: &str = "INSERT INTO step_places (environment, unit, unit_attribute, step, id, number)
    SELECT 1, 'u-1', 'user.id', 'order_paid', $1, 0";

#[test]
fn only_steps_that_may_be_stored_are_looked_up_once_all_are_known() {
    on_sqlite(async |db| {
        assert_eq!(send(&db, steps(0, 25_000)).await, 25_000);
        db.place_steps().await.unwrap();
        for id in ["x", "y", "z"] {
            db.execute(&EMPTY_PLACE.replace("$1", &format!("'{id}'"))).await;
        }
        assert_eq!(send(&db, vec![step("u-1", "x", 100)]).await, 1, "it stored all of them itself");
        let after = open(&db.url, &creating()).await.unwrap();
        assert!(!after.know_steps().await.unwrap(), "nobody asked for steps yet");
        assert_eq!(send(&after, vec![step("u-1", "y", 100)]).await, 0, "it has to be looked up");
        let mut pieces = 1;
        while after.know_steps().await.unwrap() {
            assert_eq!(send(&after, vec![step("u-1", "y", 100)]).await, 0);
            pieces += 1;
        }
        assert_eq!(pieces, 3);
        assert_eq!(send(&after, vec![step("u-1", "z", 100)]).await, 1);
        assert_eq!(send(&db, steps(25_000, 10)).await, 10);
        assert_eq!(send(&after, steps(0, 25_020)).await, 10, "of itself, of before, and of others");
    });
}

#[test]
fn many_are_placed_while_others_come() {
    on_sqlite(async |db| {
        for first in 0..10 {
            assert_eq!(send(&db, steps(first * 5_000, 5_000)).await, 5_000);
        }
        let placing = async { db.place_waiting_steps().await.unwrap() };
        let sending = async {
            for part in 0..25 {
                // Some of those that are on their way, and new ones.
                let known = steps(part * 2_000, 100);
                assert_eq!(send(&db, [known, steps(50_000 + part * 100, 100)].concat()).await, 100, "{part}");
            }
        };
        tokio::join!(placing, sending);
        assert!(db.number(MARK).await >= 50_000);
        assert!(db.number(WAITING).await <= 2_500);
        assert_eq!(ids_of(&db, "u-0").await.len(), 525);
        assert_eq!(db.counts(1).await.unwrap().steps, 52_500);
    });
}

#[test]
fn whoever_goes_away_while_placing_leaves_nothing_undone() {
    on_sqlite(async |db| {
        assert_eq!(send(&db, steps(0, 8_000)).await, 8_000);
        for wait_us in [0, 100, 1_000, 5_000, 20_000, 60_000] {
            drop(tokio::time::timeout(Duration::from_micros(wait_us), db.place_steps()).await);
            assert_eq!(send(&db, steps(0, 8_000)).await, 0, "after {wait_us} us");
        }
        // Placed already, and erased while others still wait: it must not come back.
        db.place_steps().await.unwrap();
        assert_eq!(send(&db, steps(8_000, 8_000)).await, 8_000);
        drop(tokio::time::timeout(Duration::from_millis(15), db.place_steps()).await);
        let mut tx = db.begin_write().await.unwrap();
        let erased = tx.erase_steps(unit("u-0"), 1_000).await.unwrap();
        tx.commit().await.unwrap();
        assert!(erased >= 80, "{erased}");
        db.place_steps().await.unwrap();
        assert_eq!((db.number(WAITING).await, db.number(EMPTY_PLACES).await), (0, 0));
        assert_eq!(db.number(MARK).await, 16_000);
    });
}

#[test]
fn after_a_failure_what_is_stored_is_found_out() {
    on_sqlite(async |db| {
        let mut options = creating();
        options.deadlines.write = Duration::from_millis(300);
        let hurried = open(&db.url, &options).await.unwrap();
        assert_eq!(send(&hurried, steps(0, 10)).await, 10);
        let environment = super::environment(&db, "production").await;
        let holder = db.change(environment).await.unwrap();
        let batch = EventBatch { exposures: vec![], steps: steps(5, 10) };
        let refused = hurried.append_events(&batch, 50).await;
        assert!(matches!(refused, Err(StoreError::Timeout { .. })), "{refused:?}");
        drop(holder);
        let mut outcome = hurried.append_events(&batch, 50).await;
        for _ in 0..60 {
            if outcome.is_ok() {
                break;
            }
            outcome = hurried.append_events(&batch, 50).await;
        }
        let new = outcome.unwrap().steps.iter().filter(|step| **step != StepOutcome::Duplicate).count();
        assert_eq!((new, db.counts(1).await.unwrap().steps), (5, 15));
    });
}

#[test]
fn a_report_of_now_finds_by_unit_what_it_finds_by_time() {
    on_sqlite(async |db| {
        let exposures = (0..100).map(shown).collect();
        db.append_events(&EventBatch { exposures, steps: vec![] }, 0).await.unwrap();
        let stops =
            |first| steps(first, 50).into_iter().map(|row| StepRow { flag: Some(1), ..row }).collect();
        let sending = async {
            for part in 0..60 {
                assert_eq!(send(&db, stops(part * 50)).await, 50);
            }
        };
        let span = ReportSpan { environment: 1, flag: 1, from_ms: 0, to_ms: 60_000 };
        let mut seen = std::collections::BTreeSet::new();
        let reading = async {
            for _ in 0..30 {
                let mut reads = db.report_now().await.unwrap();
                let minutes = reads.filled(span).await.unwrap();
                let by_time: i64 =
                    minutes.iter().filter(|minute| minute.is_stop == 1).map(|minute| minute.rows).sum();
                let by_unit = reads.steps(span, 60_000, "[]").await.unwrap().len();
                assert_eq!(i64::try_from(by_unit).unwrap(), by_time);
                seen.insert(by_unit);
            }
        };
        tokio::join!(sending, reading);
        assert!(seen.len() > 3, "while they come: {seen:?}");
    });
}

#[test]
fn what_is_deleted_leaves_its_place() {
    on_sqlite(async |db| {
        assert_eq!(send(&db, steps(0, 1_000)).await, 1_000);
        db.place_steps().await.unwrap();
        let mut tx = db.begin_write().await.unwrap();
        assert_eq!(tx.erase_steps(unit("u-3"), 4).await.unwrap(), 4);
        tx.commit().await.unwrap();
        let places = "SELECT count(*) FROM step_places";
        assert_eq!((db.number(EMPTY_PLACES).await, db.number(places).await), (0, 996));
        assert_eq!(send(&db, steps(3, 1)).await, 1, "erased, and sent again");
        assert_eq!(ids_of(&db, "u-3").await.len(), 7);
    });
}

#[test]
fn steps_of_an_earlier_release_come_along() {
    on_sqlite(async |db| {
        let first = include_str!("../../../migrations/sqlite/0001_initial.sql");
        let table = first.split(';').find(|statement| statement.contains("CREATE TABLE steps (")).unwrap();
        for sql in [
            "DROP VIEW unit_steps",
            "DROP TABLE steps",
            "DROP TABLE step_places",
            "DELETE FROM meta WHERE key = 'steps_placed'",
            table,
            include_str!("../../../migrations/sqlite/0010_steps_by_time.sql"),
            "INSERT INTO steps VALUES (1, 'ann', 'user.id', 'paid', 'b', 7, 2, 'ramp', 5, 'CNY', 'o-1', 30, '{}'),
                 (1, 'ann', 'user.id', 'paid', 'a', NULL, NULL, NULL, NULL, NULL, NULL, 40, NULL),
                 (2, 'ann', 'user.id', 'paid', 'a', NULL, NULL, NULL, NULL, NULL, NULL, 20, NULL)",
            include_str!("../../../migrations/sqlite/0013_steps_in_order.sql"),
        ] {
            db.execute(sql).await;
        }
        assert_eq!((db.number(WAITING).await, db.number(MARK).await), (0, 3));
        assert_eq!(db.number("SELECT at FROM steps ORDER BY number LIMIT 1").await, 20, "in order of time");
        let found = db.steps_of(unit("ann"), ("", ""), 10).await.unwrap();
        assert_eq!(
            found.iter().map(|row| (row.id.as_str(), row.at)).collect::<Vec<_>>(),
            [("a", 40), ("b", 30)]
        );
        let whole = (found[1].flag, found[1].stage, found[1].rule.as_deref(), found[1].value);
        assert_eq!(whole, (Some(7), Some(2), Some("ramp"), Some(5)));
        let rest =
            (found[1].currency.as_deref(), found[1].order_id.as_deref(), found[1].attributes.as_deref());
        assert_eq!(rest, (Some("CNY"), Some("o-1"), Some("{}")));
        let again = StepRow { step: "paid".into(), ..step("ann", "b", 100) };
        assert_eq!(send(&db, vec![again, step("ann", "b", 100)]).await, 1, "another step of the same id");
    });
}
