//! A series of a flag: a line of bars for each variant, then point by point. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::answer::Part;
use super::figures::NONE;
use super::layout::{Cell, Column, sparkline};
use super::page::{Look, Page};
use super::whole::{rules, told};
use super::words::{Language, Words};
use crate::cli::output::Tone;
use crate::clock::{DAY_MS, HOUR_MS};
use crate::report::sentence::figure::count;

/// Most bars of a line; neighbours are taken together beyond it.
const BARS_MAX: usize = 48;

/// What a variant came to in a part of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Spell {
    /// All who were exposed.
    exposed: u64,
    /// Those of them whose window has closed.
    matured: u64,
    converted: u64,
}

impl Spell {
    fn of(row: Part<'_>) -> Self {
        let matured = row.count("exposed_users");
        Self {
            exposed: matured + row.count("maturing_users"),
            matured,
            converted: row.count("converted_users"),
        }
    }

    fn add(&mut self, other: Self) {
        self.exposed += other.exposed;
        self.matured += other.matured;
        self.converted += other.converted;
    }

    fn rate(self) -> Option<f64> {
        (self.matured > 0).then(|| self.converted as f64 / self.matured as f64)
    }
}

/// A variant with its spells, in the order of time, those without anybody too.
struct Line<'a> {
    row: Part<'a>,
    spells: Vec<Spell>,
}

/// A series as people read it.
pub(super) fn shown(answer: &Value, look: &Look) -> String {
    let (mut page, answer) = (Page::new(look), Part(answer));
    let words = page.words;
    let is_hourly = answer.text("by") == "hour";
    let form =
        if is_hourly { words.by_hour.to_owned() } else { Language::filled(words.by_day, answer.text("tz")) };
    page.head(answer, &form);
    let lines = lines(answer, if is_hourly { HOUR_MS } else { DAY_MS });
    if lines.is_empty() {
        page.paragraph("  ", words.no_points, None);
    }
    sparks(&mut page, answer, &lines);
    points(&mut page, answer, &lines, is_hourly);
    if answer.list("notes").any(|note| note.text("code") != "null_rates") {
        page.heading(words.notes);
        told(&mut page, answer);
    }
    page.text()
}

fn is_of(row: Part<'_>, other: Part<'_>) -> bool {
    ["rule", "variant", "arm"].iter().all(|name| row.text(name) == other.text(name))
}

/// Each variant's spells, one every `step_ms`.
fn lines(answer: Part<'_>, step_ms: i64) -> Vec<Line<'_>> {
    let begins =
        |point: &Part<'_>| point.text("from").parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    let first = answer.list("points").find_map(|point| begins(&point)).unwrap_or_default();
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut length = 0;
    for point in answer.list("points") {
        // A day of 23 or 25 hours is a day.
        let after = begins(&point).unwrap_or(first) - first + step_ms / 2;
        let at = usize::try_from(after.div_euclid(step_ms)).unwrap_or_default();
        length = length.max(at + 1);
        for row in point.list("variants") {
            let known = lines.iter().position(|line| is_of(line.row, row));
            let known = known.unwrap_or_else(|| {
                lines.push(Line { row, spells: Vec::new() });
                lines.len() - 1
            });
            let Some(line) = lines.get_mut(known) else { continue };
            line.spells.resize(length, Spell::default());
            if let Some(spell) = line.spells.get_mut(at) {
                spell.add(Spell::of(row));
            }
        }
    }
    lines.iter_mut().for_each(|line| line.spells.resize(length, Spell::default()));
    // Those who decide first, as in the report.
    let order = |line: &Line<'_>| {
        ["treatment", "control"].iter().position(|arm| *arm == line.row.text("arm")).unwrap_or(2)
    };
    lines.sort_by_key(order);
    lines
}

/// Neighbours together, so that at most `most` are left.
fn merged(spells: &[Spell], most: usize) -> Vec<Spell> {
    let together = spells.len().div_ceil(most.max(1)).max(1);
    let sum = |some: &[Spell]| {
        let mut sum = Spell::default();
        some.iter().for_each(|spell| sum.add(*spell));
        sum
    };
    spells.chunks(together).map(sum).collect()
}

fn sparks(page: &mut Page, answer: Part<'_>, lines: &[Line<'_>]) {
    let words = page.words;
    let columns = [
        Column::text(words.variant, 0),
        Column::text(words.arm, 3),
        Column::text(words.rule, 1),
        Column::number(words.exposed, 0),
        Column::text("", 2),
        Column::number(words.rate, 0),
        Column::text("", 0),
    ];
    let bars = (page.width() / 3).min(BARS_MAX);
    let shown: Vec<Vec<Spell>> = lines.iter().map(|line| merged(&line.spells, bars)).collect();
    let most = shown.iter().flatten().map(|spell| spell.exposed as f64).fold(0.0, f64::max);
    let rates = || shown.iter().flatten().filter_map(|spell| spell.rate());
    let (low, high) = (rates().fold(1.0, f64::min), rates().fold(0.0, f64::max));
    let has_goal = !answer.text("goal").is_empty();
    let rows = lines.iter().zip(&shown).zip(named(lines, words)).map(|((line, spells), rule)| {
        let mut sum = Spell::default();
        spells.iter().for_each(|spell| sum.add(*spell));
        let exposed: Vec<Option<f64>> =
            spells.iter().map(|spell| Some(spell.exposed as f64).filter(|users| *users > 0.0)).collect();
        let rates: Vec<Option<f64>> = spells.iter().map(|spell| spell.rate()).collect();
        vec![
            Cell::toned(Tone::Strong, line.row.text("variant")),
            page.language().term(line.row.text("arm")).into(),
            rule.into(),
            count(sum.exposed).into(),
            sparkline(&exposed, 0.0, most).into(),
            if has_goal { page.figures.share(sum.rate()).into() } else { "".into() },
            if has_goal { sparkline(&rates, low, high).into() } else { "".into() },
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    page.table(words.variants, &columns, &rows);
}

fn named<'a>(lines: &[Line<'a>], words: &Words) -> Vec<&'a str> {
    rules(&lines.iter().map(|line| line.row).collect::<Vec<_>>(), words)
}

/// Point by point: the rate of each variant, and of how many.
fn points(page: &mut Page, answer: Part<'_>, lines: &[Line<'_>], is_hourly: bool) {
    let words = page.words;
    let columns = [
        Column::text(if is_hourly { words.hour } else { words.day }, 0),
        Column::text(words.variant, 0),
        Column::text(words.rule, 1),
        Column::number(words.exposed, 0),
        Column::number(words.maturing, 2),
        Column::number(words.converted, 1),
        Column::number(words.rate, 0),
        Column::text(words.interval, 3),
    ];
    let named = named(lines, words);
    let mut rows = Vec::new();
    for point in answer.list("points") {
        let mut time = match point.text("day") {
            "" => crate::cli::output::minute(point.text("from")),
            day => day.to_owned(),
        };
        for (line, rule) in lines.iter().zip(&named) {
            let Some(row) = point.list("variants").find(|row| is_of(*row, line.row)) else { continue };
            let maturing = row.count("maturing_users");
            let rate = row.number("rate");
            rows.push(vec![
                std::mem::take(&mut time).into(),
                row.text("variant").into(),
                (*rule).into(),
                count(row.count("exposed_users")).into(),
                if maturing > 0 { count(maturing).into() } else { "".into() },
                row.part("converted_users").0.as_u64().map(count).unwrap_or_default().into(),
                page.figures.share(rate).into(),
                rate.map_or_else(|| NONE.to_owned(), |_| page.figures.rates(row.interval("rate_ci"))).into(),
            ]);
        }
    }
    page.table(if is_hourly { words.hour_by_hour } else { words.day_by_day }, &columns, &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_taken_together_where_there_is_no_room() {
        let spell = |exposed| Spell { exposed, matured: exposed, converted: 1 };
        let spells = [spell(1), spell(2), spell(3), spell(4), spell(5)];
        let exposed = |most| merged(&spells, most).iter().map(|spell| spell.exposed).collect::<Vec<_>>();
        assert_eq!(exposed(5), [1, 2, 3, 4, 5]);
        assert_eq!(exposed(4), [3, 7, 5]);
        assert_eq!(exposed(1), [15]);
        assert_eq!(exposed(0), [15]);
    }
}
