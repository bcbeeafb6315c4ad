//! The one transaction of a flag's change: flag, version, stage, audit row, number.

use serde_json::{Value, json};

use super::{Changed, Proposal, standing_of, state_difference, state_of, stored_forms};
use crate::engine::diff::{Difference, diff};
use crate::engine::flag::State;
use crate::engine::key::FlagKey;
use crate::live::Environment;
use crate::live::load::checksum;
use crate::manage::stage::{self, Form, Move, Standing};
use crate::manage::{Caller, Manage, ManageError, audit};
use crate::store::{Change, FlagRow, FlagUpdate, NewFlag, StageRow, VersionRow};

/// A change of a flag that has begun: its environment is locked.
pub(super) struct Edit<'e> {
    pub(super) caller: &'e Caller,
    pub(super) environment: &'e Environment,
    pub(super) change: Change,
    pub(super) key: &'e FlagKey,
    /// As it is stored; `None`: it is new.
    pub(super) row: Option<FlagRow>,
    pub(super) action: &'e str,
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
    /// Stores a proposal, and serves it. One that changes nothing keeps its version.
    pub(super) async fn write(&self, edit: Edit<'_>, proposal: Proposal) -> Result<Changed, ManageError> {
        let old = edit.row.as_ref().and_then(|row| Some((stored_forms(row).ok()?, state_of(row))));
        if let Some(((_, old), state)) = &old
            && *old == proposal.document
            && *state == proposal.state
        {
            let published = edit.environment.published().ok_or(ManageError::NotFound("environment"))?;
            return Ok(Changed {
                published,
                key: edit.key.clone(),
                warnings: proposal.warnings,
                created: false,
            });
        }
        let standing = edit.row.as_ref().map_or(Standing { open: None, count: 0 }, standing_of);
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
        let changed = self.store_content(edit, content).await?;
        Ok(Changed { warnings: proposal.warnings, ..changed })
    }

    /// Shuts a flag whose document cannot be read: nothing of it is looked at.
    pub(super) async fn shut_unreadable(&self, edit: Edit<'_>, state: State) -> Result<Changed, ManageError> {
        let row = edit.row.as_ref().ok_or(ManageError::NotFound("flag"))?;
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
        self.store_content(edit, content).await
    }

    async fn store_content(&self, edit: Edit<'_>, content: Content) -> Result<Changed, ManageError> {
        let Edit { caller, environment, mut change, key, row, action } = edit;
        let now_ms = self.clock.now_ms();
        let update = FlagUpdate {
            document: &content.text,
            sha256: &content.sha256,
            state: content.state.as_str(),
            stage_open: content.moved.after.open,
            stages: content.moved.after.count,
            at: now_ms,
            by: &caller.name,
        };
        let (flag, version) = match &row {
            Some(row) => (row.number, change.update_flag(key, row.version, update).await?),
            None => (change.insert_flag(NewFlag { key, content: update }).await?, 1),
        };
        let kept = VersionRow {
            flag,
            version,
            document: content.text,
            sha256: content.sha256,
            state: content.state.as_str().to_owned(),
            at: now_ms,
            actor: caller.name.clone(),
            reason: caller.reason.clone(),
            action: action.to_owned(),
            diff: Some(json!(content.diff).to_string()),
        };
        change.append_version(&kept).await?;
        if let Some((stage, at)) = content.moved.close {
            change.close_stage(flag, stage, at).await?;
        }
        if let Some(stage) = content.moved.open {
            let deciding = content.deciding;
            change
                .open_stage(&StageRow { flag, stage, opened_at: now_ms, closed_at: None, version, deciding })
                .await?;
        }
        let detail = json!({
            "version": version, "state": content.state.as_str(), "stage": content.moved.after.open, "diff": content.diff,
        });
        change.audit(audit(caller, now_ms, action, "flag", key.as_str(), &detail.to_string())).await?;
        change.commit_change(&json!({"flags": [key]}).to_string(), now_ms).await?;
        let published = self.live.catch_up(environment).await?;
        Ok(Changed { published, key: key.clone(), warnings: Vec::new(), created: row.is_none() })
    }
}
