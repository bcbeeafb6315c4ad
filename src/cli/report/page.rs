//! What every part of a report is written on. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::answer::Part;
use super::figures::Figures;
use super::layout::{self, Cell, Column, WIDTH_MIN};
use super::words::{Language, Words};
use crate::cli::output::{Output, Tone};

/// How a report is shown.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// Its language.
    pub(super) language: Language,
    /// Columns of a line.
    pub(super) width: usize,
    /// Whether there are colours.
    pub(super) output: Output,
    /// Whose times are shown.
    pub(super) zone: TimeZone,
}

/// Lines in the making.
pub(super) struct Page {
    /// The words of its language.
    pub(super) words: &'static Words,
    /// Writes its figures.
    pub(super) figures: Figures,
    look: Look,
    lines: Vec<String>,
}

impl Page {
    /// An empty page.
    pub(super) fn new(look: &Look) -> Self {
        let look = Look { width: look.width.max(WIDTH_MIN), ..look.clone() };
        Self { words: look.language.words(), figures: Figures::of(look.language), look, lines: Vec::new() }
    }

    /// The text, with a line feed after each line but the last.
    pub(super) fn text(self) -> String {
        self.lines.join("\n")
    }

    /// Its language.
    pub(super) fn language(&self) -> Language {
        self.look.language
    }

    /// Columns of a line.
    pub(super) fn width(&self) -> usize {
        self.look.width
    }

    /// Begins a section.
    pub(super) fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.paragraph("", text, Some(Tone::Strong));
    }

    /// A paragraph behind `lead`.
    pub(super) fn paragraph(&mut self, lead: &str, text: &str, tone: Option<Tone>) {
        let lines = layout::paragraph(lead, text, self.look.width);
        let output = self.look.output;
        self.lines.extend(lines.into_iter().map(|line| match tone {
            Some(tone) => output.tone(tone, &line),
            None => line,
        }));
    }

    /// A table; nothing where it has no rows.
    pub(super) fn grid(&mut self, columns: &[Column], rows: &[Vec<Cell>]) {
        if !rows.is_empty() {
            self.lines.extend(layout::grid(columns, rows, self.look.width, self.look.output));
        }
    }

    /// A section that is a table; nothing where it has no rows.
    pub(super) fn table(&mut self, heading: &str, columns: &[Column], rows: &[Vec<Cell>]) {
        if !rows.is_empty() {
            self.heading(heading);
            self.grid(columns, rows);
        }
    }

    /// A time of an answer, to the minute, in the zone that is shown.
    pub(super) fn time(&self, time: &str) -> String {
        let shown = |at: Timestamp| {
            at.to_zoned_datetime(self.look.zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
        };
        time.parse().map_or_else(|_| time.to_owned(), shown)
    }

    /// The zone's name.
    pub(super) fn zone(&self) -> &str {
        self.look.zone.iana_name().unwrap_or("UTC")
    }

    /// A verdict or a state in the language, in the colour of what it means.
    pub(super) fn verdict(&self, word: &str) -> Cell {
        Cell::toned(tone(word), self.look.language.term(word))
    }

    /// A verdict or a state about something, as a line.
    pub(super) fn verdict_line(&mut self, about: &str, word: &str) {
        let verdict = self.look.output.tone(tone(word), &self.look.language.term(word));
        let about = crate::cli::output::plain(about);
        self.lines.push(if about.is_empty() {
            format!("  {verdict}")
        } else {
            format!("  {about}{}{verdict}", self.words.colon)
        });
    }

    /// What the answer is about: flag, environment, goal, range, and when it was computed; `form` says which kind of answer it is.
    pub(super) fn head(&mut self, answer: Part<'_>, form: &str) {
        let words = self.words;
        let of = Language::filled(words.of, answer.text("flag"));
        let form = if form.is_empty() { String::new() } else { format!("{}{form}", words.comma) };
        self.heading(&format!("{of}{}{form}", answer.text("environment")));
        let goal = match answer.text("goal") {
            "" => words.no_goal.to_owned(),
            goal => Language::filled(words.goal, goal),
        };
        let hours = answer.part("attribution_hours").0.as_u64();
        let hours = hours.map(|hours| Language::filled(words.hours, &hours.to_string()));
        let range = Language::filled(words.range, &self.time(answer.text("from")));
        let range = format!("{range}{} {}", self.time(answer.text("to")), self.zone());
        let computed = match answer.text("computed_at") {
            "" => None,
            at => Some(Language::filled(words.computed, &self.time(at))),
        };
        let said = [Some(goal), hours, Some(range), computed].into_iter().flatten().collect::<Vec<_>>();
        self.paragraph("", &said.join(" · "), Some(Tone::Faint));
    }
}

/// The colour of a verdict or a state.
fn tone(word: &str) -> Tone {
    match word {
        "better" | "holds" => Tone::Good,
        "worse" | "harmed" | "broken" => Tone::Bad,
        "undecided" => Tone::Doubtful,
        _ => Tone::Faint,
    }
}
