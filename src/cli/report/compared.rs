//! What is compared: comparisons, guardrails, values, and parts that were looked at afterwards. Pure.

use super::answer::Part;
use super::figures::{NONE, money};
use super::layout::{self, Cell, Column};
use super::page::Page;
use super::whole::rules;
use super::words::{Language, Words};
use crate::cli::output::Tone;
use crate::report::sentence::figure::count;

/// Characters of an interval that is drawn: uneven, so that 0 is in the middle.
const CHART: usize = 17;

/// The widest reach of an interval of `metric` from 0: rows of one metric share their axis.
fn reach(rows: &[Part<'_>], metric: &str) -> f64 {
    let own = rows.iter().filter(|row| row.text("metric") == metric);
    let intervals = own.filter_map(|row| row.interval("always_valid_ci"));
    intervals.fold(0.0, |most, (low, high)| most.max(low.abs()).max(high.abs()))
}

fn drawn(row: Part<'_>, difference: &str, scale: f64) -> String {
    let figures = row.interval("always_valid_ci").zip(row.number(difference));
    let drawn = figures.map(|((low, high), centre)| layout::interval(low, centre, high, scale, CHART));
    drawn.unwrap_or_default()
}

pub(super) fn comparisons(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let columns = [
        Column::text(words.metric, 0),
        Column::text(words.variant, 0),
        Column::text(words.rule, 1),
        Column::number(words.rate, 4),
        Column::number(words.baseline, 4),
        Column::number(words.difference, 2),
        Column::text(words.interval, 0),
        Column::text(words.chart, 3),
        Column::text(words.verdict, 0),
    ];
    let listed: Vec<Part<'_>> = answer.list("comparisons").collect();
    let rows = listed.iter().zip(rules(&listed, words)).map(|(row, rule)| {
        let interval = row.interval("always_valid_ci");
        let (difference, range) = page.figures.points(row.number("absolute_lift"), interval, 0.0);
        vec![
            row.text("metric").into(),
            Cell::toned(Tone::Strong, row.text("variant")),
            rule.into(),
            page.figures.rate(row.number("treatment_rate"), interval).into(),
            page.figures.rate(row.number("control_rate"), interval).into(),
            difference.into(),
            range.into(),
            drawn(*row, "absolute_lift", reach(&listed, row.text("metric"))).into(),
            page.verdict(row.text("verdict")),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    page.table(words.comparisons, &columns, &rows);
    for row in &listed {
        let added = page.figures.added(*row);
        if !added.is_empty() {
            let name = format!("{} · {}{}", row.text("metric"), row.text("variant"), words.by_value);
            page.paragraph("  ", &format!("{name}{added}"), None);
        }
    }
}

pub(super) fn guardrails(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let columns = [
        Column::text(words.step, 0),
        Column::text(words.variant, 0),
        Column::text(words.rule, 1),
        Column::number(words.rate, 3),
        Column::number(words.baseline, 3),
        Column::number(words.difference, 2),
        Column::text(words.interval, 1),
        Column::number(words.allowed, 0),
        Column::text(words.state, 0),
    ];
    let listed: Vec<Part<'_>> = answer.list("guardrails").collect();
    let rows = listed.iter().zip(rules(&listed, words)).map(|(row, rule)| {
        let figures = page.figures;
        let interval = row.interval("always_valid_bounds");
        let ends = match (row.number("margin"), row.number("limit")) {
            (Some(margin), _) => {
                let (difference, range) = figures.points(row.number("difference"), interval, margin);
                let allowed = format!("+{}", crate::report::sentence::figure::share(margin));
                let rate = figures.rate(row.number("treatment_rate"), interval);
                [rate, figures.rate(row.number("control_rate"), interval), difference, range, allowed]
            }
            (None, limit) => {
                let none = String::new;
                [
                    figures.share(row.number("rate")),
                    none(),
                    none(),
                    none(),
                    figures.set(limit.map(|limit| 100.0 * limit)),
                ]
            }
        };
        let names =
            [Cell::from(row.text("step")), Cell::toned(Tone::Strong, row.text("variant")), rule.into()];
        let ends = ends.into_iter().map(Cell::from).chain([page.verdict(row.text("state"))]);
        names.into_iter().chain(ends).collect()
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    page.table(words.guardrails, &columns, &rows);
}

/// A difference of two means, or of two ratios.
struct Means<'a> {
    label: String,
    /// Who is compared.
    versus: Part<'a>,
    /// Where the figures stand.
    figures: Part<'a>,
    /// The fields of the variant's mean and of control's.
    fields: [&'static str; 2],
    /// What the figures are in; without one they are plain numbers.
    currency: Option<&'a str>,
}

impl Means<'_> {
    /// A figure, with a sign if it is a difference.
    fn figure(&self, figure: Option<f64>, is_signed: bool) -> String {
        match (self.currency, figure) {
            (Some(currency), figure) => money(figure, currency, is_signed),
            (None, Some(figure)) if is_signed => format!("{figure:+.4}"),
            (None, Some(figure)) => format!("{figure:.4}"),
            (None, None) => NONE.to_owned(),
        }
    }

    /// From where to where the difference may be: outward, like every limit.
    fn range(&self, words: &Words) -> Option<String> {
        let (low, high) = self.figures.interval("always_valid_ci")?;
        let steps = if self.currency.is_some() { 1.0 } else { 10_000.0 };
        let low = self.figure(Some((low * steps).floor() / steps), true);
        let high = self.figure(Some((high * steps).ceil() / steps), true);
        Some(format!("{}{high}", Language::filled(words.to, &low)))
    }
}

fn means(page: &mut Page, heading: &str, per: &'static str, listed: &[Means<'_>]) {
    let words = page.words;
    let columns = [
        Column::text(words.metric, 0),
        Column::text(words.variant, 0),
        Column::text(words.rule, 1),
        Column::number(per, 0),
        Column::number(words.baseline, 0),
        Column::number(words.difference, 2),
        Column::text(words.interval, 3),
        Column::text(words.chart, 4),
    ];
    let versus: Vec<Part<'_>> = listed.iter().map(|means| means.versus).collect();
    let rows = listed.iter().zip(rules(&versus, words)).map(|(means, rule)| {
        let interval = means.figures.interval("always_valid_ci");
        let scale = interval.map_or(0.0, |(low, high)| low.abs().max(high.abs()));
        let [treatment, control] = means.fields.map(|field| means.figure(means.figures.number(field), false));
        vec![
            means.label.as_str().into(),
            Cell::toned(Tone::Strong, means.versus.text("variant")),
            rule.into(),
            treatment.into(),
            control.into(),
            means.figure(means.figures.number("difference"), true).into(),
            means.range(words).unwrap_or_default().into(),
            drawn(means.figures, "difference", scale).into(),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    page.table(heading, &columns, &rows);
}

/// Value per user, also with large values cut where that was asked for, and per order.
pub(super) fn values(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let (mut per_user, mut per_order) = (Vec::new(), Vec::new());
    for row in answer.list("values") {
        let (currency, name) =
            (row.text("currency"), format!("{} {}", row.text("metric"), row.text("currency")));
        let fields = ["treatment_per_user", "control_per_user"];
        let of =
            |label: String, figures| Means { label, versus: row, figures, fields, currency: Some(currency) };
        per_user.push(of(name.clone(), row));
        let capped = row.part("capped");
        if let Some(cap) = capped.number("cap") {
            let removed = page.figures.share(capped.number("removed_share"));
            let label = format!("{name} \u{2264} {} (-{removed})", money(Some(cap), currency, false));
            per_user.push(of(label, capped));
        }
        let figures = row.part("per_order");
        if figures.number("difference").is_some() {
            let fields = ["treatment_per_order", "control_per_order"];
            per_order.push(Means { fields, ..of(name, figures) });
        }
    }
    means(page, words.values, words.per_user, &per_user);
    means(page, words.order_values, words.per_order, &per_order);
}

/// Events of one step per event of another.
pub(super) fn ratios(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let listed = answer.list("ratios").map(|row| Means {
        label: format!("{} / {}", row.text("metric"), row.text("per")),
        versus: row,
        figures: row,
        fields: ["treatment_ratio", "control_ratio"],
        currency: None,
    });
    let listed: Vec<Means<'_>> = listed.collect();
    means(page, words.ratios, words.ratio, &listed);
}

/// The figures of each value of an attribute.
pub(super) fn segments(page: &mut Page, answer: Part<'_>, attribute: &str) {
    let words = page.words;
    let columns = [
        Column::text(words.by, 0),
        Column::text(words.variant, 0),
        Column::text(words.rule, 1),
        Column::number(words.exposed, 0),
        Column::number(words.converted, 4),
        Column::number(words.rate, 0),
        Column::number(words.difference, 2),
        Column::text(words.interval, 3),
    ];
    let goal = answer.text("goal");
    let mut rows = Vec::new();
    for segment in answer.list("segments") {
        let mut value = if segment.is("is_rest") { words.others } else { segment.text("value") };
        let listed: Vec<Part<'_>> =
            segment.list("variants").filter(|row| row.count("exposed_users") > 0).collect();
        for (row, rule) in listed.iter().zip(rules(&listed, words)) {
            let same = |other: &Part<'_>| {
                other.text("metric") == goal
                    && row.text("arm") == "treatment"
                    && ["rule", "variant"].iter().all(|name| other.text(name) == row.text(name))
            };
            let made = segment.list("comparisons").find(same);
            let (difference, range) = made.map_or_else(Default::default, |made| {
                page.figures.points(made.number("absolute_lift"), made.interval("always_valid_ci"), 0.0)
            });
            rows.push(vec![
                std::mem::take(&mut value).into(),
                row.text("variant").into(),
                rule.into(),
                count(row.count("exposed_users")).into(),
                row.part("converted_users").0.as_u64().map(count).unwrap_or_default().into(),
                page.figures.rate(row.number("rate"), row.interval("rate_ci")).into(),
                difference.into(),
                range.into(),
            ]);
        }
    }
    page.table(&Language::filled(words.segments, attribute), &columns, &rows);
}

/// The goal among users who saw another entry of the placement too, and among the others.
pub(super) fn overlap(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let columns = [
        Column::text(words.flag, 0),
        Column::number(words.both, 2),
        Column::text(words.variant, 0),
        Column::text(words.saw, 0),
        Column::text(words.did_not, 1),
    ];
    let mut rows = Vec::new();
    for other in answer.list("overlap").filter(|other| other.count("units") > 0) {
        for (saw, did_not) in other.list("saw").zip(other.list("did_not")) {
            let told = |made: Part<'_>| {
                let (difference, range) =
                    page.figures.points(made.number("absolute_lift"), made.interval("always_valid_ci"), 0.0);
                format!("{difference} ({range})")
            };
            rows.push(vec![
                other.text("flag").into(),
                count(other.count("units")).into(),
                saw.text("variant").into(),
                told(saw).into(),
                told(did_not).into(),
            ]);
        }
    }
    page.table(words.overlap, &columns, &rows);
}
