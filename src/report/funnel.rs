//! How far one unit came in the funnel.
//!
//! Each stop counts at its earliest event that is not before the stop before it. A stop that nobody may see
//! (`optional`) never holds up what comes after: the others are walked first, and it counts where one of its events fits
//! in between, or, unseen, because a later stop was reached.

use serde::{Deserialize, Serialize};

use super::plan::Stop;

/// What became of one stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOutcome {
    /// It counts as reached, in order.
    pub reached: bool,
    /// Reached, but only because a later stop was.
    pub inferred: bool,
    /// An event of it is there that does not fit the order.
    pub out_of_order: bool,
    /// Milliseconds since the stop before it, or since the exposure; `None` unless both were seen in order.
    pub since_ms: Option<u64>,
}

/// The outcome of each stop of `stops`, of an exposure at `shown_at` whose events lie at `times`: one ascending list a
/// stop, all inside the window.
#[must_use]
pub fn walk(stops: &[Stop], times: &[Vec<i64>], shown_at: i64) -> Vec<StopOutcome> {
    let seen = seen_in_order(stops, times, shown_at);
    let furthest = seen.iter().rposition(Option::is_some);
    let mut before = Some(shown_at);
    let outcome = stops.iter().enumerate().map(|(at, stop)| {
        let own = seen.get(at).copied().flatten();
        let inferred = own.is_none() && stop.optional && furthest.is_some_and(|furthest| furthest > at);
        let since_ms = own.zip(before).and_then(|(own, before)| u64::try_from(own - before).ok());
        before = own;
        StopOutcome {
            reached: own.is_some() || inferred,
            inferred,
            out_of_order: own.is_none() && times.get(at).is_some_and(|times| !times.is_empty()),
            since_ms,
        }
    });
    outcome.collect()
}

/// When each stop was seen in order.
fn seen_in_order(stops: &[Stop], times: &[Vec<i64>], shown_at: i64) -> Vec<Option<i64>> {
    let earliest = |at: usize, from: i64| {
        times.get(at).and_then(|times| times.get(times.partition_point(|time| *time < from)).copied())
    };
    let mut seen = vec![None; stops.len()];
    // The stops that must be seen, up to the first that was not.
    let (mut reached, mut end) = (shown_at, stops.len());
    for (at, _) in stops.iter().enumerate().filter(|(_, stop)| !stop.optional) {
        match (earliest(at, reached), seen.get_mut(at)) {
            (Some(time), Some(place)) => (*place, reached) = (Some(time), time),
            _ => {
                end = at;
                break;
            }
        }
    }
    // What lies between them, no later than the next that was seen.
    let mut from = shown_at;
    for at in 0..end {
        if seen.get(at).copied().flatten().is_none() {
            let next = seen.get(at..).unwrap_or_default().iter().flatten().next().copied();
            let fits = earliest(at, from).filter(|time| next.is_none_or(|next| *time <= next));
            if let Some(place) = seen.get_mut(at) {
                *place = fits;
            }
        }
        from = seen.get(at).copied().flatten().unwrap_or(from);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stops by name, optional ones with `?`; `expected` by stop: time since the one before, `i` inferred, `o` out of
    /// order, `-` not reached.
    fn check(stops: &str, times: &[&[i64]], expected: &str) {
        let stops: Vec<Stop> = stops
            .split(' ')
            .map(|name| Stop { step: name.trim_end_matches('?').into(), optional: name.ends_with('?') })
            .collect();
        let times: Vec<Vec<i64>> = times.iter().map(|times| times.to_vec()).collect();
        let words = walk(&stops, &times, 100).into_iter().map(|outcome| {
            let mut word = match (outcome.reached, outcome.inferred, outcome.since_ms) {
                (false, ..) => "-".to_owned(),
                (true, true, None) => "i".to_owned(),
                (true, false, Some(since)) => since.to_string(),
                (true, false, None) => "?".to_owned(),
                (true, true, Some(_)) => panic!("inferred, yet with a time"),
            };
            if outcome.out_of_order {
                word.push('o');
            }
            word
        });
        assert_eq!(words.collect::<Vec<_>>().join(" "), expected, "{stops:?} {times:?}");
    }

    #[test]
    fn stops_count_at_their_earliest_event_in_order() {
        check("a b c", &[&[110], &[115], &[118]], "10 5 3");
        check("a b c", &[&[110], &[105, 120], &[118, 130]], "10 10 10");
        check("a b", &[&[100], &[100]], "0 0");
        check("a b c", &[&[110], &[], &[120]], "10 - -o");
        check("a b", &[&[], &[105]], "- -o");
        check("a b", &[&[110], &[105]], "10 -o");
        check("a", &[&[]], "-");
    }

    #[test]
    fn an_optional_stop_is_inferred_from_a_later_one_and_never_holds_it_up() {
        check("a b? c", &[&[110], &[], &[120]], "10 i ?");
        check("a b? c", &[&[110], &[115], &[120]], "10 5 5");
        check("a b? c", &[&[110], &[125], &[120]], "10 io ?");
        check("a b? c", &[&[110], &[], &[]], "10 - -");
        check("a b? c", &[&[110], &[115], &[]], "10 5 -");
        check("a b? c?", &[&[110], &[], &[120]], "10 i ?");
        check("a b? c? d", &[&[110], &[118], &[113], &[120]], "10 8 io ?");
        check("a? b", &[&[], &[120]], "i ?");
        check("a b? c d?", &[&[], &[110], &[120], &[130]], "- -o -o -o");
    }
}
