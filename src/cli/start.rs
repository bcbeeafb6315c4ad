//! How `serve` comes to its database: inspect, open, migrate, make the first content. One that does not answer is
//! waited for; one that answers and is not the right one is refused.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret as _;

use super::folder::{self, Folder};
use crate::clock::SharedClock;
use crate::jobs::copy::Keeper;
use crate::jobs::database::{Admit, Refusal};
use crate::live::secrets::Secrets;
use crate::live::{Live, LiveError};
use crate::manage::first_start::{FirstKeys, add_bootstrap_key, first_start};
use crate::manage::{Manage, ManageError};
use crate::random::SystemRandom;
use crate::settings::{Settings, UnitIds};
use crate::store::sqlite::inspect;
use crate::store::{Deadlines, Identity, OpenOptions, Reach, Store, StoreError, open_later};

/// The database of `settings`, of which nothing is asked yet.
pub(super) fn database(settings: &Settings) -> anyhow::Result<Store> {
    let call = Duration::from_millis(settings.database_timeout_ms);
    let options = OpenOptions {
        create: true,
        connections: settings.database_connections,
        deadlines: Deadlines { read: call, write: call, ..Deadlines::default() },
    };
    open_later(settings.database().expose_secret(), &options).context("the database cannot be opened")
}

/// Why the database was not let in.
pub(super) enum NotIn {
    /// It does not answer now.
    Away(String),
    /// It is not the right one, or huidu cannot serve from it.
    Wrong(anyhow::Error),
}

/// Lets the database in, at the start and after each time that it was away.
pub(super) struct Admission {
    pub(super) settings: Settings,
    pub(super) folder: Folder,
    /// The database itself: everybody else's is refused while it is away.
    pub(super) store: Store,
    pub(super) reach: Arc<Reach>,
    pub(super) live: Arc<Live>,
    pub(super) manage: Arc<Manage>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) clock: SharedClock,
    /// Whether it was let in since this process began.
    pub(super) was_in: AtomicBool,
    /// The first keys, until they are shown.
    pub(super) first_keys: Mutex<Option<FirstKeys>>,
}

impl Admission {
    /// Tries it once; where it does not answer within `patience`, it counts as away.
    pub(super) async fn attempt(&self, patience: Duration) -> Result<(), NotIn> {
        match tokio::time::timeout(patience, self.answers()).await {
            Ok(answers) => answers?,
            Err(_) => {
                return Err(NotIn::Away(format!("it did not answer within {} ms", patience.as_millis())));
            }
        }
        let identity = self.identify().await.map_err(|error| sorted(error, self.is_used()))?;
        if !self.is_used() {
            self.folder.remember(&identity.database_id).map_err(NotIn::Wrong)?;
        }
        self.keeper.belongs_to(&identity);
        let secrets = Secrets::load(&self.store).await;
        self.live.set_secrets(secrets.map_err(|error| sorted(error.into(), true))?);
        let sequences = self.store.sequences().await.map_err(|error| sorted(error.into(), true))?;
        // From here on it is used: what is loaded now goes the way of every change.
        let outage = self.reach.found();
        let loaded = self.load(sequences.restored_at).await.map_err(|error| sorted(error, true));
        if let Err(error) = loaded {
            // The same outage goes on.
            self.reach.resume(self.clock.now_ms(), outage);
            return Err(error);
        }
        self.live.copy.served();
        self.was_in.store(true, Ordering::Release);
        Ok(())
    }

    /// The keys of a first start, once.
    pub(super) fn take_first_keys(&self) -> Option<FirstKeys> {
        self.first_keys.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_used(&self) -> bool {
        matches!(self.folder.used_with(), Ok(Some(_)))
    }

    /// Whether it answers, and is no other program's. Nothing is written to it, but a file that is missing is made.
    async fn answers(&self) -> Result<(), NotIn> {
        let used = self.is_used();
        let wrong = |error: StoreError, words: &'static str| sorted(anyhow!(error).context(words), used);
        if !self.was_in.load(Ordering::Acquire) {
            self.inspect(used).await?;
            let created = self.store.prepare(!used).await;
            created.map_err(|error| wrong(error, "the database cannot be opened"))?;
        }
        let answered = self.store.ping().await;
        answered.map_err(|error| {
            wrong(error, "the database does not answer: is it there, and is `database_url` right?")
        })
    }

    async fn inspect(&self, used: bool) -> Result<(), NotIn> {
        let url = self.settings.database();
        let url = url.expose_secret();
        let Some(file) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) else {
            return Ok(());
        };
        let file = Path::new(file);
        let state = inspect(file).await;
        let state = state.with_context(|| format!("the database {} cannot be inspected", file.display()));
        let state = state.map_err(|error| sorted(error, used))?;
        folder::admit(file, &state, used).map_err(NotIn::Wrong)
    }

    /// Brings it to this release's form, and sees that it is the one that is wanted.
    async fn identify(&self) -> anyhow::Result<Identity> {
        let (store, used_with) = (&self.store, self.folder.used_with()?);
        if !self.was_in.load(Ordering::Acquire) {
            self.refuse_foreign(used_with.as_deref()).await?;
            store.migrate().await.context("the database cannot be migrated")?;
        }
        let mode = mode(&self.settings);
        let bootstrap = self.settings.bootstrap_admin_key.as_ref();
        let now_ms = self.clock.now_ms();
        if used_with.is_none() && store.identity().await.context("the database cannot be read")?.is_none() {
            let first = first_start(store, &SystemRandom, now_ms, mode, bootstrap.is_some()).await;
            let first = first.context("the database could not get its first content")?;
            if first.is_some() {
                *self.first_keys.lock().unwrap_or_else(PoisonError::into_inner) = first;
            }
        }
        let identity = store.identity().await.context("the database cannot be read")?;
        let identity = identity.with_context(|| empty(used_with.as_deref()))?;
        check(&identity, used_with.as_deref(), mode)?;
        if let Some(key) = bootstrap.filter(|_| !self.was_in.load(Ordering::Acquire)) {
            let added = add_bootstrap_key(store, key.expose_secret(), now_ms).await;
            added.context("the bootstrap key could not be added")?;
        }
        Ok(identity)
    }

    /// A database that was used before is looked at before anything is written to it.
    async fn refuse_foreign(&self, used_with: Option<&str>) -> anyhow::Result<()> {
        let Some(used_with) = used_with else { return Ok(()) };
        let at = self.store.migrations().await.context("the database cannot be read")?.at;
        let identity = if at == 0 { None } else { self.store.identity().await? };
        check(&identity.with_context(|| empty(Some(used_with)))?, Some(used_with), mode(&self.settings))
    }

    /// Brings what decides, and who may call, to the state of the database, as far as that is not older.
    async fn load(&self, restored_at: i64) -> anyhow::Result<()> {
        self.live.doubt(false);
        if self.live.restored_at() < restored_at {
            self.live.accept_restored(restored_at);
            self.manage.accept_restored_keys().await;
        }
        self.live.refresh().await.context("the flags cannot be loaded")?;
        match self.manage.reload_keys().await {
            // Said, and shown in `readyz`, by whoever asks each second.
            Err(ManageError::Store(StoreError::SetBack { .. })) => Ok(()),
            loaded => loaded.context("the keys cannot be loaded"),
        }
    }
}

impl Admit for Admission {
    fn admit(&self) -> BoxFuture<'_, Result<(), Refusal>> {
        let patience = Duration::from_millis(self.settings.database_timeout_ms);
        async move {
            self.attempt(patience).await.map_err(|not_in| match not_in {
                NotIn::Away(why) => Refusal { why, wrong: false },
                NotIn::Wrong(error) => Refusal { why: format!("{error:#}"), wrong: true },
            })
        }
        .boxed()
    }
}

fn empty(used_with: Option<&str>) -> String {
    match used_with {
        Some(used_with) => format!(
            "the database is empty, though this data folder was used before (with the database {used_with}): \
             give the right --database-url, or another --data-dir to start anew"
        ),
        None => "the database has no identity".to_owned(),
    }
}

/// Refuses a database that is not the folder's, or that holds unit ids of the other kind.
fn check(identity: &Identity, used_with: Option<&str>, mode: &str) -> anyhow::Result<()> {
    if let Some(used_with) = used_with.filter(|used_with| *used_with != identity.database_id) {
        bail!(
            "this data folder belongs to another database ({used_with}): give the right --database-url, or another --data-dir"
        );
    }
    check_mode(identity, mode)
}

/// Refuses a setting `unit_ids` that is not that of the database.
pub(super) fn check_mode(identity: &Identity, mode: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        identity.unit_ids == mode,
        "the database holds unit ids `{}`, the setting `unit_ids` says `{mode}`: the two cannot be mixed; set it to `{}`",
        identity.unit_ids,
        identity.unit_ids
    );
    Ok(())
}

/// What the setting `unit_ids` is called in the database.
pub(super) fn mode(settings: &Settings) -> &'static str {
    match settings.unit_ids {
        UnitIds::Plain => "plain",
        UnitIds::Hashed => "hashed",
    }
}

/// The database's failure in an error of any module.
fn store_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e StoreError> {
    let of_live = |error: &'e LiveError| match error {
        LiveError::Store(error) => Some(error),
        _ => None,
    };
    let of_manage = |error: &'e ManageError| match error {
        ManageError::Store(error) => Some(error),
        ManageError::Live(error) | ManageError::Behind(error) => of_live(error),
        _ => None,
    };
    error
        .downcast_ref::<StoreError>()
        .or_else(|| error.downcast_ref::<LiveError>().and_then(of_live))
        .or_else(|| error.downcast_ref::<ManageError>().and_then(of_manage))
}

/// Whether waiting may help. A server that knows no such user or database is waited for only where it was right before.
fn sorted(error: anyhow::Error, used: bool) -> NotIn {
    let store = error.chain().find_map(store_error);
    let later = store.is_some_and(|store| {
        let said = matches!(store, StoreError::Address(_) | StoreError::Statement(_) | StoreError::Full);
        store.is_away() || used && said
    });
    if later { NotIn::Away(format!("{error:#}")) } else { NotIn::Wrong(error) }
}
