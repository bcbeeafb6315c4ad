//! Who has a change: the proof that a kill arrived everywhere.

use super::{Manage, ManageError};
use crate::engine::key::FlagKey;
use crate::live::Environment;
use crate::live::feed::Reached;
use crate::store::{ChangeAt, NodeReachedRow};

/// An instance that decides by a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// The instance's name.
    pub node: String,
    /// Since when, milliseconds since 1970; `None`: from before anything is known of it.
    pub at: Option<i64>,
    /// Milliseconds from the change, by the clocks of two instances.
    pub ms: Option<i64>,
}

/// How far a change has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagation {
    /// The version of the flag.
    pub version: i64,
    /// The snapshot number that it took; `None` for a change so old that it is not known any more.
    pub number: Option<i64>,
    /// When it was made.
    pub changed_at: i64,
    /// The instances that decide by it.
    pub nodes: Vec<Confirmed>,
    /// Those that live and do not yet.
    pub waiting: Vec<String>,
    /// Open pages that were told of it.
    pub pages_told: i64,
    /// When a unit was last exposed to the flag, by event time.
    pub last_exposure_at: Option<i64>,
}

impl Manage {
    /// How far a version of a flag has come, as this instance, named `node`, knows by itself and from the database.
    ///
    /// # Errors
    /// [`ManageError::NotFound`] for an unknown flag or version.
    pub async fn propagation(
        &self,
        environment: &Environment,
        key: &FlagKey,
        version: Option<i64>,
        node: &str,
    ) -> Result<Propagation, ManageError> {
        let published = environment.published().ok_or(ManageError::NotFound("environment"))?;
        let flag = published.snapshot.find(key.as_str()).ok_or(ManageError::NotFound("flag"))?;
        let row = self.version(environment, key, version.unwrap_or(flag.version)).await?;
        let change = self.store.change_of_version(environment.number, flag.number, row.version).await?;
        let number = change.map_or(0, |change| change.number);
        let mut rows = self.store.nodes_reached(environment.number, number).await?;
        rows.retain(|row| row.node != node);
        rows.push(own_row(node, number, published.snapshot.number(), &environment.feed.recent()));
        rows.sort_by(|a, b| a.node.cmp(&b.node));
        let last_exposure_at = self.store.last_exposure(environment.number, flag.number).await?;
        let counted = rows.iter().filter(|_| change.is_some()).filter_map(|row| row.pages);
        Ok(Propagation {
            version: row.version,
            number: change.map(|change| change.number),
            changed_at: change.map_or(row.at, |change| change.at),
            pages_told: counted.sum(),
            waiting: rows.iter().filter(|row| row.number.is_none()).map(|row| row.node.clone()).collect(),
            nodes: rows.into_iter().filter_map(|row| confirmed(row, change)).collect(),
            last_exposure_at,
        })
    }
}

/// What this instance knows of itself, which the database may not know yet.
fn own_row(node: &str, number: i64, present: i64, recent: &[Reached]) -> NodeReachedRow {
    // What is no more among the recent was reached before all of them.
    let oldest = recent.first().map_or(i64::MAX, |reached| reached.number);
    let found = recent.iter().find(|reached| reached.number >= number && oldest <= number);
    NodeReachedRow {
        node: node.to_owned(),
        number: found.map(|reached| reached.number).or_else(|| (present >= number).then_some(present)),
        at: found.map(|reached| reached.at),
        pages: found.map(|reached| i64::try_from(reached.pages()).unwrap_or(i64::MAX)),
    }
}

fn confirmed(row: NodeReachedRow, change: Option<ChangeAt>) -> Option<Confirmed> {
    row.number?;
    let at = row.at.filter(|_| change.is_some());
    let ms = at.zip(change).map(|(at, change)| (at - change.at).max(0));
    Some(Confirmed { node: row.node, at, ms })
}
