//! Figures as text: with the same decimals as the service's sentences, in the words of a language. Pure.

use super::answer::Part;
use super::words::{Language, Words};
use crate::report::sentence::figure::{Digits, count};
use crate::stats::figures::Interval;

/// What stands where there is no figure.
pub(super) const NONE: &str = "-";

/// Currencies whose minor unit is not a hundredth (ISO 4217, list one).
const NO_DECIMALS: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF"];
const THREE_DECIMALS: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

/// Writes figures in one language.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    words: &'static Words,
}

impl Figures {
    /// Those of `language`.
    pub(super) fn of(language: Language) -> Self {
        Self { words: language.words() }
    }

    /// A rate that is known as well as `interval` says.
    pub(super) fn rate(self, rate: Option<f64>, interval: Option<(f64, f64)>) -> String {
        let digits = interval.map_or_else(|| Digits::of(0.0, 1.0), |(low, high)| Digits::of(low, high));
        rate.map_or_else(|| NONE.to_owned(), |rate| self.per_cent(&digits.rate(rate)))
    }

    /// A share to one decimal.
    pub(super) fn share(self, share: Option<f64>) -> String {
        share.map_or_else(|| NONE.to_owned(), |share| self.per_cent(&format!("{:.1}", 100.0 * share)))
    }

    /// A percentage that somebody set.
    pub(super) fn set(self, percent: Option<f64>) -> String {
        percent.map_or_else(|| NONE.to_owned(), |percent| self.per_cent(&percent.to_string()))
    }

    fn per_cent(self, number: &str) -> String {
        Language::filled(self.words.per_cent, number)
    }

    /// From a rate to a rate, rounded outward.
    pub(super) fn rates(self, interval: Option<(f64, f64)>) -> String {
        let Some((low, high)) = interval else { return NONE.to_owned() };
        let digits = Digits::of(low, high);
        let plain = |text: String| text.trim_start_matches('+').to_owned();
        let low = Language::filled(self.words.to, &plain(digits.floor(low)));
        self.per_cent(&format!("{low}{}", plain(digits.ceil(high))))
    }

    /// A difference in points, and from where to where it may be; with enough decimals to tell the limits from `margin`.
    pub(super) fn points(
        self,
        difference: Option<f64>,
        interval: Option<(f64, f64)>,
        margin: f64,
    ) -> (String, String) {
        let Some(((low, high), difference)) = interval.zip(difference) else {
            let difference = difference.map(|difference| Digits::of(0.0, 1.0).signed(difference));
            return (difference.unwrap_or_else(|| NONE.to_owned()), NONE.to_owned());
        };
        let digits = Digits::of(low, high).apart(margin, Interval { low, high });
        let from = Language::filled(self.words.to, &digits.floor(low));
        (digits.signed(difference), format!("{from}{}", digits.ceil(high)))
    }

    /// The smallest effect that could be found, and how long it takes to find the one that the flag asks for; nothing where
    /// that is not known, or found already.
    pub(super) fn found(self, smallest: Part<'_>) -> String {
        let both = |words: &str, always: &str, fixed: &str| {
            Language::filled(&Language::filled(words, always), fixed)
        };
        let points = |field: &str| {
            let effect = smallest.number(field)?;
            Some(Digits::of(0.0, effect).rate(effect))
        };
        let now = points("always_valid").zip(points("fixed"));
        let now = now.map(|(always, fixed)| both(self.words.found_by_now, &always, &fixed));
        let days = |field: &str| smallest.part(field).0.as_u64().map(count);
        let later = days("days_always_valid").zip(days("days_fixed")).filter(|(days, _)| days != "0");
        let later = later.map(|(always, fixed)| both(self.words.found_in, &always, &fixed));
        let said: Vec<String> = now.into_iter().chain(later).collect();
        said.join(self.words.space)
    }

    /// What each value of a metric's `by` adds or takes, in points.
    pub(super) fn added(self, row: Part<'_>) -> String {
        let entries = row.list("by").filter_map(|entry| {
            let (difference, _) = self.points(Some(entry.number("absolute_lift")?), None, 0.0);
            // A value and its figure stay on one line.
            Some(format!("{}\u{a0}{difference}", self.value(entry.text("value"))))
        });
        entries.collect::<Vec<_>>().join(", ")
    }

    /// A value of a metric's `by`: the service calls those that are not listed `other`.
    fn value(self, name: &str) -> &str {
        if name == "other" { self.words.other } else { name }
    }

    /// A probability that something is chance, behind "p".
    pub(super) fn chance(self, p: f64) -> String {
        if p < 0.001 { "< 0.001".to_owned() } else { format!("= {p:.3}") }
    }

    /// A time that many took, as people say it.
    pub(super) fn duration(self, seconds: Option<f64>) -> String {
        let Some(seconds) = seconds else { return NONE.to_owned() };
        let (words, number) = match seconds {
            seconds if seconds < 90.0 => (self.words.seconds, seconds),
            seconds if seconds < 5_400.0 => (self.words.minutes, seconds / 60.0),
            seconds if seconds < 129_600.0 => (self.words.long_hours, seconds / 3_600.0),
            seconds => (self.words.days, seconds / 86_400.0),
        };
        Language::filled(words, &format!("{number:.1}"))
    }

    /// Sums by currency.
    pub(super) fn sums(self, row: Part<'_>) -> String {
        let sums = row.fields("value");
        let sums = sums.map(|(currency, sum)| format!("{} {currency}", money(sum.as_f64(), currency, false)));
        sums.collect::<Vec<_>>().join(", ")
    }

    /// Users by value of an attribute, those that somebody had.
    pub(super) fn split(self, row: Part<'_>) -> String {
        let counts = row.fields("by").filter_map(|(name, users)| Some((name, users.as_u64()?)));
        let mut counts: Vec<(&str, u64)> = counts.filter(|(_, users)| *users > 0).collect();
        counts.sort_by_key(|(_, users)| std::cmp::Reverse(*users));
        let named = counts.iter().map(|(name, users)| format!("{} {}", self.value(name), count(*users)));
        named.collect::<Vec<_>>().join(", ")
    }
}

/// An amount of minor units in units of the currency.
pub(super) fn money(minor: Option<f64>, currency: &str, is_signed: bool) -> String {
    let Some(minor) = minor else { return NONE.to_owned() };
    let decimals = match currency {
        known if NO_DECIMALS.contains(&known) => 0,
        known if THREE_DECIMALS.contains(&known) => 3,
        _ => 2,
    };
    let text =
        format!("{:.decimals$}", minor.abs() / [1.0, 10.0, 100.0, 1_000.0].get(decimals).unwrap_or(&1.0));
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), count);
    let point = if rest.is_empty() { "" } else { "." };
    let is_zero = text.chars().all(|digit| matches!(digit, '0' | '.'));
    let sign = match minor {
        _ if is_zero => "",
        minor if minor < 0.0 => "-",
        _ if is_signed => "+",
        _ => "",
    };
    format!("{sign}{whole}{point}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        for (minor, currency, signed, expected) in [
            (1_575_933.0, "CNY", false, "15,759.33"),
            (1_575_933.0, "JPY", false, "1,575,933"),
            (1_575_933.0, "KWD", false, "1,575.933"),
            (-10.7, "CNY", true, "-0.11"),
            (-0.2, "CNY", true, "0.00"),
            (45.0, "CNY", true, "+0.45"),
            (0.0, "CNY", true, "0.00"),
        ] {
            assert_eq!(money(Some(minor), currency, signed), expected);
        }
        assert_eq!(money(None, "CNY", true), "-");
    }

    #[test]
    fn times_have_a_unit_that_people_use() {
        let figures = Figures::of(Language::En);
        for (seconds, expected) in
            [(8.2, "8.2 s"), (210.0, "3.5 min"), (15_120.0, "4.2 h"), (216_000.0, "2.5 days")]
        {
            assert_eq!(figures.duration(Some(seconds)), expected);
        }
        assert_eq!(Figures::of(Language::Zh).duration(Some(210.0)), "3.5 分钟");
        assert_eq!(figures.duration(None), "-");
    }

    #[test]
    fn figures_have_the_decimals_that_their_precision_deserves() {
        let figures = Figures::of(Language::En);
        assert_eq!(figures.rate(Some(0.103_84), Some((0.0861, 0.1248))), "10.4 %");
        assert_eq!(figures.rates(Some((0.0861, 0.1248))), "8.6 to 12.5 %");
        assert_eq!(figures.rate(Some(0.103_84), Some((0.103_7, 0.103_9))), "10.38 %");
        let points = |difference, interval| figures.points(difference, interval, 0.0);
        assert_eq!(points(Some(0.012), Some((-0.0021, 0.0261))), ("+1.2".into(), "-0.3 to +2.7".into()));
        assert_eq!(points(Some(0.012), None), ("+1.2".into(), "-".into()));
        assert_eq!(points(None, None), ("-".into(), "-".into()));
        assert_eq!(Figures::of(Language::Zh).rates(Some((0.0861, 0.1248))), "8.6 至 12.5%");
    }

    #[test]
    fn the_smallest_effect_is_told_as_far_as_it_is_known() {
        let figures = Figures::of(Language::En);
        let told = |smallest: serde_json::Value| figures.found(Part(&smallest));
        let whole =
            json!({"fixed": 0.0572, "always_valid": 0.1008, "days_fixed": 506, "days_always_valid": 1_000});
        assert_eq!(
            told(whole),
            "Smallest effect found by now in four of five cases: 10.1 points (at a single look 5.7). \
             The smallest that the flag asks for: in 1,000 days (at a single look 506)."
        );
        let unknown =
            json!({"fixed": 0.000_05, "always_valid": 0.0001, "days_fixed": null, "days_always_valid": null});
        assert_eq!(
            told(unknown),
            "Smallest effect found by now in four of five cases: 0.010 points (at a single look 0.005)."
        );
        assert_eq!(told(json!(null)), "");
        let by = json!({"by": [{"value": "wechat", "absolute_lift": 0.021}, {"value": "alipay", "absolute_lift": -0.016}]});
        assert_eq!(figures.added(Part(&by)), "wechat\u{a0}+2.1, alipay\u{a0}-1.6");
    }

    #[test]
    fn splits_name_what_somebody_had() {
        let row = json!({"by": {"a": 2, "b": 1_200, "other": 0}, "value": {"CNY": 100, "JPY": 100}});
        let figures = Figures::of(Language::En);
        assert_eq!(figures.sums(Part(&row)), "1.00 CNY, 100 JPY");
        assert_eq!(figures.split(Part(&row)), "b 1,200, a 2");
        let row = json!({"by": {"other": 3}});
        assert_eq!(Figures::of(Language::Zh).split(Part(&row)), "其他 3");
        assert_eq!(figures.split(Part(&json!({}))), "");
    }
}
