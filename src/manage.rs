//! Every change, and every reading of what people manage. HTTP, command line and jobs enter here: there is
//! no second way to write.

pub mod audiences;
pub mod environments;
mod expiry;
pub mod export;
pub mod first_start;
pub mod flags;
pub mod import;
pub mod keys;
mod pieces;
pub mod promote;
pub mod propagation;
pub mod restored;
pub mod retention;
pub mod seed;
pub mod stage;
pub mod units;

use std::sync::Arc;

use crate::access::{Actor, KeyTable};
use crate::audiences::UploadError;
use crate::clock::SharedClock;
use crate::engine::flag::Fault;
use crate::events::QueueError;
use crate::live::{Live, LiveError};
use crate::random::{RandomError, SharedRandom};
use crate::store::{AuditFilter, AuditRow, NewAudit, Store, StoreError};

/// Longest reason in characters.
pub const REASON_CHARACTERS_MAX: usize = 500;
pub use crate::live::catch_up::FLAGS_MAX;

/// Why a change was not made: then nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The change is stored, but its state could not be loaded yet.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// This instance is behind the database and could not catch up; nothing was changed.
    #[error("this instance could not be brought up to date: {0}")]
    Behind(LiveError),
    /// No random bytes for a salt or a key.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// There is nothing of that name.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A flag of that key exists.
    #[error("the flag {0} exists already; it may be archived")]
    FlagExists(String),
    /// An audience of that key exists.
    #[error("the audience {0} exists already")]
    AudienceExists(String),
    /// Someone else was first.
    #[error("{subject} is at version {current}, you sent {sent}")]
    Conflict {
        /// What was to be changed.
        subject: String,
        /// Its version.
        current: i64,
        /// The version that was sent.
        sent: String,
    },
    /// The document has faults.
    #[error("the document has faults")]
    Invalid(Vec<Fault>),
    /// An export has faults; nothing of it is taken.
    #[error("the import has faults")]
    ImportInvalid(Vec<Fault>),
    /// A stored flag is damaged.
    #[error("the stored flag {0} cannot be read; replace it with a whole document first")]
    FlagUnreadable(String),
    /// What ran beside was given up.
    #[error("{0}")]
    Task(String),
    /// Other flags require this one.
    #[error("the flag is required by {}", .0.join(", "))]
    FlagInUse(Vec<String>),
    /// An upload's kind, or an id, cannot be taken.
    #[error("{0}")]
    AudienceInvalid(String),
    /// An audience would have more ids than allowed.
    #[error("an audience has at most {0} ids")]
    AudienceTooLarge(i64),
    /// An upload cannot be taken.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// As many uploads as may are under way.
    #[error("{0} uploads are under way; send this one again later")]
    Busy(usize),
    /// Flags ask for this audience.
    #[error("the audience is used by {}", .0.join(", "))]
    AudienceInUse(Vec<String>),
    /// As many as allowed are there.
    #[error("{0}")]
    Quota(String),
    /// A key cannot be made so.
    #[error("{0}")]
    KeyInvalid(String),
    /// Two unit secrets are there already.
    #[error(
        "the environment has two unit secrets already, the most that may be valid at once: delete one first"
    )]
    UnitSecretLimit,
    /// An environment cannot be named so.
    #[error("{0}")]
    EnvironmentInvalid(String),
    /// An environment of that key exists.
    #[error("the environment {0} exists already")]
    EnvironmentExists(String),
    /// Events that wait could not be stored first.
    #[error(transparent)]
    Events(#[from] QueueError),
    /// The caller's key may not do this here.
    #[error("{0}")]
    Forbidden(&'static str),
}

impl ManageError {
    /// Whether a change may be stored all the same, or would fail again.
    fn is_of_commit(&self) -> bool {
        match self {
            // A statement that is refused ends the transaction before its commit.
            Self::Store(StoreError::Moved | StoreError::NotFound | StoreError::Exists) => false,
            Self::Store(_) => true,
            Self::Live(_) | Self::Random(_) => true,
            _ => false,
        }
    }
}

/// Who asks for a change, and why.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key's holder, as the audit names it.
    pub name: String,
    /// The request, for the audit.
    pub request_id: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
}

impl Caller {
    /// The holder of a key.
    #[must_use]
    pub fn of(actor: &Actor, request_id: Option<String>, reason: Option<String>) -> Self {
        Self { name: actor.audit_name(), request_id, reason }
    }
}

/// What the stored thing must be for a change to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// It must not exist.
    New,
    /// It must be at one of these versions.
    Versions(Vec<i64>),
    /// Whatever it is.
    Any,
}

impl Precondition {
    /// Checks the stored version.
    fn check(&self, subject: &str, current: i64) -> Result<(), ManageError> {
        match self {
            Self::Versions(versions) if !versions.contains(&current) => Err(ManageError::Conflict {
                subject: subject.to_owned(),
                current,
                sent: match versions.as_slice() {
                    [] => "a weak tag, which matches none".to_owned(),
                    versions => versions.iter().map(i64::to_string).collect::<Vec<_>>().join(", "),
                },
            }),
            Self::Versions(_) | Self::Any | Self::New => Ok(()),
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// Where the next one begins; `None` at the end.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of at most `limit` of `items`, of which one more was asked for to know whether there is one.
    fn cut(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        Self { next_cursor: items.last().filter(|_| more).map(cursor), items }
    }
}

/// Changes and reads what people manage.
pub struct Manage {
    store: Store,
    live: Arc<Live>,
    keys: Arc<KeyTable>,
    clock: SharedClock,
    random: SharedRandom,
    reloading: tokio::sync::Mutex<()>,
    uploads: audiences::Uploads,
}

impl Manage {
    /// Manages what `store` holds and `live` decides by.
    #[must_use]
    pub fn new(
        store: Store,
        live: Arc<Live>,
        keys: Arc<KeyTable>,
        clock: SharedClock,
        random: SharedRandom,
    ) -> Self {
        let (reloading, uploads) = (tokio::sync::Mutex::default(), audiences::Uploads::default());
        Self { store, live, keys, clock, random, reloading, uploads }
    }

    /// A page of the audit, newest first; `environment` 0 holds what belongs to none.
    ///
    /// # Errors
    /// [`ManageError`] of the database.
    pub async fn audit(
        &self,
        environment: i64,
        filter: AuditFilter<'_>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<AuditRow>, ManageError> {
        let rows = self.store.audit_page(environment, filter, before, limit as i64 + 1).await?;
        Ok(Page::cut(rows, limit, |row| row.id.to_string()))
    }
}

/// An audit row's fields that every change fills alike.
fn audit<'a>(
    caller: &'a Caller,
    at: i64,
    action: &'a str,
    kind: &'a str,
    subject: &'a str,
    detail: &'a str,
) -> NewAudit<'a> {
    NewAudit {
        at,
        actor: &caller.name,
        action,
        subject_kind: kind,
        subject,
        reason: caller.reason.as_deref(),
        request_id: caller.request_id.as_deref(),
        detail,
    }
}
