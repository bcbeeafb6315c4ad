//! Everything that a handler may need, set up once.

use std::sync::Arc;

use super::limits::Limits;
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
    /// How unit ids are stored; `None` before the secret for it is known.
    #[must_use]
    pub fn unit_ids(&self) -> Option<UnitIds> {
        match self.settings.unit_ids {
            crate::settings::UnitIds::Plain => Some(UnitIds::Plain),
            crate::settings::UnitIds::Hashed => self.live.secrets().unit_ids.map(UnitIds::Hashed),
        }
    }
}
