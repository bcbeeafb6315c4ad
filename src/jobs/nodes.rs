//! Writes down what this instance decides by, so that any instance can say who has a change. Beside decisions: with
//! the database away it is written later, and nothing else waits.

use std::time::Duration;

use super::{Jobs, ticks};
use crate::engine::map::Map;
use crate::live::node::Node;
use crate::store::ReachedRow;

/// How often this instance says that it lives; a third of the time after which the others do without it.
const BEAT_EVERY: Duration = Duration::from_secs(4);
/// How long it waits after a swap for the pages to be told, before it writes down how many were.
const SETTLES_AFTER: Duration = Duration::from_millis(100);

/// Pages told of a number, as written down last, by environment and number.
type Written = Map<(i64, i64), i64>;

impl Jobs {
    /// Writes it down after each swap and every few seconds, as long as the service runs.
    pub(super) async fn nodes(&self) {
        // Nobody else can open an embedded database, so nobody asks.
        let Some(node) = &self.node else { return };
        let (mut ticks, mut swaps) = (ticks(BEAT_EVERY), self.live.swaps());
        let mut written = Written::default();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = swaps.changed() => tokio::time::sleep(SETTLES_AFTER).await,
            }
            swaps.mark_unchanged();
            if self.store.is_away() {
                continue;
            }
            if let Err(error) = self.beat(node, &mut written).await {
                tracing::warn!(%error, "what this instance decides by could not be written down");
            }
        }
    }

    async fn beat(&self, node: &Node, written: &mut Written) -> Result<(), crate::store::StoreError> {
        let mut now = Written::default();
        let mut news = Vec::new();
        for environment in self.live.environments() {
            for reached in environment.feed.recent().iter() {
                let at = (environment.number, reached.number);
                let pages = i64::try_from(reached.pages()).unwrap_or(i64::MAX);
                if written.get(&at) != Some(&pages) {
                    let environment = environment.number;
                    news.push(ReachedRow { environment, number: reached.number, at: reached.at, pages });
                }
                now.insert(at, pages);
            }
        }
        self.store.beat(&node.name, node.started_at, &news).await?;
        *written = now;
        Ok(())
    }
}
