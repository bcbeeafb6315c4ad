//! Everything that a handler may need, set up once.

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::courtesy::Courtesy;
use super::limits::Limits;
use super::problem::{Code, Problem};
use super::stream::places::Places;
use crate::access::KeyTable;
use crate::clock::SharedClock;
use crate::events::Queue;
use crate::events::check::UnitIds;
use crate::live::Live;
use crate::live::node::Node;
use crate::manage::Manage;
use crate::report::Reports;
use crate::report::export::Exports;
use crate::settings::Settings;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_id::RequestIds;

/// What handlers share.
pub struct Service {
    /// What was set.
    pub settings: Settings,
    /// Time.
    pub clock: SharedClock,
    /// What decides.
    pub live: Arc<Live>,
    /// Who may call.
    pub keys: Arc<KeyTable>,
    /// Where events wait.
    pub events: Queue,
    /// Currencies that events may name.
    pub currencies: Vec<String>,
    /// Changes and reads configuration.
    pub manage: Arc<Manage>,
    /// Exports events.
    pub exports: Exports,
    /// Computes results.
    pub reports: Arc<Reports>,
    /// Where work is done that no worker should do: decisions wait for them.
    pub background: tokio::runtime::Handle,
    /// Lets decisions in between two pieces of it.
    pub courtesy: Arc<Courtesy>,
    /// All metrics.
    pub metrics: Metrics,
    /// Rates.
    pub limits: Limits,
    /// This instance.
    pub node: Arc<Node>,
    /// Places for streams.
    pub streams: Arc<Places>,
    /// Makes ids of requests.
    pub request_ids: RequestIds,
}

impl Service {
    /// What `work` comes to, done beside the workers, which decisions wait for; given up with the call.
    ///
    /// # Errors
    /// If it failed without a word, or was given up at a stop.
    pub async fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let mut tasks = JoinSet::new();
        // What it logs stays the request's.
        tasks.spawn_on(work.in_current_span(), &self.background);
        let done = tasks.join_next().await.and_then(Result::ok);
        done.ok_or_else(|| Problem::new(Code::Internal, "the work was given up; the log says why"))
    }

    /// How unit ids are stored; `None` before the secret for it is known.
    #[must_use]
    pub fn unit_ids(&self) -> Option<UnitIds> {
        match self.settings.unit_ids {
            crate::settings::UnitIds::Plain => Some(UnitIds::Plain),
            crate::settings::UnitIds::Hashed => self.live.secrets().unit_ids.map(UnitIds::Hashed),
        }
    }
}
