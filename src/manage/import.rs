//! Import: an export taken into an environment, all of it or nothing. It is validated as one set, moves no state,
//! leaves alone what it does not name, and done again changes nothing.

mod audiences;
mod plan;
mod read;

use std::sync::Arc;

use serde_json::{Value, json};

use super::audiences::users_of;
use super::flags::write::Edit;
use super::promote::Action;
use super::{Caller, FLAGS_MAX, Manage, ManageError, audit};
use crate::engine::diff::Difference;
use crate::engine::flag::Faults;
use crate::engine::key::{AudienceKey, FlagKey};
use crate::engine::validate::Warning;
use crate::live::{Environment, Published};
use crate::store::{Change, StoreError};
use audiences::PlannedAudience;
use plan::PlannedFlag;
use read::Sent;

/// How often an import is planned while others change the environment; the last time they wait.
const ATTEMPTS: usize = 3;

/// Whether anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It is only told what would happen.
    Dry,
    /// All is written, in one transaction.
    Whole,
}

/// What an import did, or would do.
#[derive(Debug)]
pub struct Imported {
    /// Each flag that was sent, in that order.
    pub flags: Vec<ImportedFlag>,
    /// Each audience that was sent, in that order.
    pub audiences: Vec<ImportedAudience>,
    /// What is doubtful.
    pub warnings: Vec<Warning>,
    /// The snapshot number that is served then.
    pub snapshot: i64,
}

/// One flag of an import.
#[derive(Debug)]
pub struct ImportedFlag {
    /// Its key.
    pub key: FlagKey,
    /// Created, replaced, or as it was.
    pub action: Action,
    /// Its version afterwards.
    pub version: i64,
    /// What differs.
    pub diff: Vec<Difference>,
}

/// One audience of an import.
#[derive(Debug)]
pub struct ImportedAudience {
    /// Its key.
    pub key: AudienceKey,
    /// Created, replaced, or as it was.
    pub action: Action,
    /// How many ids come in.
    pub add: i64,
    /// How many ids go out.
    pub remove: i64,
}

/// What an import would do to one state of the environment.
struct Plan {
    published: Arc<Published>,
    flags: Vec<PlannedFlag>,
    audiences: Vec<PlannedAudience>,
    warnings: Vec<Warning>,
}

impl Plan {
    fn changes_nothing(&self) -> bool {
        self.flags.iter().all(|flag| flag.action == Action::Unchanged)
            && self.audiences.iter().all(|audience| audience.action == Action::Unchanged)
    }

    fn told(self, snapshot: i64) -> Imported {
        let flags = self.flags.into_iter().map(|flag| ImportedFlag {
            key: flag.key,
            action: flag.action,
            version: flag.version,
            diff: flag.diff,
        });
        let audiences = self.audiences.into_iter().map(|audience| ImportedAudience {
            key: audience.key,
            action: audience.action,
            add: audience.add,
            remove: audience.remove,
        });
        Imported { flags: flags.collect(), audiences: audiences.collect(), warnings: self.warnings, snapshot }
    }
}

impl Manage {
    /// Takes an export into `environment`. The transaction holds the writes alone: all else is done before, and anew
    /// where somebody was faster.
    ///
    /// # Errors
    /// [`ManageError::ImportInvalid`] with every fault of all that was sent; [`ManageError::Quota`]. Then nothing is
    /// stored.
    pub async fn import(
        &self,
        caller: &Caller,
        environment: &Environment,
        value: Value,
        run: Run,
    ) -> Result<Imported, ManageError> {
        let mut faults = Faults::default();
        let sent = read::sent(value, &mut faults);
        if sent.flags.len() > FLAGS_MAX {
            return Err(super::flags::too_many_flags());
        }
        let sent = Arc::new(sent);
        for attempt in 1..=ATTEMPTS {
            let held = match attempt {
                ATTEMPTS if run == Run::Whole => Some(self.store.long_change(environment.number).await?),
                _ => None,
            };
            let plan = self.plan(environment, &sent, &faults).await?;
            let number = plan.published.snapshot.number();
            if run == Run::Dry || plan.changes_nothing() {
                return Ok(plan.told(number));
            }
            let change = match held {
                Some(change) => change,
                None => self.store.long_change(environment.number).await?,
            };
            if change.snapshot() == number {
                return self.store_import(caller, environment, change, &sent, plan).await;
            }
        }
        Err(StoreError::Unavailable("this instance is behind the database".into()).into())
    }

    async fn plan(
        &self,
        environment: &Environment,
        sent: &Arc<Sent>,
        shape: &Faults,
    ) -> Result<Plan, ManageError> {
        let published = self.live.catch_up(environment).await.map_err(ManageError::Behind)?;
        let keys = sent.flags.iter().filter_map(|flag| Some(flag.get("key")?.as_str()?.to_owned()));
        let rows = self.store.flags_named(environment.number, keys.collect()).await?;
        let (mut faults, mut warnings) = (Faults(shape.0.clone()), Vec::new());
        let audiences = self.plan_audiences(environment, sent, &mut faults, &mut warnings).await?;
        let made = audiences.iter().filter_map(PlannedAudience::made).collect();
        let (random, snapshot, sent) = (self.random.clone(), published.clone(), sent.clone());
        // Thousands of documents take a while: not on a thread that decides.
        let flags = tokio::task::spawn_blocking(move || {
            plan::flags(&*random, &snapshot.snapshot, rows, &sent.flags, made, &mut faults)
                .map(|planned| (planned, faults))
        });
        let ((flags, doubts), faults) =
            flags.await.map_err(|error| ManageError::Task(error.to_string()))??;
        if !faults.0.is_empty() {
            return Err(ManageError::ImportInvalid(faults.0));
        }
        warnings.extend(doubts);
        Ok(Plan { published, flags, audiences, warnings })
    }

    async fn store_import(
        &self,
        caller: &Caller,
        environment: &Environment,
        mut change: Change,
        sent: &Sent,
        plan: Plan,
    ) -> Result<Imported, ManageError> {
        let (mut flags, mut audiences, mut fallen) = (Vec::new(), Vec::new(), Vec::new());
        for planned in plan.audiences.iter().filter(|planned| planned.action != Action::Unchanged) {
            let ids = sent.audiences.iter().find(|audience| audience.key == planned.key);
            let ids = ids.and_then(|audience| audience.ids.as_deref()).unwrap_or_default();
            fallen.push((&planned.key, self.store_audience(caller, &mut change, planned, ids).await?));
            audiences.push(planned.key.to_string());
            flags.extend(users_of(&plan.published.snapshot, &planned.key));
        }
        for planned in plan.flags.iter().filter(|planned| planned.action != Action::Unchanged) {
            let PlannedFlag { key, row, proposal, .. } = planned;
            let edit = Edit { caller, key, row: row.as_ref(), action: "import", origin: None };
            self.store_flag(&mut change, &edit, proposal).await?;
            flags.push(key.to_string());
        }
        flags.sort_unstable();
        flags.dedup();
        let now_ms = self.clock.now_ms();
        let subjects = json!({"flags": flags, "audiences": audiences}).to_string();
        let row = audit(caller, now_ms, "import", "environment", environment.key.as_str(), &subjects);
        change.audit(row).await?;
        let number = change.commit_change(&subjects, now_ms).await?;
        self.live.catch_up(environment).await?;
        for (key, generations) in fallen {
            self.sweep_beside(environment, key, generations);
        }
        Ok(plan.told(number))
    }
}
