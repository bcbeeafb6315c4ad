//! From the copy on disk to what decides, before the database has answered. Each part is read as a row of the
//! database is: what of it is bad closes itself only.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::disk::{CopiedAudience, CopiedEnvironment, CopiedFlag, Copy};
use super::error::LiveError;
use super::holder::Live;
use super::load;
use super::secrets::Secrets;
use super::signing::{EnvironmentSettings, Signing};
use crate::engine::compile::StoredFlag;
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::engine::snapshot::{Audience, Snapshot};
use crate::store::FlagRow;

impl Live {
    /// Decides by `copy` from now on. The database's state takes its place once it can be read, and is not older.
    ///
    /// # Errors
    /// [`LiveError`] if its secrets or the key of an environment cannot be read: nothing of it decides then.
    pub fn restore(&self, copy: &Copy) -> Result<(), LiveError> {
        let secrets = Secrets::of(copy.secrets.clone())?;
        let hasher = secrets.audiences.newest()?;
        let mut made = Vec::with_capacity(copy.environments.len());
        for copied in &copy.environments {
            let environment = self.add(copied.number, &copied.key)?;
            let empty = Snapshot::empty(environment.key.clone(), environment.number, hasher.clone());
            made.push((environment, self.snapshot_of(copy, copied, &empty), copied));
        }
        self.secrets.store(Arc::new(secrets));
        self.restored_at.store(copy.restored_at, Ordering::Release);
        for (environment, snapshot, copied) in made {
            let signing = EnvironmentSettings::parse(&copied.settings);
            let signing = signing.map_or_else(
                |why| {
                    tracing::error!(environment = %environment.key, %why, "settings in the copy on disk cannot be read: no client's unit counts");
                    Signing::closed()
                },
                |settings| Signing::of(&settings),
            );
            let number = snapshot.number();
            environment.erased_at.fetch_max(number, Ordering::AcqRel);
            environment.standing.confirm(copied.confirmed_at, environment.key.as_str(), &self.metrics);
            environment.standing.doubt(false);
            self.publish(&environment, |_| Some((snapshot, Arc::new(signing))));
        }
        if !copy.environments.is_empty() {
            self.ready.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn snapshot_of(&self, copy: &Copy, copied: &CopiedEnvironment, empty: &Snapshot) -> Snapshot {
        let audiences = copied.audiences.iter().filter_map(|audience| {
            let members = copy.members.get(&(copied.number, audience.key.clone())).cloned();
            audience_of(audience, members)
        });
        let now_ms = self.clock.now_ms();
        let flags = copied.flags.iter().filter_map(|flag| flag_of(flag, now_ms)).collect();
        let mut snapshot = empty.next(copied.snapshot, audiences.collect(), flags);
        for flag in &copied.flags {
            if let (Some(why), Some(known)) = (&flag.frozen, snapshot.find(&flag.key)) {
                snapshot = snapshot.freeze(&[known.index], why);
            }
        }
        snapshot
    }
}

fn audience_of(
    copied: &CopiedAudience,
    ids: Option<Arc<crate::engine::membership::Members>>,
) -> Option<Audience> {
    let (Ok(key), Some(kind)) = (AudienceKey::parse(&copied.key), AudienceKind::parse(&copied.kind)) else {
        tracing::error!(audience = %copied.key, "an audience in the copy on disk cannot be read");
        return None;
    };
    Some(Audience {
        key,
        kind,
        version: copied.version,
        generation: copied.generation,
        size: copied.size,
        ids,
        // Only the database can say whether it is whole there: until then it cannot be read.
        read_through: false,
    })
}

fn flag_of(copied: &CopiedFlag, now_ms: i64) -> Option<StoredFlag> {
    let row = FlagRow {
        number: copied.number,
        key: copied.key.clone(),
        version: copied.version,
        // The whole copy has its sum.
        sha256: load::checksum(&copied.document),
        document: copied.document.clone(),
        state: copied.state.clone(),
        stage_open: copied.stage,
        stages: 0,
        updated_at: copied.updated_at,
        updated_by: copied.updated_by.clone(),
    };
    let mut flag = load::flag(row, None, now_ms)?;
    // A copy does not say.
    flag.stages = None;
    if let Some(why) = &copied.broken {
        flag.document = Err(why.as_str().into());
    }
    Some(flag)
}
