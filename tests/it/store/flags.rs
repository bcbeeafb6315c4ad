//! Flags, versions, stages, and the consistent reads.

use huidu::store::{FlagUpdate, StageRow, StoreError};

use super::{content, environment, flag, flag_key, insert, version};
use crate::postgres::{Engine, on_both_engines};

on_both_engines! {
    async fn a_stale_version_is_refused_and_changes_nothing(db) {
        let environment = environment(&db, "production").await;
        flag(&db, environment, "a").await;
        let mut change = db.change(environment).await.unwrap();
        change.update_flag(&flag_key("a"), 1, content("{\"on\":1}", 8)).await.unwrap();
        change.commit_change(r#"{"flags":["a"]}"#, 8).await.unwrap();

        for key in ["a", "b"] {
            let mut change = db.change(environment).await.unwrap();
            let mut told = change.update_flag(&flag_key(key), 1, content("{}", 9)).await;
            if told.is_ok() {
                told = change.commit_change("{}", 9).await.map(drop);
            }
            assert_eq!(told, Err(StoreError::NotFound), "{key}");
        }
        let mut change = db.change(environment).await.unwrap();
        assert_eq!(insert(&mut change, "a").await, Err(StoreError::Exists));
        // A refusal leaves the transaction usable.
        insert(&mut change, "c").await.unwrap();
        change.commit_change("{}", 9).await.unwrap();
        let row = db.flag(environment, &flag_key("a")).await.unwrap().unwrap();
        assert_eq!((row.version, row.document.as_str(), row.updated_at), (2, "{\"on\":1}", 8));
    }

    async fn what_a_write_is_refused_for_is_told_at_the_commit_at_the_latest_and_nothing_stays(db) {
        let environment = environment(&db, "production").await;
        flag(&db, environment, "a").await;
        let before = db.counts(environment).await.unwrap();
        // Some engines tell at once, some with the next thing that is asked, or at the commit.
        let mut change = db.change(environment).await.unwrap();
        let mut told = change.append_version(&version(1, 7)).await;
        if told.is_ok() {
            told = change.close_stage(1, 9, 5).await;
        }
        if told.is_ok() {
            told = change.commit_change("{}", 9).await.map(drop);
        }
        assert_eq!(told, Err(StoreError::NotFound), "a stage that there is not");
        let mut change = db.change(environment).await.unwrap();
        let mut told = Ok(());
        for _ in 0..2 {
            told = told.and(change.append_version(&version(1, 7)).await);
        }
        let asked = change.flags().await.map(drop);
        assert_eq!(told.and(asked), Err(StoreError::Exists), "a version twice");
        drop(change);
        assert_eq!(db.counts(environment).await.unwrap(), before);
        assert_eq!(db.change(environment).await.unwrap().snapshot(), 1, "no number was taken");
    }

    async fn a_change_for_a_number_that_is_not_stored_is_refused_as_a_whole(db) {
        let environment = environment(&db, "production").await;
        flag(&db, environment, "a").await;
        let before = db.counts(environment).await.unwrap();
        for (place, number, told) in [(environment, 1, Ok(2)), (environment, 1, Err(StoreError::Moved)), (99, 0, Err(StoreError::Moved))] {
            let Some(mut change) = db.change_at_once().await.unwrap() else {
                assert_eq!(db.engine, Engine::Postgres, "there it is locked first");
                return;
            };
            change.assume(place, number).await.unwrap();
            change.append_version(&version(1, 7 + number)).await.unwrap();
            assert_eq!(change.commit_change("{}", 9).await, told, "{place} {number}");
        }
        let after = db.counts(environment).await.unwrap();
        assert_eq!((after.versions, after.flags), (before.versions + 1, before.flags));
    }

    async fn what_is_asked_sees_all_that_was_written_before_it(db) {
        let environment = environment(&db, "production").await;
        let (mut change, none) = db.change_of_flag(environment, &flag_key("a")).await.unwrap();
        assert_eq!((change.snapshot(), none), (0, None));
        let number = insert(&mut change, "a").await.unwrap();
        for n in 1..=40 {
            change.append_version(&version(number, n)).await.unwrap();
        }
        let before = change.flag(&flag_key("a")).await.unwrap().unwrap();
        assert_eq!(before.version, 1);
        change.raise_version(&flag_key("a"), 40).await.unwrap();
        change.update_flag(&flag_key("a"), 40, content("{}", 9)).await.unwrap();
        change.append_version(&version(number, 41)).await.unwrap();
        change.commit_change(r#"{"flags":["a"]}"#, 9).await.unwrap();
        assert_eq!(db.counts(environment).await.unwrap().versions, 41);
        let (change, row) = db.change_of_flag(environment, &flag_key("a")).await.unwrap();
        assert_eq!((change.snapshot(), row.map(|row| row.version)), (1, Some(41)));
        drop(change);
        assert!(matches!(db.change_of_flag(99, &flag_key("a")).await, Err(StoreError::NotFound)));
    }

    async fn flags_versions_and_stages_come_back_as_written(db) {
        let environment = environment(&db, "production").await;
        let mut change = db.change(environment).await.unwrap();
        let number = insert(&mut change, "a").await.unwrap();
        for n in 1..=5 {
            change.append_version(&version(number, n)).await.unwrap();
        }
        let stage = |stage| StageRow {
            flag: number, stage, opened_at: stage * 100, closed_at: None, version: stage, deciding: "[]".into(),
        };
        change.open_stage(&stage(1)).await.unwrap();
        change.close_stage(number, 1, 150).await.unwrap();
        change.close_stage(number, 1, 170).await.unwrap();
        change.open_stage(&stage(2)).await.unwrap();
        let killed = FlagUpdate { state: "killed", stage_open: None, stages: 2, ..content("{\"灰\":\"'\"}", 9) };
        change.update_flag(&flag_key("a"), 1, killed).await.unwrap();
        assert_eq!(change.flags().await.unwrap().len(), 1);
        change.commit_change("{}", 9).await.unwrap();

        let row = db.flag(environment, &flag_key("a")).await.unwrap().unwrap();
        assert_eq!((row.number, row.state.as_str(), row.stage_open, row.stages), (1, "killed", None, 2));
        assert_eq!(row.document, "{\"灰\":\"'\"}");
        assert_eq!(db.version(environment, number, 3).await.unwrap(), Some(version(number, 3)));
        assert_eq!(db.version(environment, number, 6).await.unwrap(), None);
        for (before, limit, expected) in [(None, 2, vec![5, 4]), (Some(4), 9, vec![3, 2, 1]), (Some(1), 9, vec![])] {
            let page = db.versions_page(environment, number, before, limit).await.unwrap();
            assert_eq!(page.iter().map(|v| v.version).collect::<Vec<_>>(), expected);
        }
        let stages = db.stages(environment, Some(number)).await.unwrap();
        assert_eq!(stages, [StageRow { closed_at: Some(150), ..stage(1) }, stage(2)]);
        assert_eq!(db.stages(environment, None).await.unwrap(), stages);
        assert!(db.stages(environment, Some(2)).await.unwrap().is_empty());
    }

    async fn flags_are_numbered_in_the_order_of_their_creation(db) {
        let environment = environment(&db, "production").await;
        let made = ["b", "a-b", "B", "_", "a", "ab", "a.b", "Z"];
        for key in made {
            flag(&db, environment, key).await;
        }
        let all: Vec<_> = db.flags(environment).await.unwrap().into_iter().map(|f| (f.number, f.key)).collect();
        assert_eq!(all, (1..).zip(made.map(str::to_owned)).collect::<Vec<_>>());
    }

    async fn a_read_of_changes_names_what_changed(db) {
        let environment = environment(&db, "production").await;
        for key in ["a", "b", "c"] {
            flag(&db, environment, key).await;
        }
        let mut change = db.change(environment).await.unwrap();
        change.update_environment("Shop", r#"{"currencies":["CNY"]}"#).await.unwrap();
        assert_eq!(change.commit_change(r#"{"settings":true}"#, 9).await.unwrap(), 4);

        let loaded = db.read_snapshot(environment).await.unwrap();
        assert_eq!((loaded.environment.snapshot, loaded.flags.len(), loaded.audiences.len()), (4, 3, 0));
        assert_eq!(loaded.environment.name, "Shop");
        let changed = db.read_changes(environment, 1).await.unwrap().unwrap();
        assert_eq!(changed.environment.snapshot, 4);
        assert_eq!(changed.changes.iter().map(|c| c.number).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(changed.flags.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert!(db.read_changes(environment, 4).await.unwrap().is_none());
        assert!(matches!(db.read_snapshot(9).await, Err(StoreError::NotFound)));
    }
}
