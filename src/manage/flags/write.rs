//! The one way a flag's change is stored: flag, version, stage and audit row, inside a transaction that may hold
//! other changes too; then its number, and the snapshot that serves it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::held::Held;
use super::{Changed, Proposal, standing_of, state_difference, state_of};
use crate::engine::diff::{Difference, diff};
use crate::engine::flag::{Document, State};
use crate::engine::key::FlagKey;
use crate::live::load::checksum;
use crate::live::{Environment, Published};
use crate::manage::stage::{self, Form, Move, Standing};
use crate::manage::{Caller, Manage, ManageError, audit};
use crate::store::{Change, FlagRow, FlagUpdate, NewFlag, StageRow, StoreError, VersionRow};

/// A change of one flag, inside a transaction that has locked its environment.
pub(in crate::manage) struct Edit<'e> {
    pub(in crate::manage) caller: &'e Caller,
    pub(in crate::manage) key: &'e FlagKey,
    /// As it is stored; `None`: it is new.
    pub(in crate::manage) row: Option<&'e Held>,
    pub(in crate::manage) action: &'e str,
    /// Where it came from, for the audit; `None`: from its caller.
    pub(in crate::manage) origin: Option<&'e Value>,
}

/// What is to be stored.
struct Content {
    text: String,
    sha256: String,
    state: State,
    moved: Move,
    /// What is stored with a stage that begins.
    deciding: String,
    diff: Vec<Difference>,
}

impl Manage {
    /// Stores one flag's proposal alone, and serves it. One that changes nothing keeps its version.
    pub(super) async fn write(
        &self,
        environment: &Environment,
        mut change: Change,
        edit: Edit<'_>,
        proposal: Proposal,
    ) -> Result<Changed, ManageError> {
        let (key, created) = (edit.key.clone(), edit.row.is_none());
        let published = match self.store_flag(&mut change, &edit, &proposal).await? {
            Some(row) => {
                let stored = (row, Some(proposal.document.clone()));
                self.serve_flag(environment, change, stored).await?
            }
            // That nothing changes is known only of what is stored.
            None if change.is_assumed() => return Err(StoreError::Moved.into()),
            None => environment.published().ok_or(ManageError::NotFound("environment"))?,
        };
        Ok(Changed { published, key, warnings: proposal.warnings, created })
    }

    /// Stores a proposal inside `change`; the flag as it is stored then, or `None` where it changes nothing.
    pub(in crate::manage) async fn store_flag(
        &self,
        change: &mut Change,
        edit: &Edit<'_>,
        proposal: &Proposal,
    ) -> Result<Option<FlagRow>, ManageError> {
        let old = edit.row.and_then(|row| Some((row.forms().ok()?, state_of(row))));
        if let Some(((_, old), state)) = &old
            && *old == proposal.document
            && *state == proposal.state
            && !self.is_frozen(change.environment(), edit.key)
        {
            return Ok(None);
        }
        let standing = edit.row.map_or(Standing { open: None, count: 0 }, |row| standing_of(row));
        let old_form = old.as_ref().map(|((_, document), state)| Form { document, state: *state });
        let new_form = Form { document: &proposal.document, state: proposal.state };
        let moved = stage::moved(standing, old_form, new_form, self.clock.now_ms());
        let mut differences =
            diff(old.as_ref().map_or(&Value::Null, |((value, _), _)| value), &proposal.value);
        if let Some((_, state)) = &old
            && *state != proposal.state
        {
            differences.push(state_difference(*state, proposal.state));
        }
        let text = proposal.value.to_string();
        let content = Content {
            sha256: checksum(&text),
            text,
            state: proposal.state,
            moved,
            deciding: stage::deciding(&proposal.document).to_string(),
            diff: differences,
        };
        self.store_content(change, edit, content).await.map(Some)
    }

    /// Shuts a flag whose document cannot be read: nothing of it is looked at.
    pub(super) async fn shut_unreadable(
        &self,
        environment: &Environment,
        mut change: Change,
        edit: Edit<'_>,
        state: State,
    ) -> Result<Changed, ManageError> {
        let row = edit.row.ok_or(ManageError::NotFound("flag"))?;
        let standing = standing_of(row);
        let close = standing.open.map(|stage| (stage, self.clock.now_ms()));
        let content = Content {
            text: row.document.clone(),
            sha256: row.sha256.clone(),
            state,
            moved: Move { close, open: None, after: Standing { open: None, count: standing.count } },
            deciding: String::new(),
            diff: vec![state_difference(state_of(row), state)],
        };
        let row = self.store_content(&mut change, &edit, content).await?;
        let published = self.serve_flag(environment, change, (row, None)).await?;
        Ok(Changed { published, key: edit.key.clone(), warnings: Vec::new(), created: false })
    }

    /// Commits a change of one flag with the environment's next number, and decides by it: by the document of what was stored,
    /// if that can be read.
    pub(in crate::manage) async fn serve_flag(
        &self,
        environment: &Environment,
        change: Change,
        stored: (FlagRow, Option<Arc<Document>>),
    ) -> Result<Arc<Published>, ManageError> {
        let (subjects, now_ms) = (json!({"flags": [stored.0.key]}).to_string(), self.clock.now_ms());
        let number = change.commit_change(&subjects, now_ms).await?;
        Ok(self.live.follow(environment, number, stored, now_ms).await?)
    }

    /// The version of a flag that decides here: above the stored one where that fell.
    fn served_version(&self, environment: i64, key: &FlagKey) -> i64 {
        let published = self.live.by_number(environment).and_then(|environment| environment.published());
        published
            .and_then(|published| Some(published.snapshot.find(key.as_str())?.version))
            .unwrap_or_default()
    }

    /// Whether an older form of a flag decides here: then storing the same again makes it whole.
    fn is_frozen(&self, environment: i64, key: &FlagKey) -> bool {
        let published = self.live.by_number(environment).and_then(|environment| environment.published());
        published.is_some_and(|published| {
            published.snapshot.find(key.as_str()).is_some_and(|flag| flag.frozen.is_some())
        })
    }

    async fn store_content(
        &self,
        change: &mut Change,
        edit: &Edit<'_>,
        content: Content,
    ) -> Result<FlagRow, ManageError> {
        let Edit { caller, key, row, action, origin } = *edit;
        let now_ms = self.clock.now_ms();
        let mut stored = FlagRow {
            number: 0,
            key: key.to_string(),
            version: 0,
            document: content.text,
            sha256: content.sha256,
            state: content.state.as_str().to_owned(),
            stage_open: content.moved.after.open,
            stages: content.moved.after.count,
            updated_at: now_ms,
            updated_by: caller.name.clone(),
        };
        let served = self.served_version(change.environment(), key);
        let before = row.map_or(0, |row| row.version.max(served));
        stored.version = before + 1;
        stored.number = match row {
            Some(row) if before > row.version => {
                change.raise_version(key, before).await?;
                row.number
            }
            Some(row) => row.number,
            None => change.insert_flag(NewFlag { key, content: update(&stored) }).await?,
        };
        change.append_version(&version(&stored, caller, action, &content.diff)).await?;
        let (flag, version) = (stored.number, stored.version);
        if let Some((stage, at)) = content.moved.close {
            change.close_stage(flag, stage, at).await?;
        }
        if let Some(stage) = content.moved.open {
            let deciding = content.deciding;
            change
                .open_stage(&StageRow { flag, stage, opened_at: now_ms, closed_at: None, version, deciding })
                .await?;
        }
        let mut detail = json!({
            "version": version, "state": content.state.as_str(), "stage": content.moved.after.open, "diff": content.diff,
        });
        if let (Value::Object(detail), Some(origin)) = (&mut detail, origin) {
            detail.insert("origin".into(), origin.clone());
        }
        change.audit(audit(caller, now_ms, action, "flag", key.as_str(), &detail.to_string())).await?;
        if row.is_some() {
            change.update_flag(key, before, update(&stored)).await?;
        }
        Ok(stored)
    }
}

fn update(stored: &FlagRow) -> FlagUpdate<'_> {
    FlagUpdate {
        document: &stored.document,
        sha256: &stored.sha256,
        state: &stored.state,
        stage_open: stored.stage_open,
        stages: stored.stages,
        at: stored.updated_at,
        by: &stored.updated_by,
    }
}

/// What is kept of a flag as it is stored.
fn version(stored: &FlagRow, caller: &Caller, action: &str, diff: &[Difference]) -> VersionRow {
    VersionRow {
        flag: stored.number,
        version: stored.version,
        document: stored.document.clone(),
        sha256: stored.sha256.clone(),
        state: stored.state.clone(),
        at: stored.updated_at,
        actor: caller.name.clone(),
        reason: caller.reason.clone(),
        action: action.to_owned(),
        diff: Some(json!(diff).to_string()),
    }
}
