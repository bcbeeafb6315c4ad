//! What must run once over all instances: work under a lease that is taken when there is something to do, renewed
//! while it is done, and given back. A holder that froze is followed by another within ten seconds.

use std::time::Duration;

use crate::random::{RandomError, SharedRandom, base32};
use crate::store::{Lease, Store, StoreError};

/// How long a lease lasts after it was taken or renewed.
const LASTS: Duration = Duration::from_secs(5);
/// How often a holder at work renews it.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// Random characters in a holder's name.
const NAME_CHARACTERS: usize = 10;

/// This instance as a holder of leases.
#[derive(Debug, Clone)]
pub struct Leases {
    store: Store,
    holder: String,
}

impl Leases {
    /// An instance that nobody else is: named by its process and at random.
    ///
    /// # Errors
    /// [`RandomError`] when the source of randomness fails.
    pub fn new(store: Store, random: &SharedRandom) -> Result<Self, RandomError> {
        let holder = format!("{}-{}", std::process::id(), base32(&**random, NAME_CHARACTERS)?);
        Ok(Self { store, holder })
    }

    /// Does `work` under the lease `name`: `None` if another instance holds it, or it was lost meanwhile. Then
    /// the work is dropped where it stands; what it writes checks the lease itself.
    ///
    /// # Errors
    /// [`StoreError`] if the lease could not be asked for.
    pub async fn under<W: Future>(
        &self,
        name: &'static str,
        work: impl FnOnce(Lease) -> W,
    ) -> Result<Option<W::Output>, StoreError> {
        let Some(lease) = self.store.take_lease(name, &self.holder, LASTS).await? else { return Ok(None) };
        tracing::debug!(lease = name, token = lease.token, "lease taken");
        let done = tokio::select! {
            done = work(lease.clone()) => Some(done),
            why = self.renewed_until_lost(&lease) => {
                tracing::warn!(lease = name, token = lease.token, %why, "a lease was lost; its work goes to another instance");
                None
            }
        };
        if let Err(error) = self.store.give_back_lease(&lease).await {
            tracing::debug!(lease = name, %error, "a lease could not be given back; it ends by itself");
        }
        Ok(done)
    }

    async fn renewed_until_lost(&self, lease: &Lease) -> StoreError {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match self.store.renew_lease(lease, LASTS).await {
                // The database may be busy for a moment; if it lasts, the lease ends there.
                Ok(()) | Err(StoreError::Unavailable(_) | StoreError::Timeout { .. }) => {}
                Err(why) => return why,
            }
        }
    }
}
