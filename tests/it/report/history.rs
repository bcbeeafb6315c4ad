//! What is kept of hours: what makes it old, and what does not.

use std::sync::atomic::{AtomicU64, Ordering};

use huidu::clock::Clock;
use huidu::store::{HourHead, HourPart, NewHour, Piece};

use super::*;

/// A clock on which every look costs two seconds.
struct Hasty(i64, AtomicU64);

impl Clock for Hasty {
    fn now_ms(&self) -> i64 {
        self.0
    }

    fn monotonic_ns(&self) -> u64 {
        self.1.fetch_add(2_000_000_000, Ordering::SeqCst)
    }
}

async fn goal(bench: &Bench, about: &About) -> (u64, u64, u64) {
    let report = bench.report(about, Asked::default(), None).await;
    let on = row(&report["variants"], &[("arm", "treatment")]);
    let number = |name: &str| on[name].as_u64().unwrap();
    (number("exposed_users"), number("maturing_users"), number("converted_users"))
}

crate::postgres::on_both_engines! {
    async fn a_window_closes_ten_minutes_after_its_end_to_the_millisecond(db) {
        let at = DAY_ONE + 17 * MINUTE_MS + 123;
        let bench = Bench::new(&db, at + 6 * HOUR_MS + 10 * MINUTE_MS - 1);
        bench.arrive(vec![shown("ann", 1, "on", at)], vec![step("ann", "paid", "o-1", at + 6 * HOUR_MS - 1)], at).await;
        let about = about(&document(&json!({})));
        assert_eq!(goal(&bench, &about).await, (0, 1, 0));
        bench.clock.advance(1);
        assert_eq!(goal(&bench, &about).await, (1, 0, 1));
    }

    async fn what_comes_in_time_marks_nothing_and_what_comes_late_marks_its_hours(db) {
        let at = DAY_ONE + 5 * MINUTE_MS;
        let bench = Bench::new(&db, DAY_ONE + 20 * HOUR_MS);
        let about = about(&document(&json!({})));
        let in_time = at + 8 * MINUTE_MS;
        bench.arrive(vec![shown("ann", 1, "on", at)], vec![step("ann", "paid", "o-1", at), stop("ann", "clicked", 1, at)], in_time).await;
        assert_eq!(db.number("SELECT count(*) FROM report_marks").await, 0);
        assert_eq!(goal(&bench, &about).await, (1, 0, 1));

        // A millisecond too late to be sure that no hour was counted yet: only the hours of the unit are marked.
        bench.arrive(vec![shown("bob", 2, "on", at + 7 * HOUR_MS)], vec![], at + 7 * HOUR_MS).await;
        bench.arrive(vec![], vec![step("bob", "paid", "o-2", at + 7 * HOUR_MS)], at + 7 * HOUR_MS + 8 * MINUTE_MS + 1).await;
        assert_eq!(db.number("SELECT count(*) FROM report_marks").await, 1);
        assert_eq!(db.number("SELECT min(hour) FROM report_marks").await, (at + 7 * HOUR_MS) / HOUR_MS);
        assert_eq!(goal(&bench, &about).await, (2, 0, 2));
    }

    async fn an_exposure_that_moves_takes_its_hours_along(db) {
        let bench = Bench::new(&db, DAY_ONE + 30 * HOUR_MS);
        let about = about(&document(&json!({})));
        let at = DAY_ONE + 10 * HOUR_MS + 1;
        bench.arrive(vec![shown("ann", 1, "on", at), shown("ann", 2, "on", at + HOUR_MS)], vec![], at).await;
        let series = |report: &Value| -> Vec<(String, u64)> {
            let points = report["points"].as_array().unwrap().iter();
            points.map(|point| (point["from"].as_str().unwrap().to_owned(), point["variants"][0]["exposed_users"].as_u64().unwrap())).collect()
        };
        let hours = async || {
            let question = Question::Series { asked: Asked::default(), bucket: huidu::report::series::Bucket::Hour };
            series(&bench.reports.compute(about.clone(), question).await.unwrap())
        };
        let before = hours().await;
        assert_eq!(before.len(), 1);
        bench.arrive(vec![shown("ann", 1, "on", at - 4 * HOUR_MS)], vec![], DAY_ONE + 29 * HOUR_MS).await;
        let after = hours().await;
        assert_eq!(after.iter().map(|(_, users)| users).sum::<u64>(), 1, "nobody is counted twice: {after:?}");
        assert!(after[0].0 < before[0].0, "{after:?} lies before {before:?}");
    }

    async fn another_document_is_counted_anew(db) {
        let bench = Bench::new(&db, DAY_ONE + 30 * HOUR_MS);
        bench.arrive(vec![shown("ann", 1, "on", DAY_ONE)], vec![step("ann", "paid", "o-1", DAY_ONE + 9 * HOUR_MS)], DAY_ONE + 9 * HOUR_MS).await;
        assert_eq!(goal(&bench, &about(&document(&json!({})))).await, (1, 0, 0));
        assert_eq!(goal(&bench, &about(&document(&json!({"attribution_hours": 12})))).await, (1, 0, 1));
        assert_eq!(goal(&bench, &about(&document(&json!({"attribution_hours": 48})))).await, (0, 1, 0));
        assert_eq!(goal(&bench, &about(&document(&json!({})))).await, (1, 0, 0));
    }

    async fn a_counting_that_began_earlier_never_replaces_a_newer_one(db) {
        let keep = async |form: i64, level: i64, seen: i64, cells: &[u8]| {
            let head = HourHead { hour: 7, form, level, seen };
            let parts = [(HourPart::Cells, cells.to_vec())];
            db.keep_hour(NewHour { environment: 1, flag: 1, head, parts: &parts }).await.unwrap();
            let mut reads = db.report_reads().await.unwrap();
            let kept = reads.hours((1, 1), (7, 7), Piece::Hour, HourPart::Cells).await.unwrap();
            kept[0].bytes.clone()
        };
        assert_eq!(keep(1, 1, 2, b"a").await, b"a");
        assert_eq!(keep(1, 1, 1, b"b").await, b"a", "it had seen less");
        assert_eq!(keep(1, 0, 2, b"c").await, b"a", "fewer windows had closed");
        assert_eq!(keep(1, 1, 2, b"d").await, b"d");
        assert_eq!(keep(1, 2, 2, b"e").await, b"e");
        assert_eq!(keep(9, 0, 0, b"f").await, b"f", "something else is counted now");
    }

    async fn who_comes_first_is_asked_to_come_again_rather_than_told_a_part(db) {
        let exposures = (0..30).map(|hour| shown(&format!("u-{hour}"), 1, "on", DAY_ONE + hour * HOUR_MS)).collect();
        let bench = Bench::new(&db, 0);
        bench.arrive(exposures, vec![], DAY_ONE).await;
        let now = DAY_ONE + 60 * HOUR_MS;
        let hasty = Arc::new(Hasty(now, AtomicU64::new(0)));
        let reports = Reports::new(db.store.clone(), hasty, Metrics::new().unwrap());
        let about = about(&document(&json!({})));
        let question = || Question::Report { asked: Asked::default(), by: None, cap: None };
        let mut waits = 0;
        let report = loop {
            match reports.compute(about.clone(), question()).await {
                Ok(report) => break report,
                Err(ReportError::Preparing { done, total }) => {
                    assert!(done < total, "{done} of {total}");
                    waits += 1;
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert!((1..10).contains(&waits), "each call goes on where the last ended: {waits}");
        assert_eq!(row(&report["variants"], &[("arm", "treatment")])["exposed_users"], 30);

        // What is only old is told as it was, and the answer says so.
        let late: Vec<_> = (0..30).map(|hour| step(&format!("u-{hour}"), "paid", "o", DAY_ONE + hour * HOUR_MS)).collect();
        bench.arrive(vec![], late, now).await;
        let report = reports.compute(about.clone(), question()).await.unwrap();
        let on = row(&report["variants"], &[("arm", "treatment")]);
        assert_eq!(on["exposed_users"], 30);
        assert!(on["converted_users"].as_u64().unwrap() < 30);
        let note = row(&report["notes"], &[("code", "hours_waiting")]);
        assert!(note["detail"].as_str().unwrap().starts_with(|digit: char| digit.is_ascii_digit()), "{note}");
    }
}
