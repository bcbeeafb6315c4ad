//! A running service, as anybody sees it.

use super::{Check, span};
use crate::cli::remote::{Health, health};
use crate::clock::{Clock as _, MachineClock, SECOND_MS};

const NAME: &str = "service";
/// A `Date` header has whole seconds.
const CLOCK_MS_GOOD: i64 = 5 * SECOND_MS;

pub(super) fn checks(url: &str) -> Vec<Check> {
    match health(url) {
        Ok(health) => of(url, &health, MachineClock.now_ms()),
        Err(error) => {
            vec![Check::fail(
                NAME,
                error.to_string(),
                "start it, or correct HUIDU_URL; unset, it is not asked",
            )]
        }
    }
}

fn of(url: &str, health: &Health, now_ms: i64) -> Vec<Check> {
    let mut checks = vec![if health.ready {
        Check::ok(NAME, format!("{url} is ready"))
    } else {
        Check::warn(NAME, format!("{url} answers, but is not ready"), "its log says why; see /readyz")
    }];
    if let Some(date_ms) = health.date_ms {
        let ms = date_ms - now_ms;
        checks.push(if ms.abs() > CLOCK_MS_GOOD {
            let side = if ms > 0 { "ahead of" } else { "behind" };
            Check::warn(
                "clock",
                format!("the service's is {} {side} this machine's", span(ms)),
                "set both by NTP",
            )
        } else {
            Check::ok("clock", "the service's agrees with this machine's")
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::State::{Ok, Warn};
    use super::*;

    #[test]
    fn readiness_and_the_clock_are_told() {
        for (ready, date_ms, states) in [
            (true, Some(1_000_000), vec![Ok, Ok]),
            (false, Some(1_000_000), vec![Warn, Ok]),
            (true, Some(1_006_000), vec![Ok, Warn]),
            (true, Some(994_000), vec![Ok, Warn]),
            (true, None, vec![Ok]),
        ] {
            let checks = of("http://x", &Health { ready, date_ms }, 1_000_000);
            assert_eq!(checks.iter().map(|check| check.state).collect::<Vec<_>>(), states);
        }
    }
}
