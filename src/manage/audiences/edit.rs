//! Changes of single ids, the way back to kept contents, and deletion.

use serde_json::json;

use super::{ChangedAudience, refused, subjects, users_of};
use crate::engine::key::AudienceKey;
use crate::live::Environment;
use crate::manage::{Caller, Manage, ManageError, Precondition, audit};
use crate::store::{AudienceChange, AudienceRow, Change, Place};

/// What is done to single ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// They become members.
    Add,
    /// They become strangers.
    Remove,
}

impl Edit {
    /// As the audit names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

/// What a new version of an audience is.
struct Next<'n> {
    row: &'n AudienceRow,
    generation: i64,
    size: i64,
    action: &'static str,
    detail: serde_json::Value,
}

impl Manage {
    /// Adds or removes ids. Members that are added and strangers that are removed change nothing; if no id is left, the
    /// version stays.
    ///
    /// # Errors
    /// [`ManageError::NotFound`]; [`ManageError::AudienceTooLarge`] beyond the quota.
    pub async fn edit_audience(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &AudienceKey,
        edit: Edit,
        ids: &[String],
    ) -> Result<ChangedAudience, ManageError> {
        let becomes = edit == Edit::Add;
        let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        // Ten thousand look-ups are not made while others wait to write, unless somebody else changes it meanwhile.
        let before = self.audience(environment, key).await?;
        let place = Place { environment: environment.number, audience: key, generation: before.generation };
        let known = self.store.members(place, &ids, None).await?;
        let mut change = self.begin(environment).await?;
        let row = change.audience(key).await?.ok_or(ManageError::NotFound("audience"))?;
        let members = match known {
            Some(known) if row == before => known,
            _ => change.members(key, row.generation, &ids).await.map_err(|error| refused(error, key))?,
        };
        let turned = ids.iter().zip(&members).filter(|(_, member)| **member != becomes);
        let turned: Vec<(&str, bool)> = turned.map(|(id, _)| (*id, becomes)).collect();
        if turned.is_empty() {
            return Ok(ChangedAudience { row, created: false, turned: 0 });
        }
        let count = turned.len() as i64;
        let size = row.size + if becomes { count } else { -count };
        if becomes && size > self.uploads.ids_max {
            return Err(ManageError::AudienceTooLarge(self.uploads.ids_max));
        }
        let detail = match edit {
            Edit::Add => json!({"added": count}),
            Edit::Remove => json!({"removed": count}),
        };
        let next = Next { row: &row, generation: row.generation, size, action: edit.as_str(), detail };
        self.turn(caller, environment, change, next, &turned).await
    }

    /// Goes back to the contents of a kept version, which become those of the newest one.
    ///
    /// # Errors
    /// [`ManageError::NotFound`] for contents that are not kept; those of the precondition.
    pub async fn roll_back_audience(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &AudienceKey,
        version: i64,
        precondition: &Precondition,
    ) -> Result<ChangedAudience, ManageError> {
        let mut change = self.begin(environment).await?;
        let row = change.audience(key).await?.ok_or(ManageError::NotFound("audience"))?;
        precondition.check(&format!("audience {key}"), row.version)?;
        let kept = change.kept_version(&row, version).await?;
        let kept = kept.ok_or(ManageError::NotFound("version of the audience whose ids are kept"))?;
        let way = change.way_back(key, kept.generation, kept.version).await?;
        if kept.generation == row.generation && way.is_empty() {
            return Ok(ChangedAudience { row, created: false, turned: 0 });
        }
        let turned: Vec<(&str, bool)> = way.iter().map(|(id, member)| (id.as_str(), *member)).collect();
        let next = Next {
            row: &row,
            generation: kept.generation,
            size: kept.size,
            action: "rollback",
            detail: json!({"to": kept.version}),
        };
        self.turn(caller, environment, change, next, &turned).await
    }

    /// Makes the next version of an audience, and serves it.
    async fn turn(
        &self,
        caller: &Caller,
        environment: &Environment,
        mut change: Change,
        next: Next<'_>,
        turned: &[(&str, bool)],
    ) -> Result<ChangedAudience, ManageError> {
        let Next { row, generation, size, action, mut detail } = next;
        let key = AudienceKey::parse(&row.key).map_err(|_error| ManageError::NotFound("audience"))?;
        let now_ms = self.clock.now_ms();
        let put = change
            .put_audience(AudienceChange {
                key: &key,
                kind: &row.kind,
                expected: Some(row.version),
                generation,
                size,
                at: now_ms,
                actor: &caller.name,
                reason: caller.reason.as_deref(),
                action,
            })
            .await
            .map_err(|error| refused(error, &key))?;
        change.turn_over(&key, generation, put.version, turned).await?;
        if let Some(detail) = detail.as_object_mut() {
            detail.insert("version".into(), put.version.into());
            detail.insert("size".into(), size.into());
            detail.insert("size_before".into(), row.size.into());
        }
        change.audit(audit(caller, now_ms, action, "audience", key.as_str(), &detail.to_string())).await?;
        change.commit_change(&subjects(environment, &key), now_ms).await?;
        self.live.catch_up(environment).await?;
        self.sweep_beside(environment, &key, put.fallen);
        let row = self.audience(environment, &key).await?;
        Ok(ChangedAudience { row, created: false, turned: turned.len() as u64 })
    }

    /// Deletes an audience that no flag asks for; archived flags count, so that they can be restored.
    ///
    /// # Errors
    /// [`ManageError::AudienceInUse`] with the flags, [`ManageError::NotFound`]; that of the precondition, if there is one.
    pub async fn delete_audience(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &AudienceKey,
        precondition: &Precondition,
    ) -> Result<(), ManageError> {
        let mut change = self.begin(environment).await?;
        let row = change.audience(key).await?.ok_or(ManageError::NotFound("audience"))?;
        precondition.check(&format!("audience {key}"), row.version)?;
        let users = environment.published().map(|published| users_of(&published.snapshot, key));
        let users = users.unwrap_or_default();
        if !users.is_empty() {
            return Err(ManageError::AudienceInUse(users));
        }
        let now_ms = self.clock.now_ms();
        let gone = change.delete_audience(key).await.map_err(|error| refused(error, key))?;
        let detail = json!({"version": row.version, "kind": row.kind, "size_before": row.size});
        change.audit(audit(caller, now_ms, "delete", "audience", key.as_str(), &detail.to_string())).await?;
        change.commit_change(&json!({"audiences": [key], "flags": []}).to_string(), now_ms).await?;
        self.live.catch_up(environment).await?;
        self.sweep_beside(environment, key, gone);
        Ok(())
    }
}
