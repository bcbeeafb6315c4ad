//! The audiences of an import: what would change, and storing it inside the import's transaction.

use serde_json::json;

use super::read::{Sent, SentAudience};
use crate::audiences::blocks::{batch, parts};
use crate::engine::flag::{AudienceKind, Faults};
use crate::engine::key::AudienceKey;
use crate::engine::snapshot::Audience;
use crate::engine::validate::Warning;
use crate::live::Environment;
use crate::live::load::part_checksum;
use crate::manage::audiences::AUDIENCES_MAX;
use crate::manage::promote::Action;
use crate::manage::{Caller, Manage, ManageError, audit};
use crate::store::{AudienceChange, AudienceRow, Change, NewPart, Place, StoreError};

/// What becomes of one audience.
pub(super) struct PlannedAudience {
    pub(super) key: AudienceKey,
    pub(super) action: Action,
    /// How many strangers become members.
    pub(super) add: i64,
    /// How many members become strangers.
    pub(super) remove: i64,
    kind: AudienceKind,
    row: Option<AudienceRow>,
}

impl Manage {
    /// Plans for the audiences of `sent`, in their order.
    pub(super) async fn plan_audiences(
        &self,
        environment: &Environment,
        sent: &Sent,
        faults: &mut Faults,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<PlannedAudience>, ManageError> {
        let rows = self.store.audiences(environment.number).await?;
        let mut planned = Vec::with_capacity(sent.audiences.len());
        for audience in &sent.audiences {
            let row = rows.iter().find(|row| row.key == audience.key.as_str()).cloned();
            if !fits(audience, row.as_ref(), faults, warnings) {
                continue;
            }
            let (add, remove) = self.turned(environment, audience, row.as_ref()).await?;
            let action = match &row {
                None => Action::Create,
                Some(_) if add + remove > 0 => Action::Replace,
                Some(_) => Action::Unchanged,
            };
            let (key, kind) = (audience.key.clone(), audience.kind);
            planned.push(PlannedAudience { key, action, add, remove, kind, row });
        }
        let made = planned.iter().filter(|audience| audience.action == Action::Create).count();
        if made > 0 && rows.len() + made > AUDIENCES_MAX {
            let detail = format!("an environment has at most {AUDIENCES_MAX} audiences");
            return Err(ManageError::Quota(detail));
        }
        Ok(planned)
    }

    /// How many ids become members, and how many strangers.
    async fn turned(
        &self,
        environment: &Environment,
        sent: &SentAudience,
        row: Option<&AudienceRow>,
    ) -> Result<(i64, i64), ManageError> {
        let Some(ids) = &sent.ids else { return Ok((0, 0)) };
        let Some(row) = row else { return Ok((ids.len() as i64, 0)) };
        let place =
            Place { environment: environment.number, audience: &sent.key, generation: row.generation };
        let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
        let members = self.store.members(place, &asked, None).await?;
        let members =
            members.ok_or_else(|| StoreError::Unavailable("an audience changed while it was read".into()))?;
        let kept = members.iter().filter(|member| **member).count() as i64;
        Ok((ids.len() as i64 - kept, row.size - kept))
    }

    /// Stores what changes of one audience inside `change`; generations that are kept no more are answered.
    pub(super) async fn store_audience(
        &self,
        caller: &Caller,
        change: &mut Change,
        planned: &PlannedAudience,
        ids: &[String],
    ) -> Result<Vec<i64>, ManageError> {
        let (key, now_ms) = (&planned.key, self.clock.now_ms());
        let secrets = self.live.secrets();
        let keys = &secrets.audiences;
        let (hasher, hash_key) = (keys.newest().map_err(ManageError::Behind)?, keys.newest_number());
        let generation = change.begin_generation(key, now_ms).await?;
        let batch = batch(ids, &hasher);
        change.append_blocks(key, generation, &batch.blocks, now_ms).await?;
        for (part, bytes) in (0..).zip(parts(batch.hashes)) {
            let part = NewPart { part, hashes: &bytes, hash_key, checksum: &part_checksum(&bytes) };
            change.put_part(key, generation, part).await?;
        }
        let size = ids.len() as i64;
        let put = change
            .put_audience(AudienceChange {
                key,
                kind: planned.kind.as_str(),
                expected: Some(planned.row.as_ref().map_or(0, |row| row.version)),
                generation,
                size,
                at: now_ms,
                actor: &caller.name,
                reason: caller.reason.as_deref(),
                action: "import",
            })
            .await?;
        let detail = json!({
            "version": put.version, "kind": planned.kind.as_str(), "size": size,
            "size_before": planned.row.as_ref().map(|row| row.size), "added": planned.add, "removed": planned.remove,
        });
        change.audit(audit(caller, now_ms, "import", "audience", key.as_str(), &detail.to_string())).await?;
        Ok(put.fallen)
    }
}

impl PlannedAudience {
    /// As a snapshot would hold it, for flags that ask for it.
    pub(super) fn made(&self) -> Option<Audience> {
        let Self { key, kind, .. } = self;
        let made = || Audience {
            key: key.clone(),
            kind: *kind,
            version: 1,
            generation: 0,
            size: self.add,
            ids: None,
            read_through: true,
        };
        (self.action == Action::Create).then(made)
    }
}

/// Whether it can be taken; what speaks against it is added to `faults`, what is doubtful to `warnings`.
fn fits(
    sent: &SentAudience,
    row: Option<&AudienceRow>,
    faults: &mut Faults,
    warnings: &mut Vec<Warning>,
) -> bool {
    let (key, at) = (&sent.key, sent.at);
    let Some(row) = row else {
        if sent.ids.is_none() {
            let detail = format!("{key:?} comes without ids, so it must be here already: upload it first");
            faults.add(format!("/audiences/{at}/key"), "unknown_audience", detail);
        }
        return sent.ids.is_some();
    };
    if row.kind != sent.kind.as_str() {
        let detail =
            format!("{key:?} holds ids of kind {} here, which is fixed since its creation", row.kind);
        faults.add(format!("/audiences/{at}/kind"), "audience_kind", detail);
        return false;
    }
    if let (None, Some(size)) = (&sent.ids, sent.size)
        && size != row.size
    {
        warnings.push(Warning {
            pointer: format!("/audiences/{at}/size"),
            code: "audience_size",
            detail: format!("{key:?} comes without ids and had {size}; here it has {}, which stay", row.size),
        });
    }
    true
}
