//! Audiences and their generations.

use huidu::engine::key::AudienceKey;
use huidu::store::{AudienceChange, AudiencePut, NewPart, StoreError};

use super::{audience_key, environment};
use crate::postgres::{Database, on_both_engines};

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

async fn upload(db: &Database, environment: i64, key: &AudienceKey, ids: &[&str]) -> i64 {
    let generation = db.begin_generation(environment, key, 10).await.unwrap();
    db.append_ids(environment, key, generation, ids).await.unwrap();
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
    async fn ids_are_kept_once_and_paged_by_their_bytes(db) {
        let (environment, key) = (environment(&db, "production").await, audience_key("testers"));
        let generation = db.begin_generation(environment, &key, 10).await.unwrap();
        assert_eq!(db.append_ids(environment, &key, generation, &["u-2", "U-1", "u-2", "灰\"\\"]).await.unwrap(), 3);
        assert_eq!(db.append_ids(environment, &key, generation, &["u-2", "é"]).await.unwrap(), 1);
        assert_eq!(db.append_ids(environment, &key, generation, &[]).await.unwrap(), 0);
        let page = db.audience_ids_page(environment, &key, generation, None, 2).await.unwrap();
        assert_eq!(page, ["U-1", "u-2"]);
        let page = db.audience_ids_page(environment, &key, generation, Some("u-2"), 9).await.unwrap();
        assert_eq!(page, ["é", "灰\"\\"]);
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
        let history = db.audience_versions_page(environment, &key, Some(7), 2).await.unwrap();
        assert_eq!(history.iter().map(|v| (v.version, v.generation)).collect::<Vec<_>>(), [(6, 6), (5, 5)]);
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
        assert_eq!(tx.append_ids(&key, generation, &["a", "b"]).await.unwrap(), 2);
        tx.put_part(&key, generation, NewPart { part: 0, hashes: &[], hash_key: 1, checksum: &[] }).await.unwrap();
        tx.put_audience(to(&key, generation, Some(0))).await.unwrap();
        tx.commit_change(r#"{"audiences":["testers"]}"#, 1).await.unwrap();
        assert_eq!(db.audiences(environment).await.unwrap().len(), 1);
        assert_eq!(db.audiences_page(environment, Some("testers"), 9).await.unwrap().len(), 0);
        assert_eq!(db.read_changes(environment, 0).await.unwrap().unwrap().audiences[0].generation, generation);
    }
}
