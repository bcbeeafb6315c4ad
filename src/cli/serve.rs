//! `huidu serve`: puts the service together, runs it, and ends it in order.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::web::Data;
use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::folder::Folder;
use super::output::say;
use super::start::{Started, start};
use crate::access::KeyTable;
use crate::audiences::readthrough::Bounds;
use crate::clock::{MachineClock, SharedClock};
use crate::engine::bucket;
use crate::events::check::UnitIds;
use crate::events::writer;
use crate::http::limits::Limits;
use crate::http::server::{HttpMeters, listen};
use crate::http::service::Service;
use crate::http::stream::places::Places;
use crate::jobs::Jobs;
use crate::jobs::lease::Leases;
use crate::live::Live;
use crate::live::node::Node;
use crate::manage::audiences::Uploads;
use crate::manage::first_start::FirstKeys;
use crate::manage::retention::KeptDays;
use crate::manage::{Manage, seed};
use crate::random::{SharedRandom, SystemRandom};
use crate::report::export::Exports;
use crate::settings::Settings;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{logs, request_id::RequestIds};
use crate::token::TokenKeys;

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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(settings, clock, begun))
}

/// The service, put together but not yet serving.
struct Assembled {
    service: Data<Service>,
    writer: JoinHandle<()>,
    jobs: Jobs,
}

async fn run(settings: Settings, clock: SharedClock, begun: impl FnOnce(&Serving<'_>)) -> anyhow::Result<()> {
    if settings.drops_steps_early() {
        tracing::warn!(
            "retention_days_steps is shorter than retention_days_exposures: reports of the time between count exposed users whose conversions are gone"
        );
    }
    let folder = Folder::hold(&settings.data_dir)?;
    let listener = TcpListener::bind(settings.listen)
        .with_context(|| format!("cannot listen on {}", settings.listen))?;
    let Started { store, identity, first_keys } =
        start(&settings, folder.used_with()?.as_deref(), &*clock).await?;
    folder.remember(&identity.database_id)?;
    let default_environment = settings.default_environment.to_string();
    let Assembled { service, writer, jobs } = assemble(settings, &store, clock).await?;
    let (live, meters) = (service.live.clone(), Arc::new(HttpMeters::new(&service.metrics)));
    let (streams, node) = (service.streams.clone(), jobs.node.clone());
    let sweeping = tokio::spawn(sweep_limits(service.clone()));
    // Heard from before it is ready: a stop at the first moment is an orderly one too.
    let stop = StopSignals::hear()?;
    let (addresses, server) = listen(listener, service, meters)?;
    let handle = server.handle();
    let running = tokio::spawn(server);
    // Until the first snapshots serve, calls are answered 503.
    live.refresh().await.context("the flags cannot be loaded")?;
    anyhow::ensure!(
        live.environment(&default_environment).is_some(),
        "there is no environment {default_environment:?}: set `default_environment` to one of {}",
        live.environments()
            .iter()
            .map(|environment| environment.key.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    );
    let jobs = jobs.start();
    let stopping = Arc::new(AtomicBool::new(false));
    announce(&addresses, first_keys.as_ref());
    if let Some(address) = addresses.first() {
        begun(&Serving { address: *address, first_keys: first_keys.as_ref(), stopping: &stopping });
    }
    stop.wait().await;
    stopping.store(true, Ordering::SeqCst);
    tracing::info!("stopping: requests under way are finished, no new ones are taken");
    // They would not end by themselves, and the server waits for what is open.
    streams.end();
    handle.stop(true).await;
    running.await??;
    jobs.stop().await;
    if let Some(node) = node
        && let Err(error) = store.remove_node(&node.name).await
    {
        tracing::warn!(%error, "this instance could not be taken off the list; it counts as gone in 15 seconds");
    }
    sweeping.abort();
    // An aborted task lets go of the queue only when it is polled once more.
    drop(sweeping.await);
    // Every queue is gone with the server, so the writer ends when nothing waits.
    if tokio::time::timeout(FLUSH_MAX, writer).await.is_err() {
        tracing::error!("the last events could not be stored in time; their senders were not told they were");
    }
    tokio::time::timeout(FLUSH_MAX, store.close()).await.unwrap_or_default();
    tracing::info!("stopped");
    Ok(())
}

async fn assemble(settings: Settings, store: &Store, clock: SharedClock) -> anyhow::Result<Assembled> {
    let random: SharedRandom = Arc::new(SystemRandom);
    let metrics = Metrics::new()?;
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let live = Arc::new(
        Live::new(store.clone(), metrics.clone(), clock.clone())
            .await?
            .with_audiences(settings.audience_memory_bytes, read_through(&settings)),
    );
    let keys = Arc::new(KeyTable::default());
    let uploads = Uploads::new(settings.data_dir.clone(), settings.audience_ids_max.into());
    let manage = Manage::new(store.clone(), live.clone(), keys.clone(), clock.clone(), random.clone());
    let manage = Arc::new(manage.with_uploads(uploads));
    manage.reload_keys().await?;
    let limits = writer::Limits {
        events_max: settings.event_queue_events,
        bytes_max: settings.event_queue_bytes,
        batch_max: settings.event_batch_max,
    };
    let (events, writer) = writer::start(store.clone(), live.clone(), metrics.clone(), clock.clone(), limits);
    let node = Arc::new(Node::new(&host_name(), &*random, clock.now_ms())?);
    let jobs = Jobs {
        store: store.clone(),
        live: live.clone(),
        manage: manage.clone(),
        keys: keys.clone(),
        node: (!settings.is_embedded()).then(|| node.clone()),
        kept_days: KeptDays {
            exposures: settings.retention_days_exposures,
            steps: settings.retention_days_steps,
            audit: settings.retention_days_audit,
        },
        leases: Leases::new(store.clone(), &random)?,
        metrics: metrics.clone(),
        clock: clock.clone(),
    };
    let service = Data::new(Service {
        limits: Limits::new(settings.failed_auth_per_minute.get(), settings.writes_per_minute.get()),
        currencies: settings.currencies.iter().map(ToString::to_string).collect(),
        unit_ids: unit_ids(&settings, store).await?,
        tokens: token_keys(store).await?,
        node,
        streams: Places::new(settings.streams_max, settings.streams_per_key_max, &metrics),
        request_ids: RequestIds::new(&*random)?,
        clock,
        live,
        keys,
        events,
        exports: Exports::new(store.clone()),
        manage,
        metrics,
        settings,
    });
    Ok(Assembled { service, writer, jobs })
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

async fn token_keys(store: &Store) -> anyhow::Result<TokenKeys> {
    let mut keys = Vec::new();
    for row in store.secrets("token").await? {
        let key = <[u8; 32]>::try_from(row.value.as_slice()).ok().context("a token key has not 32 bytes")?;
        keys.push((u16::try_from(row.number).context("too many token keys")?, key));
    }
    anyhow::ensure!(!keys.is_empty(), "the database has no token key");
    Ok(TokenKeys::new(keys))
}

async fn unit_ids(settings: &Settings, store: &Store) -> anyhow::Result<UnitIds> {
    match settings.unit_ids {
        crate::settings::UnitIds::Plain => Ok(UnitIds::Plain),
        crate::settings::UnitIds::Hashed => {
            let secrets = store.secrets("unit_ids").await?;
            let secret = secrets.first().and_then(|row| <[u8; 32]>::try_from(row.value.as_slice()).ok());
            Ok(UnitIds::Hashed(secret.context("the database has no secret for unit ids")?))
        }
    }
}

/// Says where the service listens, and, at the first start, shows its keys and a call that works.
fn announce(addresses: &[SocketAddr], first_keys: Option<&FirstKeys>) {
    let Some(address) = addresses.first() else { return };
    say(&format!("huidu {} serves at http://{address}", env!("CARGO_PKG_VERSION")));
    let Some(keys) = first_keys else { return };
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
