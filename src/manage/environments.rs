//! Environments: made, renamed; what they demand of clients' units, and the secrets that sign those.

use serde_json::{Value, json};

use super::{Caller, Manage, ManageError, Page, audit};
use crate::access::Actor;
use crate::engine::diff::diff;
use crate::engine::key::{EnvironmentKey, is_plain};
use crate::live::Environment;
use crate::live::signing::{EnvironmentSettings, UnitSecret};
use crate::random::base32;
use crate::store::{Change, EnvironmentRow, NewEnvironment, StoreError};

/// Most environments: each instance holds all of them in memory and asks for each once a second.
pub const ENVIRONMENTS_MAX: usize = 100;
/// Longest name of an environment in characters.
const NAME_CHARACTERS_MAX: usize = 100;
/// Most unit secrets of an environment: the old and the new one of a rotation.
const UNIT_SECRETS_MAX: usize = 2;
/// Random characters of a unit secret: 260 bits.
const SECRET_CHARACTERS: usize = 52;

/// An environment as it is stored. No `Debug`: its settings hold secrets.
pub struct StoredEnvironment {
    /// Its row.
    pub row: EnvironmentRow,
    /// The settings that stand in it.
    pub settings: EnvironmentSettings,
}

/// A change of an environment; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentChange {
    /// Its name, for people.
    pub name: Option<String>,
    /// Whether a client's unit counts only if it is signed.
    pub require_signed_units: Option<bool>,
}

impl StoredEnvironment {
    fn read(row: EnvironmentRow) -> Result<Self, ManageError> {
        let settings = EnvironmentSettings::parse(&row.settings)
            .map_err(|why| StoreError::Corrupt { what: format!("environment {}: {why}", row.key) })?;
        Ok(Self { row, settings })
    }

    /// What people may change of it.
    fn shown(&self) -> Value {
        json!({"name": self.row.name, "require_signed_units": self.settings.require_signed_units})
    }
}

impl Manage {
    /// A page of the environments that `actor` may see, in order of their keys.
    ///
    /// # Errors
    /// [`ManageError`] of the database.
    pub async fn environments(
        &self,
        actor: &Actor,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<StoredEnvironment>, ManageError> {
        let mut rows = self.store.environments().await?;
        rows.retain(|row| actor.environment.is_none_or(|own| own == row.number));
        rows.retain(|row| after.is_none_or(|after| row.key.as_str() > after));
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows.truncate(limit + 1);
        let read = rows.into_iter().map(StoredEnvironment::read).collect::<Result<_, _>>()?;
        Ok(Page::cut(read, limit, |environment: &StoredEnvironment| environment.row.key.clone()))
    }

    /// One environment.
    ///
    /// # Errors
    /// [`ManageError`] of the database.
    pub async fn environment(&self, environment: &Environment) -> Result<StoredEnvironment, ManageError> {
        let rows = self.store.environments().await?;
        let row = rows.into_iter().find(|row| row.number == environment.number);
        StoredEnvironment::read(row.ok_or(ManageError::NotFound("environment"))?)
    }

    /// Makes an environment without flags, which serves at once. Only a key of all environments may.
    ///
    /// # Errors
    /// [`ManageError::EnvironmentExists`], [`ManageError::EnvironmentInvalid`], [`ManageError::Forbidden`],
    /// [`ManageError::Quota`].
    pub async fn create_environment(
        &self,
        caller: &Caller,
        actor: &Actor,
        key: &EnvironmentKey,
        name: Option<String>,
    ) -> Result<StoredEnvironment, ManageError> {
        if actor.environment.is_some() {
            return Err(ManageError::Forbidden("only a key of all environments makes new ones"));
        }
        let name = name.unwrap_or_else(|| key.to_string());
        check_name(&name)?;
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.keys_change().await?;
        if tx.environments_count().await? >= ENVIRONMENTS_MAX as i64 {
            return Err(ManageError::Quota(format!("there are at most {ENVIRONMENTS_MAX} environments")));
        }
        let new = NewEnvironment { key, name: &name, settings: "{}", created_at: now_ms };
        tx.insert_environment(new).await.map_err(|error| match error {
            StoreError::Exists => ManageError::EnvironmentExists(key.to_string()),
            other => other.into(),
        })?;
        let detail = json!({ "name": name }).to_string();
        tx.audit(audit(caller, now_ms, "create", "environment", key.as_str(), &detail)).await?;
        let row = tx.environment_row().await?;
        let snapshot = tx.commit_change("{}", now_ms).await?;
        self.live.refresh().await?;
        StoredEnvironment::read(EnvironmentRow { snapshot, ..row })
    }

    /// Renames an environment, or changes what it demands of clients' units. What is so already changes nothing.
    ///
    /// # Errors
    /// [`ManageError::EnvironmentInvalid`] for a name that cannot be taken.
    pub async fn change_environment(
        &self,
        caller: &Caller,
        environment: &Environment,
        wish: EnvironmentChange,
    ) -> Result<StoredEnvironment, ManageError> {
        let mut change = self.begin(environment).await?;
        let mut stored = StoredEnvironment::read(change.environment_row().await?)?;
        let before = stored.shown();
        if let Some(name) = wish.name {
            check_name(&name)?;
            stored.row.name = name;
        }
        if let Some(required) = wish.require_signed_units {
            stored.settings.require_signed_units = required;
        }
        let differences = diff(&before, &stored.shown());
        if differences.is_empty() {
            return Ok(stored);
        }
        let detail = json!({ "diff": differences });
        let done = ("update", "environment", environment.key.as_str());
        self.store_settings(caller, environment, change, &mut stored, done, &detail).await?;
        Ok(stored)
    }

    /// Makes a secret that units may be signed with; its text is shown this once.
    ///
    /// # Errors
    /// [`ManageError::UnitSecretLimit`] where two are valid already.
    pub async fn create_unit_secret(
        &self,
        caller: &Caller,
        environment: &Environment,
    ) -> Result<UnitSecret, ManageError> {
        let mut change = self.begin(environment).await?;
        let mut stored = StoredEnvironment::read(change.environment_row().await?)?;
        if stored.settings.unit_secrets.len() >= UNIT_SECRETS_MAX {
            return Err(ManageError::UnitSecretLimit);
        }
        let made = UnitSecret {
            id: uuid::Uuid::now_v7().to_string(),
            // With a name in front, so that scanners find a leaked one.
            secret: format!("huidu_unit_{}", base32(&*self.random, SECRET_CHARACTERS)?),
            created_at: self.clock.now_ms(),
        };
        stored.settings.unit_secrets.push(made.clone());
        let done = ("create", "unit_secret", made.id.as_str());
        self.store_settings(caller, environment, change, &mut stored, done, &json!({})).await?;
        Ok(made)
    }

    /// Takes a unit secret away: what it signed is refused from now on.
    ///
    /// # Errors
    /// [`ManageError::NotFound`] for an unknown one.
    pub async fn delete_unit_secret(
        &self,
        caller: &Caller,
        environment: &Environment,
        id: &str,
    ) -> Result<(), ManageError> {
        let mut change = self.begin(environment).await?;
        let mut stored = StoredEnvironment::read(change.environment_row().await?)?;
        let before = stored.settings.unit_secrets.len();
        stored.settings.unit_secrets.retain(|secret| secret.id != id);
        if stored.settings.unit_secrets.len() == before {
            return Err(ManageError::NotFound("unit secret"));
        }
        let done = ("delete", "unit_secret", id);
        self.store_settings(caller, environment, change, &mut stored, done, &json!({})).await
    }

    /// Stores name and settings with the audit row `done` (action, kind, subject), and decides by them.
    async fn store_settings(
        &self,
        caller: &Caller,
        environment: &Environment,
        mut change: Change,
        stored: &mut StoredEnvironment,
        done: (&str, &str, &str),
        detail: &Value,
    ) -> Result<(), ManageError> {
        let now_ms = self.clock.now_ms();
        change.update_environment(&stored.row.name, &stored.settings.text()).await?;
        let (action, kind, subject) = done;
        change.audit(audit(caller, now_ms, action, kind, subject, &detail.to_string())).await?;
        stored.row.snapshot = change.commit_change(r#"{"settings":true}"#, now_ms).await?;
        self.live.catch_up(environment).await?;
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), ManageError> {
    let named = (1..=NAME_CHARACTERS_MAX).contains(&name.chars().count()) && is_plain(name);
    if named {
        return Ok(());
    }
    Err(ManageError::EnvironmentInvalid(format!(
        "`name` has 1 to {NAME_CHARACTERS_MAX} characters, none of them control, invisible or direction-turning ones"
    )))
}
