//! Places of flags and audiences in the snapshots of their environment.

/// A flag's place in its environment's snapshots. It never changes, since flags are archived, not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlagIndex(pub(super) u32);

impl FlagIndex {
    /// As an index into tables that stand beside the snapshot.
    #[must_use]
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// An audience's place in its environment's snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudienceIndex(pub(super) u32);
