//! Whether the database answers: found out by one, known to all, so that an outage costs each caller nothing but a
//! look, and no caller touches a database that was not let in yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Why the database is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Since when, milliseconds since 1970.
    pub since: i64,
    /// In words for operators; no secret stands in them.
    pub why: String,
    /// Whether it answers, but is not the one that is wanted.
    pub wrong: bool,
}

/// Whether the database is used now.
#[derive(Debug, Default)]
pub struct Reach {
    away: AtomicBool,
    outage: Mutex<Option<Outage>>,
}

impl Reach {
    /// One that is not used yet, since `now_ms`.
    #[must_use]
    pub fn away(now_ms: i64, why: &str) -> Arc<Self> {
        let reach = Self::default();
        reach.lost(now_ms, why, false);
        Arc::new(reach)
    }

    /// Whether it is not used.
    #[must_use]
    #[inline]
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Why and since when it is not used.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is not used from now on, or still not: then the outage keeps its beginning. Whether that is news: an outage is
    /// met in many words.
    pub fn lost(&self, now_ms: i64, why: &str, wrong: bool) -> bool {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let news = outage.as_ref().is_none_or(|known| known.wrong != wrong);
        let since = outage.as_ref().map_or(now_ms, |known| known.since);
        *outage = Some(Outage { since, why: why.to_owned(), wrong });
        self.away.store(true, Ordering::Release);
        news
    }

    /// It is used from now on; the outage that ends with this.
    pub fn found(&self) -> Option<Outage> {
        let ended = self.outage.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.away.store(false, Ordering::Release);
        ended
    }

    /// It is not used after all: what [`Reach::found`] took for the end of `outage` was none.
    pub fn resume(&self, now_ms: i64, outage: Option<Outage>) {
        let why = || Outage { since: now_ms, why: "its state could not be read".into(), wrong: false };
        *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = Some(outage.unwrap_or_else(why));
        self.away.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_keeps_its_beginning_and_repeats_nothing() {
        let reach = Reach::default();
        assert!(!reach.is_away() && reach.outage().is_none());
        assert!(reach.lost(7, "no answer", false) && reach.is_away());
        assert!(!reach.lost(8, "still no answer", false), "no news");
        assert!(reach.lost(9, "another database", true));
        let ended = Outage { since: 7, why: "another database".into(), wrong: true };
        let found = reach.found();
        assert_eq!(found, Some(ended.clone()));
        reach.resume(10, found);
        assert!(reach.is_away() && !reach.lost(11, "no answer", true), "the same goes on");
        assert_eq!(reach.found().map(|outage| outage.since), Some(ended.since));
        assert!(!reach.is_away() && reach.found().is_none());
    }
}
