//! Taking a unit out of audiences, for good.

use std::time::Duration;

use super::edit::Edit;
use super::subjects;
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::live::Environment;
use crate::live::load::part_checksum;
use crate::manage::{Caller, Manage, ManageError};
use crate::store::{AudienceRow, HashedId, Place};

/// How long other instances are given to hear that an id is no member, before nothing tells of it any more. One that
/// is slower loads the audience anew, since its size does not fit.
const HEARD_WITHIN: Duration = Duration::from_millis(1_500);

impl Manage {
    /// The audiences of a kind that `id` is a member of.
    ///
    /// # Errors
    /// [`ManageError`] of the database.
    pub(in crate::manage) async fn audiences_with(
        &self,
        environment: &Environment,
        kind: AudienceKind,
        id: &str,
    ) -> Result<Vec<AudienceKey>, ManageError> {
        let mut found = Vec::new();
        for (key, row) in self.audiences_of_kind(environment, kind).await? {
            let place = Place { environment: environment.number, audience: &key, generation: row.generation };
            if self.store.members(place, &[id], None).await? == Some(vec![true]) {
                found.push(key);
            }
        }
        Ok(found)
    }

    /// Removes `id` from all audiences of a kind, as anybody would; then takes it out of the contents that are kept for
    /// a rollback, and out of what says that it was removed. The audiences that named it are answered.
    ///
    /// # Errors
    /// Any failure of a write; what is done stays done.
    pub(in crate::manage) async fn take_out_of_audiences(
        &self,
        caller: &Caller,
        environment: &Environment,
        kind: AudienceKind,
        id: &str,
    ) -> Result<Vec<AudienceKey>, ManageError> {
        let (mut named, mut removed) = (Vec::new(), false);
        for (key, _) in self.audiences_of_kind(environment, kind).await? {
            if self.store.audience_names(environment.number, &key, id).await? {
                let ids = [id.to_owned()];
                let changed = self.edit_audience(caller, environment, &key, Edit::Remove, &ids).await?;
                removed |= changed.turned > 0;
                named.push(key);
            }
        }
        if removed {
            tokio::time::sleep(HEARD_WITHIN).await;
        }
        for key in &named {
            self.forget_in_audience(environment, key, id).await?;
        }
        Ok(named)
    }

    async fn forget_in_audience(
        &self,
        environment: &Environment,
        key: &AudienceKey,
        id: &str,
    ) -> Result<(), ManageError> {
        let secrets = self.live.secrets();
        let keys = &secrets.audiences;
        let hasher = keys.newest().map_err(ManageError::Behind)?;
        let hashed = HashedId {
            id,
            packed: hasher.hash(id).to_le_bytes(),
            hash_key: keys.newest_number(),
            checksum: part_checksum,
        };
        let mut change = self.begin(environment).await?;
        // Deleted meanwhile: its contents go with it.
        let Some(row) = change.audience(key).await? else { return Ok(()) };
        if change.forget_id(&row, hashed).await? {
            // Whoever read it half before and half after reads it again.
            change.commit_change(&subjects(environment, key), self.clock.now_ms()).await?;
            self.live.catch_up(environment).await?;
        }
        Ok(())
    }

    async fn audiences_of_kind(
        &self,
        environment: &Environment,
        kind: AudienceKind,
    ) -> Result<Vec<(AudienceKey, AudienceRow)>, ManageError> {
        let rows = self.store.audiences(environment.number).await?.into_iter();
        let of_kind = rows.filter(|row| row.kind == kind.as_str());
        Ok(of_kind.filter_map(|row| Some((AudienceKey::parse(&row.key).ok()?, row))).collect())
    }
}
