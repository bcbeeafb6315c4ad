//! Audiences and their generations.

use huidu::engine::key::AudienceKey;
use huidu::store::{AudienceChange, AudiencePut, NewBlock, NewPart, Place, StoreError};

use super::{audience_key, environment};
use crate::postgres::{Database, Engine, on_both_engines};

fn to(key: &AudienceKey, generation: i64, expected: Option<i64>) -> AudienceChange<'_> {
    AudienceChange {
        key,
        kind: "user",
        expected,
        generation,
        size: 2,
        at: 20,
        actor: "ann",
        reason: None,
        action: "replace",
    }
}

fn at(environment: i64, audience: &AudienceKey, generation: i64) -> Place<'_> {
    Place { environment, audience, generation }
}

/// Adds sorted ids as one block.
async fn append(db: &Database, place: Place<'_>, ids: &[&str]) {
    let block = NewBlock::new(ids).unwrap();
    db.append_blocks(place, &[block], 10).await.unwrap();
}

async fn upload(db: &Database, environment: i64, key: &AudienceKey, ids: &[&str]) -> i64 {
    let generation = db.begin_generation(environment, key, 10).await.unwrap();
    append(db, at(environment, key, generation), ids).await;
    let part = NewPart { part: 0, hashes: &[1; 16], hash_key: 1, checksum: &[2; 4] };
    db.put_part(environment, key, generation, part).await.unwrap();
    db.put_part(environment, key, generation, NewPart { hashes: &[3; 16], ..part }).await.unwrap();
    generation
}

async fn switch(
    db: &Database,
    environment: i64,
    change: AudienceChange<'_>,
) -> Result<AudiencePut, StoreError> {
    let mut tx = db.change(environment).await?;
    let put = tx.put_audience(change).await?;
    tx.commit_change(r#"{"audiences":["testers"]}"#, 20).await?;
    Ok(put)
}

on_both_engines! {
    async fn ids_are_found_and_paged_by_their_bytes(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let generation = db.begin_generation(environment, &key, 10).await.unwrap();
        let place = at(environment, &key, generation);
        append(&db, place, &["U-1", "a\u{1}", "u-2"]).await;
        append(&db, place, &["é", "灰\"\\"]).await;
        assert_eq!(db.members(place, &["u-2"], None).await, Ok(None), "nobody reads what is not finished");
        assert_eq!(db.audience_ids_page(place, None, 9).await, Err(StoreError::NotFound));
        let change = AudienceChange { size: 5, ..to(&key, generation, Some(0)) };
        switch(&db, environment, change).await.unwrap();
        let asked = ["u-2", "", "U-1", "zz", "é", "a", "灰\"\\", "u-2\né", "U-1\na\u{1}", "-2", "u", "\n", "e\u{301}"];
        let known = ["u-2", "U-1", "é", "灰\"\\"];
        let expected = asked.map(|id| known.contains(&id)).to_vec();
        assert_eq!(db.members(place, &asked, None).await, Ok(Some(expected)));
        assert_eq!(db.members(place, &[], None).await, Ok(Some(vec![])));
        assert_eq!(db.members(at(environment, &key, 9), &[], None).await, Ok(None));
        assert_eq!(db.members(at(environment, &key, 9), &["u-2"], None).await, Ok(None));
        assert_eq!(db.audience_ids_page(place, None, 2).await.unwrap(), ["U-1", "a\u{1}"]);
        assert_eq!(db.audience_ids_page(place, Some("a"), 2).await.unwrap(), ["a\u{1}", "u-2"]);
        assert_eq!(db.audience_ids_page(place, Some("u-2"), 9).await.unwrap(), ["é", "灰\"\\"]);
        assert_eq!(db.generation_size(place).await, Ok(Some(5)));
        assert_eq!(db.blocks_size(place).await, Ok(Some(5)));
    }

    async fn turned_ids_stand_over_blocks_in_every_reading(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let base: Vec<String> = (0..40).map(|n| format!("u-{n:02}")).collect();
        let generation = db.begin_generation(environment, &key, 10).await.unwrap();
        let place = at(environment, &key, generation);
        for chunk in base.chunks(7) {
            append(&db, place, &chunk.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        switch(&db, environment, to(&key, generation, Some(0))).await.unwrap();
        let mut expected: std::collections::BTreeSet<String> = base.into_iter().collect();
        let mut history = vec![expected.clone()];
        for version in 2..12_i64 {
            let mut tx = db.change(environment).await.unwrap();
            let put = tx.put_audience(to(&key, generation, None)).await.unwrap();
            assert_eq!(put.version, version);
            let names: Vec<String> = (0..25).map(|n| format!("u-{:02}", (n * 7 + version * 11) % 60)).collect();
            let turned: Vec<(&str, bool)> = names.iter().map(|id| (id.as_str(), !expected.contains(id))).collect();
            tx.turn_over(&key, generation, version, &turned).await.unwrap();
            tx.commit_change(r#"{"audiences":["testers"]}"#, 20).await.unwrap();
            for (id, member) in turned {
                if member { expected.insert(id.to_owned()); } else { expected.remove(id); }
            }
            history.push(expected.clone());
            for page in [1, 3, 100] {
                let mut all: Vec<String> = Vec::new();
                loop {
                    let after = all.last().cloned();
                    let more = db.audience_ids_page(place, after.as_deref(), page).await.unwrap();
                    if more.is_empty() { break; }
                    all.extend(more);
                }
                assert_eq!(all, expected.iter().cloned().collect::<Vec<_>>(), "version {version} by {page}");
            }
            let asked: Vec<String> = (0..60).map(|n| format!("u-{n:02}")).collect();
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            let found = db.members(place, &asked, None).await.unwrap().unwrap();
            assert_eq!(found, asked.iter().map(|id| expected.contains(*id)).collect::<Vec<_>>());
            let since = db.deltas_since(place, version - 1).await.unwrap();
            assert!(since.len() == 25 && since.iter().all(|row| row.version == version && row.member == expected.contains(&row.id)));
            // Back to each content that is kept.
            for kept in (version - 3).max(1)..=version {
                let mut tx = db.change(environment).await.unwrap();
                let mut then = expected.clone();
                for (id, member) in tx.way_back(&key, generation, kept).await.unwrap() {
                    assert_ne!(then.contains(&id), member);
                    if member { then.insert(id); } else { then.remove(&id); }
                }
                assert_eq!(then, history[usize::try_from(kept - 1).unwrap()], "{version} to {kept}");
            }
        }
        let rows = db.number("SELECT count(*) FROM audience_deltas").await;
        assert!(rows <= 60 * 4, "old rows are forgotten: {rows}");
    }

    async fn ids_of_the_first_release_come_along(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let generation = db.begin_generation(environment, &key, 10).await.unwrap();
        let size = AudienceChange { size: 600, ..to(&key, generation, Some(0)) };
        switch(&db, environment, size).await.unwrap();
        // As a row an id, in the way that they were kept; then that part of the migration which moves them.
        let (text, migration) = match db.engine {
            Engine::Sqlite => ("TEXT", include_str!("../../../migrations/sqlite/0006_audience_blocks.sql")),
            Engine::Postgres => (
                "TEXT COLLATE \"C\"",
                include_str!("../../../migrations/postgres/0006_audience_blocks.sql"),
            ),
        };
        db.execute(&format!(
            "CREATE TABLE audience_ids (environment BIGINT, audience {text}, generation BIGINT, id {text})"
        ))
        .await;
        let ids: Vec<String> = (0..599).map(|n| format!("u-{}", n * 37 % 1_000)).chain(["灰".to_owned()]).collect();
        for chunk in ids.chunks(100) {
            let row = |id: &String| format!("({environment}, 'testers', {generation}, '{id}')");
            let rows: Vec<String> = chunk.iter().map(row).collect();
            db.execute(&format!("INSERT INTO audience_ids VALUES {}", rows.join(", "))).await;
        }
        let moving = migration.split(';').find(|statement| statement.contains("INSERT INTO audience_blocks"));
        db.execute(moving.unwrap()).await;
        let place = at(environment, &key, generation);
        let sorted: std::collections::BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        let page = db.audience_ids_page(place, None, 1_000).await.unwrap();
        assert_eq!(page, sorted.iter().copied().collect::<Vec<_>>());
        assert_eq!(db.blocks_size(place).await, Ok(Some(600)));
        let asked = ["u-0", "u-999", "u-1000", "灰", "u"];
        let expected = asked.map(|id| sorted.contains(id)).to_vec();
        assert_eq!(db.members(place, &asked, None).await, Ok(Some(expected)));
    }

    async fn what_is_being_swept_is_read_by_nobody_and_what_is_used_is_not_swept(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let used = upload(&db, environment, &key, &["a"]).await;
        switch(&db, environment, to(&key, used, None)).await.unwrap();
        db.sweep_generation(environment, key.as_str(), used).await.unwrap();
        assert_eq!(db.members(at(environment, &key, used), &["a"], None).await, Ok(Some(vec![true])));
        let lost = upload(&db, environment, &key, &["a"]).await;
        db.execute(&format!("UPDATE audience_generations SET size = -1 WHERE generation = {lost}")).await;
        let block = NewBlock::new(&["b"]).unwrap();
        assert_eq!(db.append_blocks(at(environment, &key, lost), &[block], 10).await, Err(StoreError::NotFound));
        assert_eq!(switch(&db, environment, to(&key, lost, None)).await, Err(StoreError::NotFound));
        assert_eq!(db.abandoned_generations(0).await.unwrap().len(), 1, "half swept: at any age");
        db.sweep_generation(environment, key.as_str(), lost).await.unwrap();
        assert_eq!(db.number("SELECT count(*) FROM audience_generations").await, 1);
        assert_eq!(db.number("SELECT count(*) FROM audience_parts").await, 1);
    }

    async fn four_contents_are_kept_and_the_rest_is_swept(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let mut versions = Vec::new();
        for n in 0..6 {
            let generation = upload(&db, environment, &key, &["a", "b"]).await;
            let put = switch(&db, environment, to(&key, generation, Some(n))).await.unwrap();
            assert_eq!(put.version, n + 1);
            assert_eq!(put.fallen, if n >= 4 { vec![n - 3] } else { vec![] }, "{n}");
            versions.push(generation);
            for fallen in put.fallen {
                db.sweep_generation(environment, key.as_str(), fallen).await.unwrap();
            }
        }
        assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
        assert_eq!(db.counts(environment).await.unwrap().audience_ids, 8);
        let parts = db.audience_parts(environment, &key, 6).await.unwrap();
        assert_eq!((parts.len(), parts[0].hashes.as_slice()), (1, [3; 16].as_slice()));
        assert!(db.audience_parts(environment, &key, 1).await.unwrap().is_empty());

        // Back to a content that is kept; one that was swept is not there.
        assert_eq!(switch(&db, environment, to(&key, 1, None)).await, Err(StoreError::NotFound));
        let put = switch(&db, environment, to(&key, 4, Some(6))).await.unwrap();
        assert_eq!((put.version, put.fallen), (7, vec![3]));
        let row = db.audience(environment, &key).await.unwrap().unwrap();
        assert_eq!((row.version, row.generation, row.kind.as_str()), (7, 4, "user"));
    }

    async fn a_stale_version_of_an_audience_is_refused(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let generation = upload(&db, environment, &key, &["a"]).await;
        assert_eq!(switch(&db, environment, to(&key, generation, Some(3))).await, Err(StoreError::NotFound));
        switch(&db, environment, to(&key, generation, Some(0))).await.unwrap();
        assert_eq!(switch(&db, environment, to(&key, generation, Some(0))).await, Err(StoreError::Exists));
        let stale = switch(&db, environment, to(&key, generation, Some(2))).await;
        assert_eq!(stale, Err(StoreError::Conflict { current: 1, sent: 2 }));
        assert_eq!(db.read_snapshot(environment).await.unwrap().environment.snapshot, 1);
    }

    async fn abandoned_uploads_are_found_and_deleted_keys_start_no_number_again(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let used = upload(&db, environment, &key, &["a"]).await;
        let lost = upload(&db, environment, &key, &["a", "b"]).await;
        switch(&db, environment, to(&key, used, None)).await.unwrap();
        assert!(db.abandoned_generations(10).await.unwrap().is_empty(), "too young");
        let abandoned = db.abandoned_generations(11).await.unwrap();
        assert_eq!(abandoned.iter().map(|g| (g.environment, g.generation)).collect::<Vec<_>>(), [(environment, lost)]);
        db.sweep_generation(environment, key.as_str(), lost).await.unwrap();
        assert!(db.abandoned_generations(11).await.unwrap().is_empty());

        let mut tx = db.change(environment).await.unwrap();
        assert_eq!(tx.delete_audience(&key).await.unwrap(), [used]);
        assert_eq!(tx.delete_audience(&key).await, Err(StoreError::NotFound));
        tx.commit_change(r#"{"audiences":["testers"]}"#, 30).await.unwrap();
        let changed = db.read_changes(environment, 1).await.unwrap().unwrap();
        assert!(changed.audiences.is_empty());
        assert_eq!(changed.deleted_audiences, ["testers"]);
        assert_eq!(db.abandoned_generations(11).await.unwrap().len(), 1);
        db.sweep_generation(environment, key.as_str(), used).await.unwrap();
        let again = upload(&db, environment, &key, &["a"]).await;
        assert_eq!(again, 2);
        assert_eq!(switch(&db, environment, to(&key, again, Some(0))).await.unwrap().version, 2);
    }

    async fn small_audiences_are_made_inside_one_transaction(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let mut tx = db.change(environment).await.unwrap();
        let generation = tx.begin_generation(&key, 1).await.unwrap();
        tx.append_blocks(&key, generation, &[NewBlock::new(&["a", "b"]).unwrap()], 1).await.unwrap();
        tx.put_part(&key, generation, NewPart { part: 0, hashes: &[], hash_key: 1, checksum: &[] }).await.unwrap();
        tx.put_audience(to(&key, generation, Some(0))).await.unwrap();
        tx.commit_change(r#"{"audiences":["testers"]}"#, 1).await.unwrap();
        assert_eq!(db.audiences(environment).await.unwrap().len(), 1);
        assert_eq!(db.audiences_page(environment, Some("testers"), 9).await.unwrap().len(), 0);
        assert_eq!(db.read_changes(environment, 0).await.unwrap().unwrap().audiences[0].generation, generation);
    }
}
