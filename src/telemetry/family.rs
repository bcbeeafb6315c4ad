//! A metric's series by their labels, each with the front of its line made ready: to write ten thousand of them is to
//! copy texts and digits. The numbers themselves are the library's, whose own vectors copy and sort each label at each
//! scrape.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::{Equivalent, HashMap};
use prometheus::core::Metric as _;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGauge};
use smallvec::SmallVec;

/// Seconds: from a fifth of a millisecond, where decisions live, to ten seconds.
const SECONDS: [f64; 14] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// A kind of series.
pub trait Series: Clone {
    /// The kind's name in the text format.
    const KIND: &'static str;

    /// One that was never counted in.
    ///
    /// # Errors
    /// The library's, if it takes no metric of this name.
    fn make(name: &str, help: &str) -> prometheus::Result<Self>;

    /// Appends its lines; `labels` are its labels without braces.
    fn write(&self, name: &str, labels: &str, out: &mut String);
}

impl Series for IntCounter {
    const KIND: &'static str = "counter";

    fn make(name: &str, help: &str) -> prometheus::Result<Self> {
        Self::new(name, help)
    }

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(out, (name, ""), labels, self.get());
    }
}

impl Series for IntGauge {
    const KIND: &'static str = "gauge";

    fn make(name: &str, help: &str) -> prometheus::Result<Self> {
        Self::new(name, help)
    }

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(out, (name, ""), labels, self.get());
    }
}

impl Series for Gauge {
    const KIND: &'static str = "gauge";

    fn make(name: &str, help: &str) -> prometheus::Result<Self> {
        Self::new(name, help)
    }

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        line(out, (name, ""), labels, Real(self.get()));
    }
}

impl Series for Histogram {
    const KIND: &'static str = "histogram";

    fn make(name: &str, help: &str) -> prometheus::Result<Self> {
        Self::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))
    }

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let metric = self.metric();
        let histogram = metric.get_histogram();
        let comma = if labels.is_empty() { "" } else { "," };
        let mut bucket = |bound: Real, count: u64| {
            // A String takes any text.
            let _written = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        };
        for own in histogram.get_bucket() {
            bucket(Real(own.upper_bound()), own.cumulative_count());
        }
        bucket(Real(f64::INFINITY), histogram.get_sample_count());
        line(out, (name, "_sum"), labels, Real(histogram.get_sample_sum()));
        line(out, (name, "_count"), labels, histogram.get_sample_count());
    }
}

/// A number as the text format has it.
struct Real(f64);

impl std::fmt::Display for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => number.fmt(f),
        }
    }
}

fn line(out: &mut String, (name, ending): (&str, &str), labels: &str, value: impl std::fmt::Display) {
    for part in [name, ending] {
        out.push_str(part);
    }
    if !labels.is_empty() {
        for part in ["{", labels, "}"] {
            out.push_str(part);
        }
    }
    // A String takes any text.
    let _written = writeln!(out, " {value}");
}

/// A metric with `N` labels.
#[derive(Debug)]
pub struct Family<S, const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    series: Arc<RwLock<AllSeries<S, N>>>,
}

impl<S, const N: usize> Clone for Family<S, N> {
    fn clone(&self) -> Self {
        Self { name: self.name, help: self.help, labels: self.labels, series: self.series.clone() }
    }
}

#[derive(Debug)]
struct AllSeries<S, const N: usize> {
    by_values: HashMap<Values<N>, S, foldhash::fast::RandomState>,
    /// The same by their labels as they are written, in that order.
    in_order: BTreeMap<Box<str>, S>,
    /// What is given out where the library makes none.
    blank: S,
}

#[derive(Debug, PartialEq, Eq)]
struct Values<const N: usize>([Box<str>; N]);

impl<const N: usize> Hash for Values<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked(&self.0).hash(state);
    }
}

/// Values as they are asked for: nothing is copied to find a series.
struct Asked<'v, V, const N: usize>(&'v [V; N]);

impl<V: AsRef<str>, const N: usize> Hash for Asked<'_, V, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|value| value.as_ref().hash(state));
    }
}

impl<V: AsRef<str>, const N: usize> Equivalent<Values<N>> for Asked<'_, V, N> {
    fn equivalent(&self, key: &Values<N>) -> bool {
        self.0.iter().zip(&key.0).all(|(own, other)| own.as_ref() == &**other)
    }
}

impl<S: Series> Family<S, 0> {
    /// The series of a metric without labels; it exists from here on.
    pub fn only(&self) -> S {
        self.with_label_values(&[] as &[&str; 0])
    }
}

impl<S: Series, const N: usize> Family<S, N> {
    /// A metric without series.
    ///
    /// # Errors
    /// The library's, if it takes no metric of this name.
    pub fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> prometheus::Result<Self> {
        let blank = S::make(name, help)?;
        let series = AllSeries { by_values: HashMap::default(), in_order: BTreeMap::new(), blank };
        Ok(Self { name, help, labels, series: Arc::new(RwLock::new(series)) })
    }

    /// The series with these values, in the order of the labels; it exists from here on.
    pub fn with_label_values<V: AsRef<str>>(&self, values: &[V; N]) -> S {
        if let Some(known) = self.read(|all| all.by_values.get(&Asked(values)).cloned()) {
            return known;
        }
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.by_values.get(&Asked(values)) {
            return known.clone();
        }
        // The name was good when the family was made.
        let new = S::make(self.name, self.help).unwrap_or_else(|_error| all.blank.clone());
        all.in_order.insert(self.written(values), new.clone());
        all.by_values.insert(Values(values.each_ref().map(|value| value.as_ref().into())), new.clone());
        new
    }

    /// Takes a series away; whether it was there.
    pub fn remove_label_values<V: AsRef<str>>(&self, values: &[V; N]) -> bool {
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        all.in_order.remove(&self.written(values));
        all.by_values.remove(&Asked(values)).is_some()
    }

    /// Takes away all series whose first values are these.
    pub fn remove_beginning(&self, first: &[&str]) {
        let begins = |values: &Values<N>| first.iter().zip(&values.0).all(|(own, other)| *own == &**other);
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> =
            all.by_values.extract_if(|values, _| begins(values)).map(|(values, _)| values).collect();
        for Values(values) in gone {
            all.in_order.remove(&self.written(&values));
        }
    }

    /// Appends all series in the text format of Prometheus; nothing where there is none.
    pub fn write(&self, out: &mut String) {
        let Self { name, help, .. } = self;
        self.read(|all| {
            if !all.in_order.is_empty() {
                let kind = S::KIND;
                // A String takes any text.
                let _written = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            for (labels, series) in &all.in_order {
                series.write(name, labels, out);
            }
        });
    }

    fn read<R>(&self, look: impl FnOnce(&AllSeries<S, N>) -> R) -> R {
        look(&self.series.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The labels of a line, by name, with these values.
    fn written<V: AsRef<str>>(&self, values: &[V; N]) -> Box<str> {
        let mut out = String::new();
        let mut pairs = self.labels.iter().zip(values).collect::<SmallVec<[_; 8]>>();
        pairs.sort_by_key(|(label, _)| **label);
        for (label, value) in pairs {
            if !out.is_empty() {
                out.push(',');
            }
            out.push_str(label);
            out.push_str("=\"");
            for letter in value.as_ref().chars() {
                match letter {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    letter => out.push(letter),
                }
            }
            out.push('"');
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::core::Collector;
    use prometheus::{Encoder as _, GaugeVec, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
    use proptest::prelude::*;

    fn text<S: Series, const N: usize>(family: &Family<S, N>) -> String {
        let mut out = String::new();
        family.write(&mut out);
        out
    }

    /// What the library writes.
    fn of_library(collector: impl Collector + 'static) -> String {
        let registry = Registry::new();
        registry.register(Box::new(collector)).unwrap();
        let mut out = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn counters_read_as_the_library_writes_them(series in prop::collection::vec(("\\PC{0,9}|[a\\\\\"\n]{0,4}", 0_u64..1 << 53), 0..20)) {
            let own = Family::<IntCounter, 2>::new("a_total", "How many.", ["variant", "flag"]).unwrap();
            let theirs = IntCounterVec::new(Opts::new("a_total", "How many."), &["variant", "flag"]).unwrap();
            for (at, (flag, count)) in series.iter().enumerate() {
                // The library takes ("a", "bc") and ("ab", "c") for the same.
                let variant = format!("{at:02}");
                own.with_label_values(&[variant.as_str(), flag]).inc_by(*count);
                theirs.with_label_values(&[variant.as_str(), flag]).inc_by(*count);
            }
            let (own, theirs) = (text(&own), of_library(theirs));
            let sorted = |text: &str| {
                let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            prop_assert_eq!(sorted(&own), sorted(&theirs));
        }

        #[test]
        fn gauges_and_histograms_do_too(numbers in prop::collection::vec(prop::num::f64::ANY, 1..9), times in prop::collection::vec(0.0..20.0, 0..30)) {
            let own = Family::<Gauge, 1>::new("g", "What.", ["n"]).unwrap();
            let theirs = GaugeVec::new(Opts::new("g", "What."), &["n"]).unwrap();
            for (n, number) in numbers.iter().filter(|number| number.is_finite()).enumerate() {
                own.with_label_values(&[n.to_string()]).set(*number);
                theirs.with_label_values(&[n.to_string()]).set(*number);
            }
            prop_assert_eq!(text(&own), of_library(theirs));
            let own = Family::<Histogram, 1>::new("h", "How long.", ["n"]).unwrap();
            let buckets = HistogramOpts::new("h", "How long.").buckets(SECONDS.to_vec());
            let theirs = HistogramVec::new(buckets, &["n"]).unwrap();
            for time in times {
                own.with_label_values(&["x"]).observe(time);
                theirs.with_label_values(&["x"]).observe(time);
            }
            prop_assert_eq!(text(&own), of_library(theirs));
        }
    }

    #[test]
    fn a_metric_without_labels_and_numbers_that_are_none() {
        let gauge = Family::<Gauge, 0>::new("g", "What.", []).unwrap();
        assert_eq!(text(&gauge), "", "nothing is there yet");
        for (number, written) in
            [(1.5, "1.5"), (f64::NEG_INFINITY, "-Inf"), (f64::INFINITY, "+Inf"), (f64::NAN, "NaN")]
        {
            gauge.only().set(number);
            assert_eq!(text(&gauge), format!("# HELP g What.\n# TYPE g gauge\ng {written}\n"));
        }
        let histogram = Family::<Histogram, 0>::new("h", "How long.", []).unwrap();
        histogram.only().observe(0.3);
        let text = text(&histogram);
        assert!(text.contains("\nh_bucket{le=\"0.25\"} 0\nh_bucket{le=\"0.5\"} 1\n"), "{text}");
        assert!(text.ends_with("\nh_bucket{le=\"+Inf\"} 1\nh_sum 0.3\nh_count 1\n"), "{text}");
    }

    #[test]
    fn a_series_is_one_and_the_same_until_it_is_taken_away() {
        let family = Family::<IntCounter, 2>::new("a_total", "How many.", ["flag", "variant"]).unwrap();
        for (flag, variant) in [("b", "on"), ("a", "on"), ("a", "off"), ("ab", "")] {
            family.with_label_values(&[flag, variant]).inc();
        }
        family.clone().with_label_values(&["a".to_owned(), "on".to_owned()]).inc_by(4);
        let lines = |family: &Family<IntCounter, 2>| {
            text(family).lines().skip(2).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            lines(&family),
            [
                r#"a_total{flag="a",variant="off"} 1"#,
                r#"a_total{flag="a",variant="on"} 5"#,
                r#"a_total{flag="ab",variant=""} 1"#,
                r#"a_total{flag="b",variant="on"} 1"#,
            ]
        );
        assert!(family.remove_label_values(&["b", "on"]) && !family.remove_label_values(&["b", "on"]));
        family.remove_beginning(&["a"]);
        assert_eq!(lines(&family), [r#"a_total{flag="ab",variant=""} 1"#]);
        assert_eq!(family.with_label_values(&["a", "on"]).get(), 0, "it begins anew");
    }

    #[test]
    fn no_metric_has_a_name_that_the_library_refuses() {
        assert!(Family::<IntCounter, 0>::new("no name", "How many.", []).is_err());
    }
}
