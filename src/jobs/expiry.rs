//! The end of tests. Each instance shuts a flag by its own timer, database or not; then one of them, under a
//! lease, closes its stage in the database, once, with an audit row and the next snapshot number.

use std::time::Duration;

use super::{Jobs, ticks};
use crate::engine::flag::State;
use crate::engine::key::FlagKey;
use crate::engine::map::Set;
use crate::live::Environment;
use crate::manage::ManageError;

/// How often ends that this instance has seen are looked for in the database.
const CLOSE_EVERY: Duration = Duration::from_secs(1);
/// The lease of this work.
const LEASE: &str = "expiry";

/// A form of a flag whose stage is known to be closed: environment, flag, version.
type Closed = (i64, i64, i64);

impl Jobs {
    /// Closes stages whose end has passed, as long as the service runs.
    pub(super) async fn close_expired(&self) {
        let mut ticks = ticks(CLOSE_EVERY);
        let mut closed: Set<Closed> = Set::default();
        loop {
            ticks.tick().await;
            if self.store.is_away() {
                continue;
            }
            for environment in self.live.environments() {
                if let Err(error) = self.close_expired_of(&environment, &mut closed).await {
                    tracing::warn!(%error, environment = %environment.key, "the end of a test could not be written down yet");
                }
            }
        }
    }

    async fn close_expired_of(
        &self,
        environment: &Environment,
        closed: &mut Set<Closed>,
    ) -> Result<(), ManageError> {
        let Some(published) = environment.published().filter(|published| published.expired > 0) else {
            return Ok(());
        };
        let form =
            |flag: &crate::engine::compile::CompiledFlag| (environment.number, flag.number, flag.version);
        let expired =
            published.snapshot.flags().iter().filter(|flag| flag.expired && flag.state == State::Live);
        let unknown: Vec<_> = expired.filter(|flag| !closed.contains(&form(flag))).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let numbers: Vec<i64> = unknown.iter().map(|flag| flag.number).collect();
        let open = self.store.open_stages(environment.number, &numbers).await?;
        let still_open = |number: i64| open.binary_search(&number).is_ok();
        closed.extend(unknown.iter().filter(|flag| !still_open(flag.number)).map(|flag| form(flag)));
        let keys: Vec<FlagKey> =
            unknown.iter().filter(|flag| still_open(flag.number)).map(|flag| flag.key.clone()).collect();
        if keys.is_empty() {
            return Ok(());
        }
        // Whether this instance or another closes them, the next tick finds them closed.
        let work = self
            .leases
            .under(LEASE, |lease| async move { self.manage.close_expired(&lease, environment, &keys).await });
        work.await?.unwrap_or(Ok(()))
    }
}
