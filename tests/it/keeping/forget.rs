//! Deleting in the store: in pieces, with counts that stay true.

use huidu::store::{
    EventBatch, EventTable, ExposedUsersRow, ExposureRow, NewAudit, StepRow, Store, StoreError, StoredUnit,
};

use crate::postgres::{Database, on_both_engines};

fn shown(unit: &str, flag: i64, stage: i64, variant: &str, at: i64) -> ExposureRow {
    ExposureRow {
        environment: 1,
        unit: unit.into(),
        flag,
        stage,
        rule: "ramp".into(),
        unit_attribute: "user.id".into(),
        arm: i64::from(variant == "on"),
        variant: variant.into(),
        bucket: Some(7),
        at,
        captured: None,
    }
}

fn step(unit: &str, id: &str, at: i64) -> StepRow {
    StepRow {
        environment: 1,
        unit: unit.into(),
        unit_attribute: "user.id".into(),
        step: "paid".into(),
        id: id.into(),
        flag: None,
        stage: None,
        rule: None,
        resolve: false,
        value: Some(5),
        currency: Some("CNY".into()),
        order_id: None,
        at,
        attributes: None,
    }
}

const ANN: StoredUnit<'static> = StoredUnit { environment: 1, attribute: "user.id", unit: "ann" };

/// The counts of exposed users that are not zero.
async fn exposed(db: &Store) -> Vec<ExposedUsersRow> {
    let mut rows = db.exposed_users(1).await.unwrap();
    rows.retain(|row| row.users != 0);
    rows
}

/// Deletes at most `limit` old rows of a table everywhere, span by span; how many.
async fn delete_old(db: &Database, table: EventTable, before_ms: i64, limit: i64, rows: i64) -> u64 {
    let (mut after, mut sum) = (String::new(), 0);
    while let Some(span) = db.unit_span(table, 1, &after, rows, before_ms).await.unwrap() {
        // A span without old rows costs no transaction.
        let mut more = span.has_old;
        while more {
            let mut tx = db.begin_write().await.unwrap();
            let deleted = tx.delete_old_events(table, &span, before_ms, limit).await.unwrap();
            tx.commit().await.unwrap();
            assert!(i64::try_from(deleted).unwrap() <= limit);
            sum += deleted;
            more = deleted > 0;
        }
        assert!(span.last > after, "spans go forward");
        after = span.last;
    }
    sum
}

async fn audit_row(db: &Store, environment: i64, at: i64) {
    let mut tx = db.begin_write().await.unwrap();
    if environment > 0 {
        tx.lock_environment(environment).await.unwrap();
    }
    let row = NewAudit {
        at,
        actor: "ann",
        action: "create",
        subject_kind: "flag",
        subject: "f",
        reason: None,
        request_id: None,
        detail: "{}",
    };
    tx.audit(row).await.unwrap();
    tx.commit().await.unwrap();
}

on_both_engines! {
    async fn a_unit_is_erased_in_pieces_and_the_counts_follow(db) {
        let mut other = shown("ann", 9, 1, "on", 10);
        other.unit_attribute = "user.device".into();
        let exposures = vec![
            shown("ann", 1, 1, "on", 10), shown("ann", 1, 2, "on", 20), shown("ann", 1, 3, "off", 30),
            shown("ann", 2, 1, "on", 40), shown("bob", 1, 1, "on", 10), shown("anna", 1, 1, "on", 10), other,
        ];
        let mut foreign = shown("ann", 1, 1, "on", 10);
        foreign.environment = 2;
        let steps = (0..5).map(|n| step("ann", &n.to_string(), n)).chain([step("bob", "0", 1)]).collect();
        db.append_events(&EventBatch { exposures: [exposures, vec![foreign]].concat(), steps }, i64::MIN).await.unwrap();
        let mut counts = Vec::new();
        loop {
            let mut tx = db.begin_write().await.unwrap();
            let deleted = tx.erase_exposures(ANN, 2).await.unwrap();
            tx.commit().await.unwrap();
            counts.push(deleted);
            assert_eq!(exposed(&db).await, db.recount_exposed_users(1).await.unwrap(), "after each piece");
            if deleted == 0 {
                break;
            }
        }
        assert_eq!(counts, [2, 2, 0]);
        db.place_steps().await.unwrap();
        let mut tx = db.begin_write().await.unwrap();
        assert_eq!(tx.erase_steps(ANN, 3).await.unwrap(), 3);
        assert_eq!(tx.erase_steps(ANN, 3).await.unwrap(), 2);
        assert_eq!(tx.erase_steps(ANN, 3).await.unwrap(), 0);
        tx.commit().await.unwrap();
        let left = db.counts(1).await.unwrap();
        assert_eq!((left.exposures, left.steps), (3, 1), "bob, anna and the device are left");
        assert_eq!(db.counts(2).await.unwrap().exposures, 1, "another environment is left alone");
        assert!(db.exposures_of(ANN, (i64::MIN, 0, ""), 10).await.unwrap().is_empty());
        assert!(db.steps_of(ANN, ("", ""), 10).await.unwrap().is_empty());
        let zero = db.exposed_users(1).await.unwrap().into_iter().find(|row| row.flag == 2).unwrap();
        assert_eq!(zero.users, 0, "gauges must hear that it fell");
    }

    async fn a_unit_is_read_page_by_page_without_a_gap(db) {
        let exposures = (0..7).map(|n| shown("ann", 1 + n % 2, n, "on", n)).collect();
        let steps = (0..25).map(|n| step("ann", &format!("{n}"), n)).collect();
        db.append_events(&EventBatch { exposures, steps }, i64::MIN).await.unwrap();
        let (mut seen, mut after) = (Vec::new(), (i64::MIN, 0, String::new()));
        loop {
            let page = db.exposures_of(ANN, (after.0, after.1, &after.2), 3).await.unwrap();
            let Some(last) = page.last() else { break };
            after = (last.flag, last.stage, last.rule.clone());
            seen.extend(page.into_iter().map(|row| (row.flag, row.stage)));
        }
        assert_eq!(seen, [(1, 0), (1, 2), (1, 4), (1, 6), (2, 1), (2, 3), (2, 5)]);
        let (mut ids, mut after) = (std::collections::BTreeSet::new(), (String::new(), String::new()));
        loop {
            let page = db.steps_of(ANN, (&after.0, &after.1), 10).await.unwrap();
            let Some(last) = page.last() else { break };
            after = (last.step.clone(), last.id.clone());
            ids.extend(page.into_iter().map(|row| row.id));
        }
        assert_eq!(ids.len(), 25);
    }

    async fn old_events_go_and_young_ones_stay_whatever_the_pieces(db) {
        for (limit, rows) in [(1, 1), (2, 3), (1_000, 1), (3, 1_000)] {
            let exposures: Vec<_> = (0..40_i64).map(|n| {
                let variant = if n % 3 == 0 { "off" } else { "on" };
                shown(&format!("u-{}", n % 13), 1 + n % 2, n, variant, n)
            }).collect();
            let steps: Vec<_> = (0..40_i64).map(|n| step(&format!("u-{}", n % 7), &n.to_string(), n)).collect();
            db.append_events(&EventBatch { exposures, steps }, i64::MIN).await.unwrap();
            assert_eq!(delete_old(&db, EventTable::Exposures, 25, limit, rows).await, 25, "{limit} {rows}");
            assert_eq!(delete_old(&db, EventTable::Steps, 30, limit, rows).await, 30, "{limit} {rows}");
            assert_eq!(db.number("SELECT MIN(at) FROM exposures").await, 25);
            assert_eq!(db.number("SELECT MIN(at) FROM steps").await, 30);
            let left = db.counts(1).await.unwrap();
            assert_eq!((left.exposures, left.steps), (15, 10));
            assert_eq!(exposed(&db).await, db.recount_exposed_users(1).await.unwrap());
            assert_eq!(delete_old(&db, EventTable::Exposures, 25, limit, rows).await, 0, "nothing twice");
            assert_eq!(delete_old(&db, EventTable::Exposures, 100, 100, 100).await, 15);
            assert_eq!(delete_old(&db, EventTable::Steps, 100, 100, 100).await, 10);
        }
        assert_eq!(exposed(&db).await, []);
    }

    async fn a_span_tells_whether_it_holds_old_rows(db) {
        db.append_events(&EventBatch {
            exposures: vec![shown("a", 1, 1, "on", 10), shown("b", 1, 1, "on", 20)],
            steps: vec![],
        }, i64::MIN).await.unwrap();
        let span = |after: &'static str, before_ms| db.unit_span(EventTable::Exposures, 1, after, 1, before_ms);
        let first = span("", 15).await.unwrap().unwrap();
        assert!((first.after.as_str(), first.has_old) == ("", true) && *first.last >= *"b", "{first:?}");
        assert!(!span("a", 15).await.unwrap().unwrap().has_old);
        assert!(span("a", 21).await.unwrap().unwrap().has_old);
        assert!(!span("a", 20).await.unwrap().unwrap().has_old, "a row of that very time is not older");
        assert_eq!(span("b", 100).await.unwrap(), None);
        assert_eq!(db.unit_span(EventTable::Steps, 1, "", 1, 100).await.unwrap(), None);
        let whole = "\u{10FFFF}".repeat(64);
        db.append_events(&EventBatch { exposures: vec![shown(&whole, 1, 1, "on", 1)], steps: vec![] }, i64::MIN).await.unwrap();
        assert!(span("b", 2).await.unwrap().unwrap().last > whole, "the last span takes in every unit");
    }

    async fn the_newest_audit_row_stays_so_that_numbers_go_on(db) {
        let environment = crate::store::environment(&db, "production").await;
        for own in [0, environment] {
            for at in 1..=5 {
                audit_row(&db, own, at).await;
            }
            let mut tx = db.begin_write().await.unwrap();
            assert_eq!(tx.delete_old_audit(own, 3, 1).await.unwrap(), 1);
            assert_eq!(tx.delete_old_audit(own, 3, 10).await.unwrap(), 1, "those of the time itself stay");
            assert_eq!(tx.delete_old_audit(own, 100, 10).await.unwrap(), 2);
            assert_eq!(tx.delete_old_audit(own, 100, 10).await.unwrap(), 0);
            tx.commit().await.unwrap();
            audit_row(&db, own, 6).await;
            let rows = db.audit_page(own, huidu::store::AuditFilter::default(), None, 10).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [6, 5]);
        }
    }

    async fn an_instance_far_behind_is_told_that_changes_are_gone(db) {
        let environment = crate::store::environment(&db, "production").await;
        for at in 1..=10 {
            db.change(environment).await.unwrap().commit_change("{}", at).await.unwrap();
        }
        let mut tx = db.begin_write().await.unwrap();
        assert_eq!(tx.delete_old_changes(environment, 6, 3, 2).await.unwrap(), 2);
        assert_eq!(tx.delete_old_changes(environment, 6, 3, 100).await.unwrap(), 3);
        assert_eq!(tx.delete_old_changes(environment, 100, 3, 100).await.unwrap(), 2, "the newest three stay");
        tx.commit().await.unwrap();
        assert_eq!(db.counts(environment).await.unwrap().changes, 3);
        for since in 7..10 {
            let changed = db.read_changes(environment, since).await.unwrap().unwrap();
            assert_eq!(changed.changes.len() as i64, 10 - since);
        }
        assert!(db.read_changes(environment, 10).await.unwrap().is_none());
        for since in 0..7 {
            assert_eq!(db.read_changes(environment, since).await.unwrap_err(), StoreError::Swept { after: since });
        }
        db.execute("DELETE FROM changes").await;
        assert_eq!(db.read_changes(environment, 9).await.unwrap_err(), StoreError::Swept { after: 9 });
    }

    async fn the_audit_is_looked_through_for_a_text(db) {
        let environment = crate::store::environment(&db, "production").await;
        let texts = [("{\"a\":\"u\\\"1\"}", None, "f"), ("{}", Some("for u\"1"), "f"), ("{}", None, "u\"1"), ("{}", None, "f")];
        for (detail, reason, subject) in texts {
            let mut change = db.change(environment).await.unwrap();
            let (actor, action, subject_kind, request_id) = ("ann", "patch", "flag", None);
            change.audit(NewAudit { at: 1, actor, action, subject_kind, subject, reason, request_id, detail }).await.unwrap();
            change.commit().await.unwrap();
        }
        let all = db.audit_with_text(environment, "u\"1", None, 100).await.unwrap();
        assert_eq!((all.rows.iter().map(|row| row.id).collect::<Vec<_>>(), all.next), (vec![3, 2, 1], None));
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = db.audit_with_text(environment, "u\"1", before, 1).await.unwrap();
            seen.extend(page.rows.iter().map(|row| row.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, [3, 2, 1]);
        assert!(db.audit_with_text(environment, "u%1", None, 100).await.unwrap().rows.is_empty(), "no pattern");
        let mut change = db.change(environment).await.unwrap();
        let mut row = change.audit_row(2).await.unwrap().unwrap();
        row.reason = Some("for #".into());
        change.rewrite_audit(&row).await.unwrap();
        assert_eq!(change.audit_row(2).await.unwrap(), Some(row));
        assert_eq!(change.audit_row(9).await.unwrap(), None);
        change.commit().await.unwrap();
    }

    async fn reasons_of_versions_are_found_and_rewritten_once(db) {
        let environment = crate::store::environment(&db, "production").await;
        let reasons = [Some("for u-1"), None, Some("for u-2")];
        let version = |flag, version, reason: Option<&str>| huidu::store::VersionRow {
            flag, version, document: "{}".into(), sha256: String::new(), state: "live".into(), at: 1, actor: "ann".into(),
            reason: reason.map(str::to_owned), action: "patch".into(), diff: None,
        };
        crate::store::flag(&db, environment, "a").await;
        let mut change = db.change(environment).await.unwrap();
        for (number, reason) in (1..).zip(reasons) {
            change.append_version(&version(1, number, reason)).await.unwrap();
        }
        let key = huidu::engine::key::AudienceKey::parse("testers").unwrap();
        let generation = change.begin_generation(&key, 1).await.unwrap();
        change.put_audience(huidu::store::AudienceChange {
            key: &key, kind: "user", expected: Some(0), generation, size: 0, at: 1, actor: "ann", reason: Some("u-1!"),
            action: "create",
        }).await.unwrap();
        change.commit().await.unwrap();
        let found = db.reasons_with_text(environment, "u-1").await.unwrap();
        let places: Vec<_> = found.iter().map(|row| (row.flag, row.audience.as_deref(), row.version, &*row.reason)).collect();
        assert_eq!(places, [(None, Some("testers"), 1, "u-1!"), (Some(1), None, 1, "for u-1")]);
        assert!(db.reasons_with_text(environment + 1, "u-1").await.unwrap().is_empty());
        let mut change = db.change(environment).await.unwrap();
        for row in &found {
            assert!(change.rewrite_reason(row, "#").await.unwrap());
            assert!(!change.rewrite_reason(row, "##").await.unwrap(), "only while it is as it was read");
        }
        change.commit().await.unwrap();
        assert!(db.reasons_with_text(environment, "u-1").await.unwrap().is_empty());
        assert_eq!(db.reasons_with_text(environment, "#").await.unwrap().len(), 2);
    }
}
