//! `huidu serve`: puts the service together, runs it, and ends it in order.

mod background;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::web::Data;
use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::folder::Folder;
use super::output::say;
use super::start::{Admission, NotIn, check_mode, database, mode};
use crate::access::KeyTable;
use crate::audiences::readthrough::Bounds;
use crate::clock::{MachineClock, SharedClock};
use crate::engine::bucket;
use crate::events::writer;
use crate::http::around::HttpMeters;
use crate::http::courtesy::Courtesy;
use crate::http::limits::Limits;
use crate::http::server::{ServerThread, listen};
use crate::http::service::Service;
use crate::http::stream::places::Places;
use crate::jobs::Jobs;
use crate::jobs::copy::Keeper;
use crate::jobs::database::show_reachable;
use crate::jobs::lease::Leases;
use crate::live::Live;
use crate::live::disk::{self, Found};
use crate::live::node::Node;
use crate::manage::audiences::Uploads;
use crate::manage::first_start::FirstKeys;
use crate::manage::retention::KeptDays;
use crate::manage::{Manage, seed};
use crate::random::{SharedRandom, SystemRandom};
use crate::report::Reports;
use crate::report::export::Exports;
use crate::settings::Settings;
use crate::store::{Reach, Store};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{logs, request_id::RequestIds};

/// How long a start waits for the database where a copy on disk could serve.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Longest wait for the last events to be stored.
const FLUSH_MAX: Duration = Duration::from_secs(4);

pub(super) fn serve(settings: Settings) -> anyhow::Result<()> {
    serve_by(settings, Arc::new(MachineClock), |_| {})
}

/// A service that has just begun to serve.
pub(super) struct Serving<'a> {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its first keys, where this was a first start.
    pub(super) first_keys: Option<&'a FirstKeys>,
    /// Becomes true when it begins to stop.
    pub(super) stopping: &'a Arc<AtomicBool>,
}

/// As [`serve`], by another clock; `begun` is called once it serves.
pub(super) fn serve_by(
    settings: Settings,
    clock: SharedClock,
    begun: impl FnOnce(&Serving<'_>),
) -> anyhow::Result<()> {
    logs::start(settings.log_format, &settings.log)?;
    anyhow::ensure!(
        bucket::self_check(),
        "the bucketing hash is wrong on this machine: cohorts would move, so nothing is served"
    );
    // Begun before this thread stands back, and with it all that it begins.
    let thread = ServerThread::begin()?;
    let courtesy = Arc::new(Courtesy::new(clock.clone(), background::processors()));
    let runtime = background::runtime(&courtesy)?;
    runtime.block_on(run(settings, clock, &courtesy, thread, begun))
}

/// The service, put together but not yet serving.
struct Assembled {
    service: Data<Service>,
    writer: JoinHandle<()>,
    jobs: Jobs,
    admission: Arc<Admission>,
}

async fn run(
    settings: Settings,
    clock: SharedClock,
    courtesy: &Arc<Courtesy>,
    thread: ServerThread,
    begun: impl FnOnce(&Serving<'_>),
) -> anyhow::Result<()> {
    if settings.drops_steps_early() {
        tracing::warn!(
            "retention_days_steps is shorter than retention_days_exposures: reports of the time between count exposed users whose conversions are gone"
        );
    }
    let folder = Folder::hold(&settings.data_dir)?;
    let listener = TcpListener::bind(settings.listen)
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let assembled = assemble(settings, folder, clock, courtesy.clone())?;
    let waits_for = come_to_state(&assembled).await?;
    let Assembled { service, writer, jobs, admission } = assembled;
    let (live, meters) = (service.live.clone(), Arc::new(HttpMeters::new(&service.metrics)));
    courtesy.watch(&meters);
    let (streams, node, store) = (service.streams.clone(), jobs.node.clone(), jobs.store.clone());
    let (keeper, raw) = (jobs.keeper.clone(), admission.store.clone());
    let sweeping = tokio::spawn(sweep_limits(service.clone()));
    // Heard from before it is ready: a stop at the first moment is an orderly one too.
    let stop = StopSignals::hear()?;
    let (addresses, server) = listen(listener, service, meters)?;
    let handle = server.handle();
    let running = thread.run(server);
    let jobs = jobs.start();
    announce(&addresses, waits_for.as_deref().filter(|_| !live.is_ready()));
    let stopping = Arc::new(AtomicBool::new(false));
    if let Some(address) = addresses.first() {
        // Where the database is away, they are made and shown later.
        let first_keys = admission.take_first_keys();
        if let Some(keys) = &first_keys {
            say_keys(*address, keys);
        }
        begun(&Serving { address: *address, first_keys: first_keys.as_ref(), stopping: &stopping });
    }
    let showing = tokio::spawn(show_first_keys(addresses, admission));
    stop.wait().await;
    stopping.store(true, Ordering::SeqCst);
    tracing::info!("stopping: requests under way are finished, no new ones are taken");
    // They would not end by themselves, and the server waits for what is open.
    streams.end();
    handle.stop(true).await;
    running.await??;
    jobs.stop().await;
    for task in [sweeping, showing] {
        task.abort();
        // An aborted task lets go of the queue only when it is polled once more.
        drop(task.await);
    }
    if let Some(node) = node.filter(|_| !store.is_away())
        && let Err(error) = store.remove_node(&node.name).await
    {
        tracing::warn!(%error, "this instance could not be taken off the list; it counts as gone in 15 seconds");
    }
    // Every queue is gone with the server, so the writer ends when nothing waits.
    if tokio::time::timeout(FLUSH_MAX, writer).await.is_err() {
        tracing::error!("the last events could not be stored in time; their senders were not told they were");
    }
    if tokio::time::timeout(FLUSH_MAX, keeper.write()).await.is_err() {
        tracing::error!("the last good state could not be written to disk in time; an older one is there");
    }
    tokio::time::timeout(FLUSH_MAX, raw.close()).await.unwrap_or_default();
    tracing::info!("stopped");
    Ok(())
}

/// Brings the service to a state to decide by: the database's, or the copy's on disk while that does not answer; with
/// neither, why it waits. A database that answers and is not the right one stops the start.
async fn come_to_state(assembled: &Assembled) -> anyhow::Result<Option<String>> {
    let Assembled { service, jobs, admission, .. } = assembled;
    let (live, settings, now_ms) = (&service.live, &service.settings, service.clock.now_ms());
    let (data_dir, used_with) = (settings.data_dir.clone(), admission.folder.used_with()?);
    let found = tokio::task::spawn_blocking(move || disk::find(&data_dir, used_with.as_deref())).await?;
    let restored = restore(assembled, found)?;
    let patience = if restored { PATIENCE } else { Duration::from_millis(settings.database_timeout_ms) };
    let away = match admission.attempt(patience).await {
        Ok(()) => None,
        Err(NotIn::Wrong(error)) => return Err(error),
        Err(NotIn::Away(why)) if settings.is_embedded() && admission.folder.used_with()?.is_none() => {
            anyhow::bail!(why)
        }
        Err(NotIn::Away(why)) => Some(why),
    };
    show_reachable(&service.metrics, away.is_none());
    if let Some(why) = &away {
        jobs.reach.lost(now_ms, why, false);
        if restored {
            live.copy.serve(now_ms);
        }
        tracing::error!(%why, from_copy = restored, "the database is away at the start; it is used once it answers");
    }
    let default_environment = settings.default_environment.to_string();
    anyhow::ensure!(
        !live.is_ready() || live.environment(&default_environment).is_some(),
        "there is no environment {default_environment:?}: set `default_environment` to one of {}",
        live.environments()
            .iter()
            .map(|environment| environment.key.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    );
    Ok(away)
}

/// Decides by the copy on disk, if it is good; one that is not is said to be. Whether it decides.
fn restore(assembled: &Assembled, found: Found) -> anyhow::Result<bool> {
    let Assembled { service, jobs, .. } = assembled;
    let (live, now_ms) = (&service.live, service.clock.now_ms());
    let ignore = |why: String| {
        tracing::error!(%why, "the last good state on disk is ignored");
        live.copy.ignore(now_ms, &why);
        Ok(false)
    };
    let copy = match found {
        Found::Nothing => return Ok(false),
        Found::Ignored(error) => return ignore(error.to_string()),
        Found::Good(copy) => copy,
    };
    check_mode(&copy.identity, mode(&service.settings))?;
    if let Err(error) = live.restore(&copy) {
        return ignore(error.to_string());
    }
    for (audience, error) in &copy.damaged {
        tracing::error!(%audience, %error, "an audience in the last good state on disk cannot be read");
    }
    service.keys.replace(copy.keys.clone(), copy.keys_sequence);
    jobs.keeper.knows(&copy);
    Ok(true)
}

/// What the rest is put together from.
struct Core {
    /// The database itself.
    raw: Store,
    /// The database, refused while it is away.
    store: Store,
    reach: Arc<Reach>,
    live: Arc<Live>,
    keys: Arc<KeyTable>,
    manage: Arc<Manage>,
    keeper: Arc<Keeper>,
    clock: SharedClock,
    random: SharedRandom,
    metrics: Metrics,
}

impl Core {
    fn new(settings: &Settings, clock: SharedClock) -> anyhow::Result<Self> {
        let random: SharedRandom = Arc::new(SystemRandom);
        let metrics = Metrics::new()?;
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let raw = database(settings)?;
        let reach = Reach::away(clock.now_ms(), "it was not asked yet");
        let store = raw.guarded(reach.clone());
        let live = Live::new(store.clone(), metrics.clone(), clock.clone());
        let live = Arc::new(live.with_audiences(settings.audience_memory_bytes, read_through(settings)));
        let keys = Arc::new(KeyTable::default());
        let uploads = Uploads::new(settings.data_dir.clone(), settings.audience_ids_max.into());
        let manage = Manage::new(store.clone(), live.clone(), keys.clone(), clock.clone(), random.clone());
        let manage = Arc::new(manage.with_uploads(uploads));
        let keeper =
            Keeper::new(&settings.data_dir, live.clone(), keys.clone(), metrics.clone(), clock.clone());
        let keeper = Arc::new(keeper);
        Ok(Self { raw, store, reach, live, keys, manage, keeper, clock, random, metrics })
    }

    fn admission(&self, settings: &Settings, folder: Folder) -> Arc<Admission> {
        Arc::new(Admission {
            settings: settings.clone(),
            folder,
            store: self.raw.clone(),
            reach: self.reach.clone(),
            live: self.live.clone(),
            manage: self.manage.clone(),
            keeper: self.keeper.clone(),
            clock: self.clock.clone(),
            was_in: AtomicBool::default(),
            first_keys: Mutex::default(),
        })
    }
}

fn assemble(
    settings: Settings,
    folder: Folder,
    clock: SharedClock,
    courtesy: Arc<Courtesy>,
) -> anyhow::Result<Assembled> {
    let core = Core::new(&settings, clock)?;
    let admission = core.admission(&settings, folder);
    let Core { store, reach, live, keys, manage, keeper, clock, random, metrics, .. } = core;
    let limits = writer::Limits {
        events_max: settings.event_queue_events,
        bytes_max: settings.event_queue_bytes,
        batch_max: settings.event_batch_max,
    };
    let (events, writer) = writer::start(store.clone(), live.clone(), metrics.clone(), clock.clone(), limits);
    let node = Arc::new(Node::new(&host_name(), &*random, clock.now_ms())?);
    let exports = Exports::new(store.clone());
    let reports = Arc::new(Reports::new(store.clone(), clock.clone(), metrics.clone()));
    let jobs = Jobs {
        leases: Leases::new(store.clone(), &random)?,
        store: store.clone(),
        reach,
        admission: admission.clone(),
        keeper,
        live: live.clone(),
        manage: manage.clone(),
        reports: reports.clone(),
        keys: keys.clone(),
        node: (!settings.is_embedded()).then(|| node.clone()),
        kept_days: KeptDays {
            exposures: settings.retention_days_exposures,
            steps: settings.retention_days_steps,
            audit: settings.retention_days_audit,
        },
        metrics: metrics.clone(),
        clock: clock.clone(),
    };
    let service = Data::new(Service {
        limits: Limits::new(settings.failed_auth_per_minute.get(), settings.writes_per_minute.get()),
        currencies: settings.currencies.iter().map(ToString::to_string).collect(),
        node,
        streams: Places::new(settings.streams_max, settings.streams_per_key_max, &metrics),
        request_ids: RequestIds::new(&*random)?,
        reports,
        background: tokio::runtime::Handle::current(),
        courtesy,
        clock,
        live,
        keys,
        events,
        exports,
        manage,
        metrics,
        settings,
    });
    Ok(Assembled { service, writer, jobs, admission })
}

/// How audiences that are not in memory are read. SQLite has four readers, PostgreSQL as many connections as set: half
/// of them stay for everybody else.
fn read_through(settings: &Settings) -> Bounds {
    let connections = if settings.is_embedded() { 4 } else { settings.database_connections as usize };
    Bounds {
        cache_bytes: settings.audience_cache_bytes,
        within: Duration::from_millis(settings.audience_timeout_ms),
        at_a_time: connections / 2,
    }
}

/// What this machine calls itself; empty where it does not say.
fn host_name() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    files.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default()
}

/// Forgets addresses and keys that are quiet.
async fn sweep_limits(service: Data<Service>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        service.limits.sweep();
    }
}

/// SIGTERM and SIGINT, which stop the service.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn hear() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Says where the service listens, and what it waits for, if it does.
fn announce(addresses: &[SocketAddr], waits_for: Option<&str>) {
    let Some(address) = addresses.first() else { return };
    let version = env!("CARGO_PKG_VERSION");
    match waits_for {
        None => say(&format!("huidu {version} serves at http://{address}")),
        Some(why) => say(&format!("huidu {version} waits for its database ({why}) at http://{address}")),
    }
}

/// Shows the keys of a first start once the database answers, and a call that works.
async fn show_first_keys(addresses: Vec<SocketAddr>, admission: Arc<Admission>) {
    let Some(address) = addresses.first() else { return };
    while !admission.was_in.load(Ordering::Acquire) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if let Some(keys) = admission.take_first_keys() {
        say_keys(*address, &keys);
    }
}

fn say_keys(address: SocketAddr, keys: &FirstKeys) {
    say("\nThis is the first start. These keys are shown now and never again:\n");
    match &keys.admin {
        Some(admin) => say(&format!("  admin   {admin}")),
        None => say("  admin   (the bootstrap key that was given)"),
    }
    say(&format!("  client  {}   (environment production)", keys.client));
    say(&format!("  server  {}   (environment production)", keys.server));
    say("\nThe tester sees the entry for shoes; try another user, or goods of the category \"phone\":\n");
    say(&format!(
        "  curl -s http://{address}/v1/decisions -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \\\n    \
         -d '{{\"placement\": \"checkout\", \"user\": {{\"id\": \"{}\", \"app_version\": \"10.9.1\"}}, \
         \"order\": {{\"id\": \"o-1\", \"currency\": \"CNY\", \"goods\": [{{\"id\": \"g-1\", \"category\": \"shoes\", \"price\": 45900}}]}}}}'\n",
        keys.client,
        seed::TESTER
    ));
}
