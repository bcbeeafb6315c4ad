//! What is stored of one unit: told, or erased.

mod mentions;

use std::sync::Arc;

use serde_json::{Value, json};

use super::pieces::{Pace, Piece};
use super::{Caller, Manage, ManageError, audit};
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::events::Queue;
use crate::live::{Environment, Published};
use crate::store::{AuditRow, ExposureRow, StoredStep, StoredUnit};

/// Rows that are read at a time.
const ROWS_PER_READ: i64 = 1_000;
/// Audit rows that are looked through at a time.
const AUDIT_PER_READ: i64 = 20_000;
/// Characters of a hidden name.
const HIDDEN_CHARACTERS: usize = 32;
/// What the key of hidden names is derived for.
const HIDDEN_PURPOSE: &str = "huidu audit: names of units";

/// A unit, as somebody names it and as it is stored.
#[derive(Debug, Clone)]
pub struct UnitName {
    /// What kind of unit it is, such as `user.id`.
    pub attribute: String,
    /// As it is named.
    pub unit: String,
    /// As events hold it: the same, or its hash.
    pub stored: String,
}

/// What was erased of a unit.
#[derive(Debug, Clone, Default)]
pub struct Erased {
    /// Exposures that were deleted.
    pub exposures: u64,
    /// Steps that were deleted.
    pub steps: u64,
    /// Audiences that it was taken out of, the contents kept for rollback included.
    pub audiences: Vec<AudienceKey>,
    /// Audit rows in which its name was hidden.
    pub audit: u64,
    /// Versions of flags and audiences in whose reason its name was hidden.
    pub versions: u64,
    /// Flags whose conditions name it: people wrote it there, people take it out.
    pub named_in_flags: Vec<String>,
}

/// What is stored of a unit, except its steps, which come page by page.
#[derive(Debug)]
pub struct Told {
    /// The snapshot that knows the flags' keys.
    pub published: Arc<Published>,
    /// Its exposures.
    pub exposures: Vec<ExposureRow>,
    /// Audiences that it is in.
    pub audiences: Vec<AudienceKey>,
    /// Audit rows that name it.
    pub audit: Vec<AuditRow>,
    /// Flags whose conditions name it.
    pub named_in_flags: Vec<String>,
}

impl UnitName {
    fn in_environment(&self, environment: i64) -> StoredUnit<'_> {
        StoredUnit { environment, attribute: &self.attribute, unit: &self.stored }
    }

    /// The kind of audiences that hold such units.
    fn kind(&self) -> AudienceKind {
        if self.attribute == "user.id" { AudienceKind::User } else { AudienceKind::Other }
    }
}

impl Manage {
    /// Erases a unit from an environment: its exposures and steps, its place in audiences, its name in the audit.
    /// Events that wait are stored first, so that none of them comes after. Done again it finds nothing; stopped
    /// anywhere, it is done again.
    ///
    /// # Errors
    /// [`ManageError::Events`] if waiting events could not be stored, and any failure of a write.
    pub async fn erase_unit(
        &self,
        caller: &Caller,
        environment: &Environment,
        events: &Queue,
        unit: &UnitName,
    ) -> Result<Erased, ManageError> {
        let hidden = self.hidden_name(unit).await?;
        let caller = &without_name(caller, unit, &hidden);
        // Who asked is known even if this ends half-way.
        self.note(caller, environment, "erase", &hidden, &json!({"attribute": unit.attribute})).await?;
        events.flush().await?;
        self.store.place_steps().await?;
        let (stored, mut pace) = (unit.in_environment(environment.number), Pace::default());
        let mut erased = Erased {
            exposures: self.delete_in_pieces(Piece::Exposures(stored), None, &mut pace).await?,
            steps: self.delete_in_pieces(Piece::Steps(stored), None, &mut pace).await?,
            ..Erased::default()
        };
        erased.audiences = self.take_out_of_audiences(caller, environment, unit.kind(), &unit.unit).await?;
        erased.audit = self.hide_in_audit(environment, unit, &hidden).await?;
        erased.versions = self.hide_in_reasons(environment, unit, &hidden).await?;
        let published = environment.published().ok_or(ManageError::NotFound("environment"))?;
        erased.named_in_flags = flags_naming(&published, &unit.unit);
        let detail = json!({
            "attribute": unit.attribute, "exposures": erased.exposures, "steps": erased.steps,
            "audiences": erased.audiences, "audit": erased.audit, "versions": erased.versions,
        });
        let now_ms = self.clock.now_ms();
        let mut change = self.begin(environment).await?;
        change.audit(audit(caller, now_ms, "erased", "unit", &hidden, &detail.to_string())).await?;
        // What instances remember of stored events is forgotten by this number.
        change.commit_change(&json!({"erased": true}).to_string(), now_ms).await?;
        self.live.catch_up(environment).await?;
        Ok(erased)
    }

    /// What is stored of a unit; its steps by [`Manage::steps_of_unit`].
    ///
    /// # Errors
    /// As of [`Manage::erase_unit`].
    pub async fn tell_unit(
        &self,
        caller: &Caller,
        environment: &Environment,
        events: &Queue,
        unit: &UnitName,
    ) -> Result<Told, ManageError> {
        let hidden = self.hidden_name(unit).await?;
        let caller = &without_name(caller, unit, &hidden);
        self.note(caller, environment, "export", &hidden, &json!({"attribute": unit.attribute})).await?;
        events.flush().await?;
        let published = environment.published().ok_or(ManageError::NotFound("environment"))?;
        let mut exposures: Vec<ExposureRow> = Vec::new();
        loop {
            let after = exposures.last().map_or((i64::MIN, 0, ""), |row| (row.flag, row.stage, &*row.rule));
            let stored = unit.in_environment(environment.number);
            let page = self.store.exposures_of(stored, after, ROWS_PER_READ).await?;
            let more = page.len() as i64 == ROWS_PER_READ;
            exposures.extend(page);
            if !more {
                break;
            }
        }
        Ok(Told {
            exposures,
            audiences: self.audiences_with(environment, unit.kind(), &unit.unit).await?,
            audit: self.audit_naming(environment, unit).await?,
            named_in_flags: flags_naming(&published, &unit.unit),
            published,
        })
    }

    /// A page of a unit's steps, after one of them, by step and id; a short page is the last.
    ///
    /// # Errors
    /// [`ManageError`] of the database.
    pub async fn steps_of_unit(
        &self,
        environment: i64,
        unit: &UnitName,
        after: Option<&StoredStep>,
    ) -> Result<Vec<StoredStep>, ManageError> {
        let after = after.map_or(("", ""), |row| (&*row.step, &*row.id));
        Ok(self.store.steps_of(unit.in_environment(environment), after, ROWS_PER_READ).await?)
    }

    /// The name under which the audit speaks of a unit: a hash keyed with a secret of the database.
    async fn hidden_name(&self, unit: &UnitName) -> Result<String, ManageError> {
        let secrets = self.store.secrets("unit_ids").await?;
        let secret = secrets.first().map(|row| row.value.as_slice()).unwrap_or_default();
        let mut hasher = blake3::Hasher::new_keyed(&blake3::derive_key(HIDDEN_PURPOSE, secret));
        hasher.update(unit.attribute.as_bytes()).update(&[0]).update(unit.unit.as_bytes());
        Ok(hasher.finalize().to_hex().chars().take(HIDDEN_CHARACTERS).collect())
    }

    async fn note(
        &self,
        caller: &Caller,
        environment: &Environment,
        action: &str,
        subject: &str,
        detail: &Value,
    ) -> Result<(), ManageError> {
        let mut change = self.store.change(environment.number).await?;
        let detail = detail.to_string();
        change.audit(audit(caller, self.clock.now_ms(), action, "unit", subject, &detail)).await?;
        Ok(change.commit().await?)
    }

    /// Audit rows that name a unit, newest first.
    async fn audit_naming(
        &self,
        environment: &Environment,
        unit: &UnitName,
    ) -> Result<Vec<AuditRow>, ManageError> {
        let mut found = Vec::new();
        let mut before = None;
        loop {
            let page =
                self.store.audit_with_text(environment.number, &unit.unit, before, AUDIT_PER_READ).await?;
            found.extend(page.rows.into_iter().filter(|row| hide(row.clone(), &unit.unit, "").is_some()));
            before = page.next;
            if before.is_none() {
                return Ok(found);
            }
        }
    }

    /// Hides a unit's name in the audit; in how many rows is answered.
    async fn hide_in_audit(
        &self,
        environment: &Environment,
        unit: &UnitName,
        hidden: &str,
    ) -> Result<u64, ManageError> {
        let mut count = 0;
        for named in self.audit_naming(environment, unit).await? {
            let mut change = self.store.change(environment.number).await?;
            // Another erasure may have hidden another name in it meanwhile.
            let Some(row) = change.audit_row(named.id).await? else { continue };
            let Some(row) = hide(row, &unit.unit, hidden) else { continue };
            change.rewrite_audit(&row).await?;
            change.commit().await?;
            count += 1;
        }
        Ok(count)
    }

    /// Hides a unit's name in the reasons of versions; in how many is answered.
    async fn hide_in_reasons(
        &self,
        environment: &Environment,
        unit: &UnitName,
        hidden: &str,
    ) -> Result<u64, ManageError> {
        let mut count = 0;
        for row in self.store.reasons_with_text(environment.number, &unit.unit).await? {
            let Some(instead) = mentions::hidden_in_text(&row.reason, &unit.unit, hidden) else { continue };
            let mut change = self.store.change(environment.number).await?;
            count += u64::from(change.rewrite_reason(&row, &instead).await?);
            change.commit().await?;
        }
        Ok(count)
    }
}

/// A caller whose reason does not name the unit.
fn without_name(caller: &Caller, unit: &UnitName, hidden: &str) -> Caller {
    let mut caller = caller.clone();
    let reason = caller.reason.as_deref().and_then(|text| mentions::hidden_in_text(text, &unit.unit, hidden));
    caller.reason = reason.or(caller.reason);
    caller
}

/// `row` without the name `unit`; `None` if it does not name it.
fn hide(mut row: AuditRow, unit: &str, hidden: &str) -> Option<AuditRow> {
    let mut found = false;
    if let Ok(mut detail) = serde_json::from_str::<Value>(&row.detail)
        && mentions::hide(&mut detail, unit, hidden)
    {
        row.detail = detail.to_string();
        found = true;
    }
    if let Some(reason) = row.reason.as_deref().and_then(|text| mentions::hidden_in_text(text, unit, hidden))
    {
        row.reason = Some(reason);
        found = true;
    }
    if row.subject_kind == "unit" && row.subject == unit {
        hidden.clone_into(&mut row.subject);
        found = true;
    }
    found.then_some(row)
}

/// The flags whose documents name `unit` in a condition.
fn flags_naming(published: &Published, unit: &str) -> Vec<String> {
    // As it stands inside a JSON text.
    let text = Value::from(unit).to_string();
    let named = published.snapshot.sorted().filter(|flag| {
        flag.json.contains(&text)
            && serde_json::from_str::<Value>(&flag.json).is_ok_and(|json| mentions::names(&json, unit))
    });
    named.map(|flag| flag.key.to_string()).collect()
}
