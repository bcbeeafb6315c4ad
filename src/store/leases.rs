//! Leases: who does what must be done once. Times are read from the database's clock, so that no instance's own
//! can make it a holder; each new holder gets a higher token, and a write under a lease checks holder and token
//! in its own transaction, so that one that slept too long writes nothing.

use std::time::Duration;

use super::Store;
use super::error::StoreError;
use super::lent::both;
use super::write::WriteTx;

/// A lease as its holder knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: &'static str,
    /// Who holds it.
    pub holder: String,
    /// Counted up with each holder.
    pub token: i64,
}

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LeaseRow {
    /// Its present or last holder.
    pub holder: String,
    /// The token of that holder.
    pub token: i64,
    /// When it ends, in milliseconds since 1970; 0 once given back.
    pub expires_at: i64,
    /// When its work was done last, 0 for never.
    pub done_at: i64,
    /// The database's clock at that moment.
    pub now: i64,
}

impl Store {
    /// Takes the lease `name` for `lasts`, if nobody holds it; `None` if somebody does.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn take_lease(
        &self,
        name: &'static str,
        holder: &str,
        lasts: Duration,
    ) -> Result<Option<Lease>, StoreError> {
        // Asked without a lock first: a holder at work keeps the row locked, and nobody shall wait for that.
        if self.lease(name).await?.is_some_and(|row| row.expires_at > row.now) {
            return Ok(None);
        }
        let mut lent = self.write_transaction("take a lease", self.deadlines.write).await?;
        let sql = lent.pick(
            "INSERT INTO leases (name, holder, token, expires_at, done_at)
             VALUES ($1, $2, 1, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3, 0)
             ON CONFLICT (name) DO UPDATE
             SET holder = excluded.holder, token = leases.token + 1, expires_at = excluded.expires_at
             WHERE leases.expires_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER) RETURNING token",
            "INSERT INTO leases (name, holder, token, expires_at, done_at)
             VALUES ($1, $2, 1, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) + $3, 0)
             ON CONFLICT (name) DO UPDATE
             SET holder = excluded.holder, token = leases.token + 1, expires_at = excluded.expires_at
             WHERE leases.expires_at <= CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) RETURNING token",
        );
        let token = both!(&mut lent, "take a lease", c => sqlx::query_scalar::<_, i64>(sql)
            .bind(name).bind(holder).bind(whole_ms(lasts)).fetch_optional(c))?;
        lent.commit().await?;
        Ok(token.map(|token| Lease { name, holder: holder.to_owned(), token }))
    }

    /// Holds a lease for `lasts` from now on.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if it has ended or is another's.
    pub async fn renew_lease(&self, lease: &Lease, lasts: Duration) -> Result<(), StoreError> {
        let mut lent = self.write_transaction("renew a lease", self.deadlines.write).await?;
        let sql = lent.pick(
            "UPDATE leases SET expires_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4
             WHERE name = $1 AND holder = $2 AND token = $3
               AND expires_at > CAST(unixepoch('subsec') * 1000 AS INTEGER) RETURNING token",
            "UPDATE leases SET expires_at = CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) + $4
             WHERE name = $1 AND holder = $2 AND token = $3
               AND expires_at > CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) RETURNING token",
        );
        let renewed = both!(&mut lent, "renew a lease", c => sqlx::query_scalar::<_, i64>(sql)
            .bind(lease.name).bind(lease.holder.as_str()).bind(lease.token).bind(whole_ms(lasts))
            .fetch_optional(c))?;
        lent.commit().await?;
        renewed.map(drop).ok_or(StoreError::LeaseLost)
    }

    /// Gives a lease back, so that the next holder need not wait for its end. One that was lost stays as it is.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn give_back_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut lent = self.write_transaction("give a lease back", self.deadlines.write).await?;
        both!(&mut lent, "give a lease back", c => sqlx::query_scalar::<_, i64>(
            "UPDATE leases SET expires_at = 0 WHERE name = $1 AND holder = $2 AND token = $3 RETURNING token")
            .bind(lease.name).bind(lease.holder.as_str()).bind(lease.token).fetch_optional(c))?;
        lent.commit().await
    }

    /// A lease as it is stored; `None` if nobody ever held it.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn lease(&self, name: &str) -> Result<Option<LeaseRow>, StoreError> {
        let mut lent = self.reader("lease").await?;
        let sql = lent.pick(
            "SELECT holder, token, expires_at, done_at, CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now
             FROM leases WHERE name = $1",
            "SELECT holder, token, expires_at, done_at,
                    CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now
             FROM leases WHERE name = $1",
        );
        both!(&mut lent, "lease", c => sqlx::query_as::<_, LeaseRow>(sql).bind(name).fetch_optional(c))
    }
}

impl WriteTx {
    /// Makes sure that `lease` is held, and that nobody takes it before this transaction ends; the time of the
    /// database's clock is answered. To be called before anything else is locked.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if it has ended or is another's.
    pub async fn hold(&mut self, lease: &Lease) -> Result<i64, StoreError> {
        let sql = self.lent.pick(
            "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM leases
             WHERE name = $1 AND holder = $2 AND token = $3
               AND expires_at > CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) FROM leases
             WHERE name = $1 AND holder = $2 AND token = $3
               AND expires_at > CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) FOR UPDATE",
        );
        let held = both!(&mut self.lent, "hold a lease", c => sqlx::query_scalar::<_, i64>(sql)
            .bind(lease.name).bind(lease.holder.as_str()).bind(lease.token).fetch_optional(c))?;
        held.ok_or(StoreError::LeaseLost)
    }

    /// Writes down that the work of `lease` is done, now by the database's clock.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] as of [`WriteTx::hold`].
    pub async fn mark_done(&mut self, lease: &Lease) -> Result<(), StoreError> {
        let now = self.hold(lease).await?;
        both!(&mut self.lent, "mark a lease done", c => sqlx::query_scalar::<_, i64>(
            "UPDATE leases SET done_at = $2 WHERE name = $1 RETURNING token")
            .bind(lease.name).bind(now).fetch_optional(c))
        .map(drop)
    }
}

fn whole_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
