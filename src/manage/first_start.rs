//! The first start: identity, secrets, environments, examples and keys in one transaction, so that a
//! database is either untouched or whole.

use serde_json::{Value, json};

use super::keys::{KeyWish, row};
use super::stage::deciding;
use super::{Caller, ManageError, audit, seed};
use crate::access::{KeyHash, Role, make_key};
use crate::audiences::blocks::parts;
use crate::engine::flag::{Faults, State, read};
use crate::engine::key::{AudienceKey, EnvironmentKey, FlagKey};
use crate::engine::membership::IdHasher;
use crate::live::load::{checksum, part_checksum};
use crate::random::{Random, base32, bytes};
use crate::store::{
    AudienceChange, FlagUpdate, Identity, NewBlock, NewEnvironment, NewFlag, NewPart, NewSecret, StageRow,
    Store, StoreError, VersionRow, WriteTx,
};

/// Who the audit names for what the first start makes.
const ACTOR: &str = "huidu (first start)";

/// The keys of a first start, shown once.
pub struct FirstKeys {
    /// Of all environments; `None` where a bootstrap key was given.
    pub admin: Option<String>,
    /// Of `production`.
    pub client: String,
    /// Of `production`.
    pub server: String,
}

/// Makes everything that a new database needs; `None` if it was made before.
///
/// # Errors
/// [`ManageError`]: nothing was made.
pub async fn first_start(
    store: &Store,
    random: &dyn Random,
    now_ms: i64,
    unit_ids: &str,
    bootstrap: bool,
) -> Result<Option<FirstKeys>, ManageError> {
    let Some(mut tx) = store.first_start().await? else { return Ok(None) };
    tx.initialise(&Identity {
        database_id: uuid::Uuid::now_v7().to_string(),
        unit_ids: unit_ids.to_owned(),
        created_at: now_ms,
    })
    .await?;
    let caller = Caller { name: ACTOR.to_owned(), request_id: None, reason: None };
    let mut hasher = None;
    for purpose in ["token", "audience", "unit_ids"] {
        let secret: [u8; 32] = bytes(random)?;
        tx.insert_secret(NewSecret { purpose, value: &secret, created_at: now_ms }).await?;
        if purpose == "audience" {
            hasher = Some(IdHasher::new(secret));
        }
    }
    // Before an environment is locked: the audit row belongs to none.
    let admin = if bootstrap {
        None
    } else {
        Some(first_key(&mut tx, &caller, random, now_ms, Role::Admin, None).await?)
    };
    let mut production = 0;
    for (key, name) in seed::ENVIRONMENTS {
        let key = EnvironmentKey::parse(key).map_err(|error| ManageError::KeyInvalid(error.to_string()))?;
        let number = tx
            .insert_environment(NewEnvironment { key: &key, name, settings: "{}", created_at: now_ms })
            .await?;
        if production == 0 {
            production = number;
            if let Some(hasher) = &hasher {
                seed_audiences(&mut tx, &caller, hasher, now_ms).await?;
            }
            seed_flags(&mut tx, &caller, random, now_ms).await?;
        }
        tx.audit(audit(&caller, now_ms, "create", "environment", key.as_str(), "{}")).await?;
        tx.take_number("{}", now_ms).await?;
    }
    tx.lock_environment(production).await?;
    let client = first_key(&mut tx, &caller, random, now_ms, Role::Client, Some(production)).await?;
    let server = first_key(&mut tx, &caller, random, now_ms, Role::Server, Some(production)).await?;
    tx.commit_keys().await?;
    Ok(Some(FirstKeys { admin, client, server }))
}

async fn first_key(
    tx: &mut WriteTx,
    caller: &Caller,
    random: &dyn Random,
    now_ms: i64,
    role: Role,
    environment: Option<i64>,
) -> Result<String, ManageError> {
    let wish = KeyWish { name: format!("first {role}"), role, environment, expires_at: None };
    let key = make_key(role, random)?;
    let id = uuid::Uuid::now_v7().to_string();
    tx.insert_key(row(&id, &key.text, key.hash.array(), &wish, now_ms, ACTOR)).await?;
    let detail = json!({"name": wish.name, "role": role.as_str(), "environment": environment});
    tx.audit(audit(caller, now_ms, "create", "key", &id, &detail.to_string())).await?;
    Ok(key.text)
}

async fn seed_audiences(
    tx: &mut WriteTx,
    caller: &Caller,
    hasher: &IdHasher,
    now_ms: i64,
) -> Result<(), ManageError> {
    for audience in seed::AUDIENCES {
        let key =
            AudienceKey::parse(audience.key).map_err(|error| ManageError::KeyInvalid(error.to_string()))?;
        let generation = tx.begin_generation(&key, now_ms).await?;
        let blocks: Vec<NewBlock> = NewBlock::new(audience.ids).into_iter().collect();
        tx.append_blocks(&key, generation, &blocks, now_ms).await?;
        for (number, bytes) in (0..).zip(parts(audience.ids.iter().map(|id| hasher.hash(id)).collect())) {
            let part =
                NewPart { part: number, hashes: &bytes, hash_key: 1, checksum: &part_checksum(&bytes) };
            tx.put_part(&key, generation, part).await?;
        }
        let size = audience.ids.len() as i64;
        tx.put_audience(AudienceChange {
            key: &key,
            kind: audience.kind,
            expected: Some(0),
            generation,
            size,
            at: now_ms,
            actor: ACTOR,
            reason: None,
            action: "create",
        })
        .await?;
        let detail = json!({"version": 1, "kind": audience.kind, "size": size}).to_string();
        tx.audit(audit(caller, now_ms, "create", "audience", audience.key, &detail)).await?;
    }
    Ok(())
}

async fn seed_flags(
    tx: &mut WriteTx,
    caller: &Caller,
    random: &dyn Random,
    now_ms: i64,
) -> Result<(), ManageError> {
    for (key, text) in seed::FLAGS {
        let mut faults = Faults::default();
        let mut value: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.insert("salt".into(), base32(random, 26)?.into());
        }
        let (Some(document), true) = (read(&value, &mut faults), faults.0.is_empty()) else {
            return Err(ManageError::Invalid(faults.0));
        };
        let key = FlagKey::parse(key).map_err(|error| ManageError::KeyInvalid(error.to_string()))?;
        let text = value.to_string();
        let sha256 = checksum(&text);
        let content = FlagUpdate {
            document: &text,
            sha256: &sha256,
            state: State::Live.as_str(),
            stage_open: Some(1),
            stages: 1,
            at: now_ms,
            by: ACTOR,
        };
        let flag = tx.insert_flag(NewFlag { key: &key, content }).await?;
        tx.append_version(&VersionRow {
            flag,
            version: 1,
            document: text.clone(),
            sha256,
            state: State::Live.as_str().to_owned(),
            at: now_ms,
            actor: ACTOR.to_owned(),
            reason: None,
            action: "create".to_owned(),
            diff: None,
        })
        .await?;
        let stage = StageRow {
            flag,
            stage: 1,
            opened_at: now_ms,
            closed_at: None,
            version: 1,
            deciding: deciding(&document).to_string(),
        };
        tx.open_stage(&stage).await?;
        let detail = json!({"version": 1, "state": "live", "stage": 1}).to_string();
        tx.audit(audit(caller, now_ms, "create", "flag", key.as_str(), &detail)).await?;
    }
    Ok(())
}

/// Adds the admin key that automation gave, if the database does not know it. One that was revoked stays so.
///
/// # Errors
/// [`ManageError`] of the database.
pub async fn add_bootstrap_key(store: &Store, key: &str, now_ms: i64) -> Result<(), ManageError> {
    let hash = KeyHash::of(key);
    let known = store.keys().await?.iter().any(|row| row.hash == hash.array());
    if known {
        return Ok(());
    }
    let wish =
        KeyWish { name: "bootstrap".to_owned(), role: Role::Admin, environment: None, expires_at: None };
    let id = uuid::Uuid::now_v7().to_string();
    let caller = Caller { name: "huidu (bootstrap)".to_owned(), request_id: None, reason: None };
    let mut tx = store.keys_change().await?;
    // The bootstrap key is the operator's own text: none of it is stored, not even its end.
    let mut new = row(&id, "", hash.array(), &wish, now_ms, &caller.name);
    new.hint = "";
    match tx.insert_key(new).await {
        // Another instance that starts with the same key was first.
        Err(StoreError::Exists) => return Ok(()),
        inserted => inserted?,
    }
    tx.audit(audit(
        &caller,
        now_ms,
        "create",
        "key",
        &id,
        &json!({"name": "bootstrap", "role": "admin"}).to_string(),
    ))
    .await?;
    tx.commit_keys().await?;
    Ok(())
}
