//! Deleting much, in pieces: each a transaction of its own, well under 50 ms, with a rest as long as the work
//! after it, so that events and changes are written in between.

use std::time::Duration;

use super::{Manage, ManageError};
use crate::store::{EventTable, Lease, StoreError, StoredUnit, UnitSpan, WriteTx};

/// How long a piece should take, at most; the limit is 50 ms.
const LONG: Duration = Duration::from_millis(15);
/// A piece that took less may be larger next time.
const SHORT: Duration = Duration::from_millis(5);
/// Rows of the first piece.
const ROWS_FIRST: i64 = 200;
/// Fewest and most rows of a piece.
const ROWS: (i64, i64) = (20, 2_000);

/// What is deleted piece by piece.
#[derive(Clone, Copy)]
pub(super) enum Piece<'p> {
    /// The exposures of a unit.
    Exposures(StoredUnit<'p>),
    /// The steps of a unit.
    Steps(StoredUnit<'p>),
    /// Events of a span of units from before a time.
    OldEvents(EventTable, &'p UnitSpan, i64),
    /// Audit rows of an environment from before a time.
    OldAudit(i64, i64),
    /// Changes of an environment from before a time, except the newest so many.
    OldChanges(i64, i64, i64),
}

impl Piece<'_> {
    /// For the log: no unit stands in it.
    fn name(self) -> &'static str {
        match self {
            Self::Exposures(_) => "exposures of a unit",
            Self::Steps(_) => "steps of a unit",
            Self::OldEvents(table, ..) => table.as_str(),
            Self::OldAudit(..) => "audit",
            Self::OldChanges(..) => "changes",
        }
    }

    async fn delete(self, tx: &mut WriteTx, limit: i64) -> Result<u64, StoreError> {
        match self {
            Self::Exposures(unit) => tx.erase_exposures(unit, limit).await,
            Self::Steps(unit) => tx.erase_steps(unit, limit).await,
            Self::OldEvents(table, span, before_ms) => {
                tx.delete_old_events(table, span, before_ms, limit).await
            }
            Self::OldAudit(environment, before_ms) => {
                tx.delete_old_audit(environment, before_ms, limit).await
            }
            Self::OldChanges(environment, before_ms, kept) => {
                tx.delete_old_changes(environment, before_ms, kept, limit).await
            }
        }
    }
}

/// How many rows a piece has, learnt from how long the last one took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    rows: i64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { rows: ROWS_FIRST }
    }
}

impl Pace {
    /// Learns from a piece that took `took`.
    fn learn(&mut self, took: Duration) {
        if took > LONG {
            self.rows = (self.rows / 2).max(ROWS.0);
        } else if took < SHORT {
            self.rows = (self.rows * 2).min(ROWS.1);
        }
    }
}

impl Manage {
    /// Deletes all of `piece`, under `lease` if there is one; how many rows is answered. Stopped anywhere, it may be
    /// begun again.
    pub(super) async fn delete_in_pieces(
        &self,
        piece: Piece<'_>,
        lease: Option<&Lease>,
        pace: &mut Pace,
    ) -> Result<u64, ManageError> {
        let mut deleted = 0;
        loop {
            let mut tx = self.store.begin_write().await?;
            // From here on others wait.
            let began = self.clock.monotonic_ns();
            if let Some(lease) = lease {
                tx.hold(lease).await?;
            }
            let now = piece.delete(&mut tx, pace.rows).await?;
            if now == 0 {
                return Ok(deleted);
            }
            tx.commit().await?;
            deleted += now;
            let took = Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(began));
            tracing::debug!(
                piece = piece.name(),
                rows = now,
                ms = took.as_secs_f64() * 1_000.0,
                "a piece was deleted"
            );
            pace.learn(took);
            tokio::time::sleep(took).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_shrink_when_they_take_long_and_grow_when_they_do_not() {
        let mut pace = Pace::default();
        let mut after = |ms: u64| {
            pace.learn(Duration::from_millis(ms));
            pace.rows
        };
        assert_eq!((after(4), after(10), after(16), after(60)), (400, 400, 200, 100));
        for _ in 0..20 {
            after(1_000);
        }
        assert_eq!(after(1_000), ROWS.0, "never to nothing");
        for _ in 0..20 {
            after(1);
        }
        assert_eq!(after(1), ROWS.1);
    }
}
