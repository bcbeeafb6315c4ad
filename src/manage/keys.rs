//! Keys: made (shown once), listed, revoked.

use super::{Caller, Manage, ManageError, Page, audit};
use crate::access::{Actor, Role, make_key};
use crate::engine::key::is_plain;
use crate::store::{KeyRow, NewKey, StoreError};

/// Longest name of a key in characters.
const NAME_CHARACTERS_MAX: usize = 100;
/// Most keys of a database.
const KEYS_MAX: usize = 10_000;

/// A key to be made.
#[derive(Debug, Clone)]
pub struct KeyWish {
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The number of its environment; `None`: all.
    pub environment: Option<i64>,
    /// Milliseconds since 1970 from which it is refused.
    pub expires_at: Option<i64>,
}

/// A key that was made: the only time its text is known.
pub struct MadeKey {
    /// Its id.
    pub id: String,
    /// The key itself.
    pub text: String,
    /// When, milliseconds since 1970.
    pub created_at: i64,
}

impl Manage {
    /// Makes a key. An admin key of one environment makes keys of that one only.
    ///
    /// # Errors
    /// [`ManageError::KeyInvalid`], [`ManageError::Forbidden`].
    pub async fn create_key(
        &self,
        caller: &Caller,
        actor: &Actor,
        wish: &KeyWish,
    ) -> Result<MadeKey, ManageError> {
        if actor.environment.is_some() && wish.environment != actor.environment {
            return Err(ManageError::Forbidden(
                "an admin key of one environment makes keys of that one only",
            ));
        }
        self.refuse_older_keys(self.store.sequences().await?.keys)?;
        if self.store.keys().await?.len() >= KEYS_MAX {
            return Err(ManageError::Quota(format!("there are at most {KEYS_MAX} keys")));
        }
        let made = self.make(caller, wish).await?;
        self.reload_keys().await?;
        Ok(made)
    }

    async fn make(&self, caller: &Caller, wish: &KeyWish) -> Result<MadeKey, ManageError> {
        let now_ms = self.clock.now_ms();
        check(wish, now_ms)?;
        let key = make_key(wish.role, &*self.random)?;
        let id = uuid::Uuid::now_v7().to_string();
        let mut change = self.store.keys_change().await?;
        change.insert_key(row(&id, &key.text, key.hash.array(), wish, now_ms, &caller.name)).await?;
        // A key of one environment stands in that one's audit.
        if let Some(environment) = wish.environment {
            change.lock_environment(environment).await?;
        }
        let detail = serde_json::json!({"name": wish.name, "role": wish.role.as_str(), "environment": wish.environment});
        change.audit(audit(caller, now_ms, "create", "key", &id, &detail.to_string())).await?;
        change.commit_keys().await?;
        Ok(MadeKey { id, text: key.text, created_at: now_ms })
    }

    /// A page of the keys that `actor` may manage, without their texts, in the order of their making.
    ///
    /// # Errors
    /// [`ManageError`] of the database.
    pub async fn list_keys(
        &self,
        actor: &Actor,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<KeyRow>, ManageError> {
        let mut rows = self.managed_keys(actor).await?;
        // Ids are made in the order of time.
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows.retain(|row| after.is_none_or(|after| row.id.as_str() > after));
        rows.truncate(limit + 1);
        Ok(Page::cut(rows, limit, |row| row.id.clone()))
    }

    async fn managed_keys(&self, actor: &Actor) -> Result<Vec<KeyRow>, ManageError> {
        let mut rows = self.store.keys().await?;
        rows.retain(|row| actor.environment.is_none() || row.environment == actor.environment);
        Ok(rows)
    }

    /// Revokes a key; it is refused from now on.
    ///
    /// # Errors
    /// [`ManageError::NotFound`] for a key that is unknown, or not `actor`'s to manage.
    pub async fn revoke_key(&self, caller: &Caller, actor: &Actor, id: &str) -> Result<(), ManageError> {
        let known = self.managed_keys(actor).await?.into_iter().find(|row| row.id == id);
        let known = known.ok_or(ManageError::NotFound("key"))?;
        let now_ms = self.clock.now_ms();
        let mut change = self.store.keys_change().await?;
        if change.revoke_key(id, now_ms).await? {
            if let Some(environment) = known.environment {
                change.lock_environment(environment).await?;
            }
            change.audit(audit(caller, now_ms, "revoke", "key", id, "{}")).await?;
            change.commit_keys().await?;
        }
        match self.reload_keys().await {
            // What is revoked is refused here all the same.
            Err(ManageError::Store(StoreError::SetBack { .. })) => Ok(()),
            reloaded => reloaded,
        }
    }

    /// Brings the keys in memory to the state of the database.
    ///
    /// # Errors
    /// [`ManageError`] of the database; the keys in memory stay as they were. [`StoreError::SetBack`] if it is older than
    /// they are: then keys that are revoked in it are refused here too, and nothing else of it is taken.
    pub async fn reload_keys(&self) -> Result<(), ManageError> {
        // In order: an older reading must not take the place of a newer one, and bring a revoked key back.
        let _one_at_a_time = self.reloading.lock().await;
        // Read first: what is added meanwhile is read again.
        let sequence = self.store.sequences().await?.keys;
        let rows = self.store.keys().await?;
        if let Err(older) = self.refuse_older_keys(sequence) {
            let (held, held_sequence) = self.keys.held();
            let revoked_at = |id: &str| rows.iter().find(|row| row.id == id)?.revoked_at;
            let news = |row: &&KeyRow| row.revoked_at.is_none() && revoked_at(&row.id).is_some();
            if held.iter().any(|row| news(&row)) {
                let also = held
                    .iter()
                    .cloned()
                    .map(|row| KeyRow { revoked_at: row.revoked_at.or(revoked_at(&row.id)), ..row });
                self.keys.replace(also.collect(), held_sequence);
            }
            return Err(older);
        }
        self.keys.replace(rows, sequence);
        Ok(())
    }

    /// Forgets how new the keys in memory are: an operator said that the database was restored on purpose.
    pub async fn accept_restored_keys(&self) {
        let _one_at_a_time = self.reloading.lock().await;
        let (held, _) = self.keys.held();
        self.keys.replace(held.to_vec(), 0);
    }

    /// Refuses keys of a database that is at the change `sequence`, if this instance knows a later one.
    fn refuse_older_keys(&self, sequence: i64) -> Result<(), ManageError> {
        let known = self.keys.held().1;
        if sequence < known { Err(StoreError::SetBack { at: sequence, known }.into()) } else { Ok(()) }
    }
}

fn check(wish: &KeyWish, now_ms: i64) -> Result<(), ManageError> {
    let named = (1..=NAME_CHARACTERS_MAX).contains(&wish.name.chars().count()) && is_plain(&wish.name);
    if !named {
        return Err(ManageError::KeyInvalid(format!(
            "`name` has 1 to {NAME_CHARACTERS_MAX} characters, none of them control, invisible or direction-turning ones"
        )));
    }
    if wish.expires_at.is_some_and(|at| at <= now_ms) {
        return Err(ManageError::KeyInvalid("`expires_at` lies in the past".into()));
    }
    Ok(())
}

/// The row of a key that is made at `now_ms`.
pub(super) fn row<'a>(
    id: &'a str,
    text: &'a str,
    hash: &'a [u8; 32],
    wish: &'a KeyWish,
    now_ms: i64,
    by: &'a str,
) -> NewKey<'a> {
    NewKey {
        id,
        name: &wish.name,
        role: wish.role.as_str(),
        environment: wish.environment,
        hash,
        hint: text.get(text.floor_char_boundary(text.len().saturating_sub(4))..).unwrap_or_default(),
        created_at: now_ms,
        created_by: by,
        expires_at: wish.expires_at,
    }
}
