//! What commands write: words for people, with colours on a terminal only, or JSON for programs.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::Context as _;
use comfy_table::{Attribute, Color, ColumnConstraint, ContentArrangement, Table, presets};
use serde_json::Value;

/// How output is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    colours: bool,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Not as it should be.
    Bad,
    /// Beside the point.
    Faint,
    /// The point.
    Strong,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Doubtful => "33",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

impl Tone {
    fn colour(self, cell: comfy_table::Cell) -> comfy_table::Cell {
        match self {
            Self::Good => cell.fg(Color::DarkGreen),
            Self::Doubtful => cell.fg(Color::DarkYellow),
            Self::Bad => cell.fg(Color::DarkRed),
            Self::Faint => cell.add_attribute(Attribute::Dim),
            Self::Strong => cell.add_attribute(Attribute::Bold),
        }
    }
}

impl Output {
    /// Colours where `wanted` and standard output is a terminal.
    pub(super) fn of_process(wanted: bool) -> Self {
        Self { colours: wanted && std::io::stdout().is_terminal() }
    }

    /// No colours.
    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { colours: false }
    }

    /// Colours wherever it goes.
    #[cfg(test)]
    pub(super) fn coloured() -> Self {
        Self { colours: true }
    }

    /// `text` in a tone.
    pub(super) fn tone(self, tone: Tone, text: &str) -> String {
        if self.colours && !text.is_empty() {
            format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
        } else {
            text.to_owned()
        }
    }
}

/// Writes a line for people; a closed pipe is no reason to fail.
pub(super) fn say(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Writes a line of complaint.
pub(super) fn complain(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Writes JSON, indented: people read it too.
pub(super) fn say_json(value: &Value) {
    say(&pretty(value));
}

/// Writes an answer: its JSON for programs, or words.
pub(super) fn answer(json: &Value, as_json: bool, words: impl FnOnce() -> String) {
    if as_json {
        say_json(json);
    } else {
        say(&words());
    }
}

/// Writes lines; `false` where nobody reads on.
pub(super) fn write_lines<'l>(lines: impl Iterator<Item = &'l str>) -> bool {
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// A time to the minute, as tables show it.
pub(super) fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

/// JSON as files hold it: two blanks a level, keys in byte order.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// A cell of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell in a tone.
    pub(super) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Some(tone) }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: None }
    }
}

/// Columns of the terminal; `None` where output is none.
pub(super) fn terminal_width() -> Option<u16> {
    Table::new().width()
}

/// Lines of columns under their names, as wide as the terminal. A text that came from elsewhere cannot steer it.
pub(super) fn table(names: &[&str], rows: Vec<Vec<Cell>>, output: Output) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Asked before colours are decided, which have their own rules.
    match table.width() {
        Some(width) => {
            table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if output.colours {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table.set_header(names.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| {
            let shown = comfy_table::Cell::new(plain(&cell.text));
            match cell.tone {
                Some(tone) => tone.colour(shown),
                None => shown,
            }
        }));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if at == 0 {
            // What a line is about is never cut.
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

/// Who made a change, for people: the name of a key without its id.
pub(super) fn who(actor: &str) -> String {
    let named = actor.strip_prefix("key:").and_then(|actor| actor.split_once(" ("));
    named.and_then(|(_, name)| name.strip_suffix(')')).unwrap_or(actor).to_owned()
}

/// `text` without what would steer a terminal: names and reasons are other people's texts.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A JSON value in a sentence: texts as they are, the rest as JSON.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

/// The bytes of a file, or of standard input for `-`.
pub(super) fn read_input(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
            .context("standard input cannot be read")?;
        return Ok(bytes);
    }
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_terminal_gets_colours() {
        assert_eq!(Output::plain().tone(Tone::Bad, "x"), "x");
        assert_eq!(Output { colours: true }.tone(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Output { colours: true }.tone(Tone::Bad, ""), "");
    }

    #[test]
    fn a_table_is_columns_and_cannot_steer_the_terminal() {
        let rows = || {
            let cells = |key: &str, n: &str| vec![Cell::from(key.to_owned()), Cell::toned(Tone::Good, n)];
            vec![cells("a", "1"), cells("long\u{1b}[2J", "22")]
        };
        let expected = "KEY       N\na         1\nlong [2J  22";
        assert_eq!(table(&["key", "n"], rows(), Output::plain()), expected);
        let coloured = table(&["key", "n"], rows(), Output { colours: true });
        assert!(coloured.contains("\u{1b}[38;5;2m") && !coloured.contains("\u{1b}[2J"), "{coloured:?}");
    }

    #[test]
    fn who_made_a_change_is_named_without_the_id_of_the_key() {
        for (actor, name) in [
            ("key:01a20e91-1 (Wang (Fang))", "Wang (Fang)"),
            ("huidu (first start)", "huidu (first start)"),
            ("key:odd", "key:odd"),
        ] {
            assert_eq!(who(actor), name);
        }
    }

    #[test]
    fn words_of_json() {
        for (value, expected) in
            [(json!("a\nb"), "a b"), (json!(null), "-"), (json!(1.0), "1.0"), (json!([1, "x"]), "[1,\"x\"]")]
        {
            assert_eq!(word(&value), expected);
        }
    }
}
