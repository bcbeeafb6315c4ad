//! Flags: create, replace, ramp, kill, restore, archive, roll back.

pub(super) mod held;
pub(super) mod write;

use std::sync::Arc;

use serde_json::Value;

use held::Held;
use write::Edit;

use super::stage::Standing;
use super::{Caller, FLAGS_MAX, Manage, ManageError, Page, Precondition};
use crate::engine::compile::{CompiledFlag, StoredFlag};
use crate::engine::diff::Difference;
use crate::engine::flag::{Document, Faults, Serve, State, read};
use crate::engine::key::FlagKey;
use crate::engine::snapshot::Snapshot;
use crate::engine::validate::{Warning, validate};
use crate::live::load::forms;
use crate::live::{Environment, Published};
use crate::random::{Random, base32};
use crate::store::{Change, FlagRow, StoreError, VersionRow};

/// Characters of a salt that nobody gave.
const SALT_CHARACTERS: usize = 26;

/// A flag after a change.
pub struct Changed {
    /// The snapshot that it decides in.
    pub published: Arc<Published>,
    /// Its key.
    pub key: FlagKey,
    /// What is doubtful about it.
    pub warnings: Vec<Warning>,
    /// Whether it is new.
    pub created: bool,
}

impl Changed {
    /// The flag as it now decides.
    #[must_use]
    pub fn flag(&self) -> Option<&Arc<CompiledFlag>> {
        self.published.snapshot.find(self.key.as_str())
    }
}

/// A change of a percentage.
#[derive(Debug, Clone)]
pub struct RolloutChange {
    /// Which rule; may be left out where one rollout exists.
    pub rule: Option<String>,
    /// The new percentage, as sent.
    pub percent: Value,
    /// The new control, as sent; left as it is where absent.
    pub control: Option<Value>,
}

/// A new form of a flag, read and checked.
pub(super) struct Proposal {
    pub(super) value: Value,
    pub(super) document: Arc<Document>,
    pub(super) state: State,
    pub(super) warnings: Vec<Warning>,
}

impl Manage {
    /// Creates or replaces a flag. One that changes nothing keeps its version.
    ///
    /// # Errors
    /// [`ManageError::Invalid`] with every fault; those of the precondition.
    pub async fn put_flag(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &FlagKey,
        value: Value,
        precondition: &Precondition,
    ) -> Result<Changed, ManageError> {
        let (change, row) = self.begin_flag(environment, key).await?;
        let row = stored(key, row, precondition)?;
        let state = row.as_ref().map_or(State::Live, |row| state_of(row));
        let action = if row.is_some() { "replace" } else { "create" };
        let proposal = self.propose(environment, key, value, state, row.as_ref())?;
        let edit = Edit { caller, key, row: row.as_ref(), action, origin: None };
        self.write(environment, change, edit, proposal).await
    }

    /// Applies a JSON Merge Patch (RFC 7396) to the stored document.
    ///
    /// # Errors
    /// [`ManageError::Invalid`] with every fault of the result; those of the precondition.
    pub async fn patch_flag(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &FlagKey,
        patch: &Value,
        precondition: &Precondition,
    ) -> Result<Changed, ManageError> {
        let (change, row) = self.begin_flag(environment, key).await?;
        let row = existing(key, row, precondition)?;
        let mut value = row.forms()?.0.clone();
        json_patch::merge(&mut value, patch);
        let proposal = self.propose(environment, key, value, state_of(&row), Some(&row))?;
        let edit = Edit { caller, key, row: Some(&row), action: "patch", origin: None };
        self.write(environment, change, edit, proposal).await
    }

    /// A snapshot in which the flag `key` is live with the document `value`: to explain a draft that nobody stored.
    ///
    /// # Errors
    /// [`ManageError::Invalid`] with every fault of the draft.
    pub async fn draft(
        &self,
        environment: &Environment,
        key: &FlagKey,
        value: Value,
    ) -> Result<Snapshot, ManageError> {
        let published = environment.published().ok_or(ManageError::NotFound("environment"))?;
        let row = self.store.flag(environment.number, key).await?;
        let row = row.map(|row| Held::new(row, Some(&published.snapshot)));
        let proposal = self.propose(environment, key, value, State::Live, row.as_ref())?;
        let draft = StoredFlag {
            key: key.clone(),
            number: row.as_ref().map_or(0, |row| row.number),
            version: row.as_ref().map_or(0, |row| row.version),
            state: State::Live,
            stage: Some(row.as_ref().map_or(1, |row| row.stages + 1)),
            stages: None,
            expired: false,
            updated_at: self.clock.now_ms(),
            updated_by: "draft".into(),
            json: proposal.value.to_string().into(),
            document: Ok(proposal.document),
        };
        Ok(published.snapshot.next(published.snapshot.number(), Vec::new(), vec![draft]))
    }

    /// Moves the percentage, and the control if given, of one rollout.
    ///
    /// # Errors
    /// [`ManageError::Invalid`] where no such rollout exists or the numbers do not fit; those of the precondition.
    pub async fn roll_out(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &FlagKey,
        rollout: RolloutChange,
        precondition: &Precondition,
    ) -> Result<Changed, ManageError> {
        let rollout = &rollout;
        let made = self.change_flag(environment, key, |change, row| async move {
            let row = existing(key, row, precondition)?;
            let (value, typed) = row.forms()?;
            let at = rollout_rule(typed, rollout.rule.as_deref())?;
            let mut value = value.clone();
            if let Some(target) =
                value.pointer_mut(&format!("/rules/{at}/serve/rollout")).and_then(Value::as_object_mut)
            {
                target.insert("percent".into(), rollout.percent.clone());
                if let Some(control) = &rollout.control {
                    target.insert("control".into(), control.clone());
                }
            }
            let proposal = self.propose(environment, key, value, state_of(&row), Some(&row))?;
            let edit = Edit { caller, key, row: Some(&row), action: "rollout", origin: None };
            self.write(environment, change, edit, proposal).await
        });
        made.await
    }

    /// Brings the document of an older version back; the state stays.
    ///
    /// # Errors
    /// [`ManageError::NotFound`] for an unknown version, [`ManageError::Invalid`] where its environment changed
    /// so that it no longer fits; those of the precondition.
    pub async fn roll_back(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &FlagKey,
        version: i64,
        precondition: &Precondition,
    ) -> Result<Changed, ManageError> {
        // Versions never change, so this one is read before the environment is locked.
        let old = self.version(environment, key, version).await?;
        let forms = forms(&old.document, &old.sha256);
        let forms = forms.map_err(|why| ManageError::Invalid(vec![unreadable(&why)]))?;
        let (change, row) = self.begin_flag(environment, key).await?;
        let row = existing(key, row, precondition)?;
        let value = forms.0;
        let proposal = self.propose(environment, key, value, state_of(&row), Some(&row))?;
        let edit = Edit { caller, key, row: Some(&row), action: "rollback", origin: None };
        self.write(environment, change, edit, proposal).await
    }

    /// Shuts, re-opens or puts away a flag. Where it is so already nothing changes.
    ///
    /// # Errors
    /// [`ManageError::FlagInUse`] for archiving what another flag requires; those of the precondition.
    pub async fn move_state(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &FlagKey,
        wish: StateChange,
        precondition: &Precondition,
    ) -> Result<Changed, ManageError> {
        // A kill needs nothing but the row: it must not fail because something else cannot be loaded.
        let (change, row) = match wish {
            StateChange::Kill => self.begin_flag_behind(environment, key).await?,
            StateChange::Restore | StateChange::Archive => self.begin_flag(environment, key).await?,
        };
        let row = existing(key, row, precondition)?;
        let published = environment.published().ok_or(ManageError::NotFound("environment"))?;
        let state = wish.after(state_of(&row));
        if state == state_of(&row) {
            // It is so in the database; this instance must decide by it too before it says so.
            drop(change);
            let published = self.live.catch_up(environment).await?;
            return Ok(Changed { published, key: key.clone(), warnings: Vec::new(), created: false });
        }
        if state == State::Archived {
            refuse_if_required(&published, key)?;
        }
        // A document that cannot be read may still be shut: nothing of it is looked at.
        let forms = row.forms().cloned();
        let edit = Edit { caller, key, row: Some(&row), action: wish.action(), origin: None };
        match forms {
            Ok((value, document)) => {
                let proposal = Proposal { value, document, state, warnings: Vec::new() };
                self.write(environment, change, edit, proposal).await
            }
            Err(_) if state == State::Killed || state == State::Archived => {
                self.shut_unreadable(environment, change, edit, state).await
            }
            Err(error) => Err(error),
        }
    }

    /// A page of a flag's versions, newest first.
    ///
    /// # Errors
    /// [`ManageError::NotFound`] for an unknown flag.
    pub async fn versions(
        &self,
        environment: &Environment,
        key: &FlagKey,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<VersionRow>, ManageError> {
        let number = self.number_of(environment, key)?;
        let rows = self.store.versions_page(environment.number, number, before, limit as i64 + 1).await?;
        Ok(Page::cut(rows, limit, |row| row.version.to_string()))
    }

    /// One version of a flag.
    ///
    /// # Errors
    /// [`ManageError::NotFound`] for an unknown flag or version.
    pub async fn version(
        &self,
        environment: &Environment,
        key: &FlagKey,
        version: i64,
    ) -> Result<VersionRow, ManageError> {
        let number = self.number_of(environment, key)?;
        let row = self.store.version(environment.number, number, version).await?;
        row.ok_or(ManageError::NotFound("version"))
    }

    fn number_of(&self, environment: &Environment, key: &FlagKey) -> Result<i64, ManageError> {
        let published = environment.published().ok_or(ManageError::NotFound("environment"))?;
        published.snapshot.find(key.as_str()).map(|flag| flag.number).ok_or(ManageError::NotFound("flag"))
    }

    /// Changes one flag. It is made of the form that is served, which nearly always is the stored one: nothing need be asked
    /// then before the commit, which is refused where it is not. What cannot be made so is made of the stored form.
    async fn change_flag<F: Future<Output = Result<Changed, ManageError>> + Send>(
        &self,
        environment: &Environment,
        key: &FlagKey,
        make: impl Fn(Change, Option<Held>) -> F + Send + Sync,
    ) -> Result<Changed, ManageError> {
        if let Some((change, row)) = self.begin_served_flag(environment, key).await? {
            match Box::pin(make(change, Some(row))).await {
                // What is served may not be stored: a refusal says nothing.
                Err(error) if !error.is_of_commit() => {}
                told => return told,
            }
        }
        let (change, row) = self.begin_flag(environment, key).await?;
        Box::pin(make(change, row)).await
    }

    /// Begins a change of a flag as it is served; `None` where what is stored has to be read.
    async fn begin_served_flag(
        &self,
        environment: &Environment,
        key: &FlagKey,
    ) -> Result<Option<(Change, Held)>, ManageError> {
        if !self.live.serves_its_row(environment, key) {
            return Ok(None);
        }
        let Some(mut change) = self.store.change_at_once().await? else { return Ok(None) };
        // Looked at anew: it waited for others' changes.
        let Some((number, row)) = self.live.served(environment, key) else { return Ok(None) };
        change.assume(environment.number, number).await?;
        let published = environment.published();
        let row = Held::of_served(row, published.as_ref().map(|published| &published.snapshot));
        Ok(Some((change, row)))
    }

    /// Locks the environment, and brings this instance to the state that the lock protects.
    pub(super) async fn begin(&self, environment: &Environment) -> Result<Change, ManageError> {
        let change = self.store.change(environment.number).await?;
        refuse_set_back(environment, &change)?;
        self.reach(environment, &change).await?;
        Ok(change)
    }

    /// The same, with one flag as it then is.
    pub(super) async fn begin_flag(
        &self,
        environment: &Environment,
        key: &FlagKey,
    ) -> Result<(Change, Option<Held>), ManageError> {
        let (change, row) = self.begin_flag_behind(environment, key).await?;
        self.reach(environment, &change).await?;
        Ok((change, row))
    }

    /// Locks the environment, however far this instance is behind it.
    async fn begin_flag_behind(
        &self,
        environment: &Environment,
        key: &FlagKey,
    ) -> Result<(Change, Option<Held>), ManageError> {
        let (change, row) = self.store.change_of_flag(environment.number, key).await?;
        refuse_set_back(environment, &change)?;
        let published = environment.published();
        let snapshot = published.as_ref().map(|published| &published.snapshot);
        Ok((change, row.map(|row| Held::new(row, snapshot))))
    }

    async fn reach(&self, environment: &Environment, change: &Change) -> Result<(), ManageError> {
        let behind =
            environment.published().is_none_or(|published| published.snapshot.number() < change.snapshot());
        if behind {
            self.live.catch_up(environment).await.map_err(ManageError::Behind)?;
        }
        Ok(())
    }

    /// Reads and checks a new form of a flag: every fault at once.
    pub(super) fn propose(
        &self,
        environment: &Environment,
        key: &FlagKey,
        mut value: Value,
        state: State,
        row: Option<&Held>,
    ) -> Result<Proposal, ManageError> {
        let published = environment.published().ok_or(ManageError::NotFound("environment"))?;
        let mut faults = Faults::default();
        let old_salt = fill_salt(&*self.random, &mut value, row)?;
        let read = read(&value, &mut faults);
        let mut warnings = Vec::new();
        if let Some(document) = &read {
            if document.key != *key {
                faults.add("/key", "key_mismatch", format!("the path names the flag {key:?}"));
            }
            warnings = validate(document, &published.snapshot, &mut faults);
            warnings.extend(salt_warning(old_salt.as_deref(), document));
        }
        if row.is_none() && published.snapshot.flags().len() >= FLAGS_MAX {
            return Err(too_many_flags());
        }
        match read {
            Some(document) if faults.0.is_empty() => {
                Ok(Proposal { value, document: Arc::new(document), state, warnings })
            }
            _ => Err(ManageError::Invalid(faults.0)),
        }
    }
}

/// Refuses a database that is older than what this instance decides by: there a change would be stored and never served.
fn refuse_set_back(environment: &Environment, change: &Change) -> Result<(), ManageError> {
    let known = environment.published().map_or(0, |published| published.snapshot.number());
    if change.snapshot() < known {
        return Err(ManageError::Behind(StoreError::SetBack { at: change.snapshot(), known }.into()));
    }
    Ok(())
}

/// The stored flag as the precondition wants it; `None`: there is none, and there must not be.
pub(super) fn stored(
    key: &FlagKey,
    row: Option<Held>,
    precondition: &Precondition,
) -> Result<Option<Held>, ManageError> {
    match (row, precondition) {
        (Some(_), Precondition::New) => Err(ManageError::FlagExists(key.to_string())),
        (None, Precondition::New) => Ok(None),
        (None, _) => Err(ManageError::NotFound("flag")),
        (Some(row), precondition) => {
            precondition.check(&format!("flag {key}"), row.version)?;
            Ok(Some(row))
        }
    }
}

fn existing(key: &FlagKey, row: Option<Held>, precondition: &Precondition) -> Result<Held, ManageError> {
    stored(key, row, precondition)?.ok_or(ManageError::NotFound("flag"))
}

/// Gives a document without salt that of the stored flag, or a new one; the stored flag's is answered.
pub(super) fn fill_salt(
    random: &dyn Random,
    value: &mut Value,
    row: Option<&Held>,
) -> Result<Option<Box<str>>, ManageError> {
    let old_salt = row.and_then(|row| row.forms().ok()).and_then(|(_, document)| document.salt.clone());
    if let Some(object) = value.as_object_mut()
        && !object.contains_key("salt")
    {
        let salt = match &old_salt {
            Some(salt) => salt.to_string(),
            None => base32(random, SALT_CHARACTERS)?,
        };
        object.insert("salt".into(), salt.into());
    }
    Ok(old_salt)
}

/// Another salt than the stored flag's is doubtful.
pub(super) fn salt_warning(old_salt: Option<&str>, document: &Document) -> Option<Warning> {
    (old_salt.is_some() && old_salt != document.salt.as_deref()).then(|| Warning {
        pointer: "/salt".into(),
        code: "salt_changed",
        detail: "another salt reshuffles which units are inside".into(),
    })
}

pub(super) fn too_many_flags() -> ManageError {
    ManageError::Quota(format!("an environment has at most {FLAGS_MAX} flags"))
}

/// A change of a flag's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateChange {
    /// live -> killed.
    Kill,
    /// killed -> live, archived -> killed.
    Restore,
    /// Any -> archived.
    Archive,
}

impl StateChange {
    /// The state after it.
    #[must_use]
    pub fn after(self, state: State) -> State {
        match (self, state) {
            (Self::Kill, State::Live) | (Self::Restore, State::Archived) => State::Killed,
            (Self::Restore, State::Killed) => State::Live,
            (Self::Archive, _) => State::Archived,
            (Self::Kill | Self::Restore, state) => state,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Restore => "restore",
            Self::Archive => "archive",
        }
    }
}

/// The stored state; one that cannot be read is shut.
pub(super) fn state_of(row: &FlagRow) -> State {
    State::parse(&row.state).unwrap_or(State::Killed)
}

fn standing_of(row: &FlagRow) -> Standing {
    Standing { open: row.stage_open, count: row.stages }
}

fn state_difference(from: State, to: State) -> Difference {
    Difference { pointer: "/state".into(), from: Some(from.as_str().into()), to: Some(to.as_str().into()) }
}

pub(super) fn unreadable(why: &str) -> crate::engine::flag::Fault {
    crate::engine::flag::Fault {
        pointer: String::new(),
        code: "unreadable",
        detail: format!("the stored document cannot be read: {why}"),
    }
}

/// The place of the rule whose percentage is to move.
fn rollout_rule(document: &Document, rule: Option<&str>) -> Result<usize, ManageError> {
    let rollouts =
        || document.rules.iter().enumerate().filter(|(_, rule)| matches!(rule.serve, Serve::Rollout(_)));
    let names = || rollouts().map(|(_, rule)| rule.id.to_string()).collect::<Vec<_>>().join(", ");
    let mut faults = Faults::default();
    match (rule, rollouts().count()) {
        (Some(rule), _) => {
            if let Some((at, _)) = rollouts().find(|(_, known)| known.id.as_str() == rule) {
                return Ok(at);
            }
            faults.add(
                "/rule",
                "unknown_rule",
                format!("the flag has no rollout {rule:?}; it has: {}", names()),
            );
        }
        (None, 1) => return rollouts().next().map(|(at, _)| at).ok_or(ManageError::NotFound("rule")),
        (None, 0) => faults.add("/rule", "unknown_rule", "the flag has no rollout"),
        (None, _) => faults.add("/rule", "required", format!("the flag has several rollouts: {}", names())),
    }
    Err(ManageError::Invalid(faults.0))
}

/// A flag that another requires cannot be archived, an archived one included, so that its restore cannot fail.
fn refuse_if_required(published: &Published, key: &FlagKey) -> Result<(), ManageError> {
    let requires = |flag: &&Arc<CompiledFlag>| {
        flag.document.as_ref().is_some_and(|document| {
            document.prerequisites.iter().any(|prerequisite| prerequisite.flag == *key)
        })
    };
    let users: Vec<String> =
        published.snapshot.sorted().filter(requires).map(|flag| flag.key.to_string()).collect();
    if users.is_empty() { Ok(()) } else { Err(ManageError::FlagInUse(users)) }
}
