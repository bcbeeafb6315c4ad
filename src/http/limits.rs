//! Rates: wrong keys per address, management writes per key. Decisions and events have caps only.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use super::problem::{Code, Problem};

type Limiter<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// What the `RateLimit` fields say (IETF draft `httpapi-ratelimit-headers`).
#[derive(Debug, Clone, Copy)]
pub struct RateState {
    quota: u32,
    remaining: u32,
}

impl RateState {
    /// The value of `RateLimit-Policy`.
    #[must_use]
    pub fn policy(self) -> String {
        format!("\"writes\";q={};w=60", self.quota)
    }

    /// The value of `RateLimit`.
    #[must_use]
    pub fn limit(self) -> String {
        format!("\"writes\";r={};t=60", self.remaining)
    }
}

/// The service's rate limits.
pub struct Limits {
    failures: Limiter<IpAddr>,
    writes: Limiter<Box<str>>,
    /// Kept: making one asks the processor what it is, which a virtual machine answers in microseconds.
    clock: DefaultClock,
}

impl Limits {
    /// Limits per minute; 0 counts as 1.
    #[must_use]
    pub fn new(failures_per_minute: u32, writes_per_minute: u32) -> Self {
        let quota = |n: u32| Quota::per_minute(NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
        Self {
            failures: RateLimiter::keyed(quota(failures_per_minute)).with_middleware(),
            writes: RateLimiter::keyed(quota(writes_per_minute)).with_middleware(),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a wrong key.
    ///
    /// # Errors
    /// `rate_limited` for an address that sent too many.
    pub fn failed_authentication(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(address) = address else { return Ok(()) };
        self.failures.check_key(&address).map(|_| ()).map_err(|wait| {
            let seconds = wait.wait_time_from(self.clock.now()).as_secs() + 1;
            let quota = wait.quota().burst_size().get();
            let field = actix_web::http::header::HeaderName::from_static;
            Problem::new(Code::RateLimited, "too many wrong keys from this address")
                .retry_after(seconds)
                .header(field("ratelimit-policy"), format!("\"failures\";q={quota};w=60"))
                .header(field("ratelimit"), "\"failures\";r=0;t=60".to_owned())
        })
    }

    /// Counts a management write of a key.
    ///
    /// # Errors
    /// `rate_limited` for a key that writes too often.
    pub fn write(&self, key: &str) -> Result<RateState, Problem> {
        match self.writes.check_key(&key.into()) {
            Ok(state) => Ok(RateState {
                quota: state.quota().burst_size().get(),
                remaining: state.remaining_burst_capacity(),
            }),
            Err(wait) => {
                let seconds = wait.wait_time_from(self.clock.now()).as_secs() + 1;
                let state = RateState { quota: wait.quota().burst_size().get(), remaining: 0 };
                Err(Problem::new(Code::RateLimited, "too many writes with this key")
                    .retry_after(seconds)
                    .header(
                        actix_web::http::header::HeaderName::from_static("ratelimit-policy"),
                        state.policy(),
                    )
                    .header(actix_web::http::header::HeaderName::from_static("ratelimit"), state.limit()))
            }
        }
    }

    /// Forgets addresses and keys that are quiet, so that memory stays bounded.
    pub fn sweep(&self) {
        self.failures.retain_recent();
        self.writes.retain_recent();
    }
}
