//! Lines of a given width: columns, wrapped text, and bars made of characters. Pure.

use textwrap::core::display_width;

use crate::cli::output::{Output, Tone, plain};

/// Narrower than this nothing is drawn.
pub(super) const WIDTH_MIN: usize = 40;
/// Blanks between columns.
const GAP: usize = 2;
/// Blanks before every line of a section.
const INDENT: usize = 2;
/// No name is cut shorter.
const NAME_MIN: usize = 6;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    is_number: bool,
    /// The highest leaves first where there is no room; 0 never does.
    leaves: u8,
}

impl Column {
    /// A column of texts.
    pub(super) fn text(name: &'static str, leaves: u8) -> Self {
        Self { name, is_number: false, leaves }
    }

    /// A column of numbers, which stand at the right.
    pub(super) fn number(name: &'static str, leaves: u8) -> Self {
        Self { name, is_number: true, leaves }
    }
}

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell in a tone.
    pub(super) fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: plain(&text.into()), tone: Some(tone) }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        // Keys and attribute values are other people's texts.
        Self { text: plain(&text), tone: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

/// Rows under the names of their columns. What has no room is left out, from the least important column on; columns
/// that are empty in all rows are too.
pub(super) fn grid(columns: &[Column], rows: &[Vec<Cell>], width: usize, output: Output) -> Vec<String> {
    let is_used = |at: usize| rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.text.is_empty()));
    let mut kept: Vec<(usize, Column, usize)> = columns
        .iter()
        .enumerate()
        .filter(|(at, _)| is_used(*at))
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| display_width(&cell.text));
            (at, *column, cells.max().unwrap_or_default().max(display_width(column.name)))
        })
        .collect();
    let room = width.saturating_sub(INDENT);
    let total = |kept: &[(usize, Column, usize)]| {
        kept.iter().map(|(_, _, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while total(&kept) > room {
        let last = kept.iter().map(|(_, column, _)| column.leaves).max().unwrap_or_default();
        if last == 0 {
            break;
        }
        kept.retain(|(_, column, _)| column.leaves < last);
    }
    // Names that are too long all the same are cut; numbers where there is no other way.
    for is_last in [false, true] {
        while total(&kept) > room {
            let long = |(_, column, width): &&mut (usize, Column, usize)| {
                *width > NAME_MIN && (is_last || !column.is_number)
            };
            let Some((_, _, widest)) = kept.iter_mut().filter(long).max_by_key(|(_, _, width)| *width) else {
                break;
            };
            *widest -= 1;
        }
    }
    let mut lines = vec![line(
        kept.iter().map(|(_, column, width)| {
            (padded(&cut(&column.name.to_uppercase(), *width), *width, column.is_number), Some(Tone::Faint))
        }),
        output,
    )];
    for row in rows {
        lines.push(line(
            kept.iter().map(|(at, column, width)| {
                let (text, tone) = row.get(*at).map_or(("", None), |cell| (cell.text.as_str(), cell.tone));
                (padded(&cut(text, *width), *width, column.is_number), tone)
            }),
            output,
        ));
    }
    lines
}

/// Cells side by side, without blanks at the end.
fn line(cells: impl Iterator<Item = (String, Option<Tone>)>, output: Output) -> String {
    let mut cells: Vec<(String, Option<Tone>)> = cells.collect();
    while let Some((text, _)) = cells.last_mut() {
        text.truncate(text.trim_end().len());
        if !text.is_empty() {
            break;
        }
        cells.pop();
    }
    let toned = cells.iter().map(|(text, tone)| match tone {
        Some(tone) => output.tone(*tone, text),
        None => text.clone(),
    });
    format!("{:INDENT$}{}", "", toned.collect::<Vec<_>>().join("  "))
}

fn padded(text: &str, width: usize, at_right: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(display_width(text)));
    if at_right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

/// `text` in at most `width` columns, with `…` where it goes on.
pub(super) fn cut(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for letter in text.chars() {
        let mut longer = short.clone();
        longer.push(letter);
        if display_width(&longer) >= width {
            break;
        }
        short = longer;
    }
    short.push('…');
    short
}

/// A paragraph in lines of `width`, with `lead` before the first and as many blanks before the others.
pub(super) fn paragraph(lead: &str, text: &str, width: usize) -> Vec<String> {
    let blanks = " ".repeat(display_width(lead));
    let options = textwrap::Options::new(width).initial_indent(lead).subsequent_indent(&blanks);
    let options = options.word_splitter(textwrap::WordSplitter::NoHyphenation);
    // A number and its sign stay together.
    let text = plain(text).replace(" %", "\u{a0}%");
    textwrap::wrap(&text, options).into_iter().map(|line| line.replace('\u{a0}', " ")).collect()
}

/// A whole number of cells out of `part` of them.
fn cells(part: f64, width: usize) -> usize {
    (0..=width).rev().find(|cells| *cells as f64 <= part + 1e-9).unwrap_or_default()
}

/// A bar of `share` (0 to 1) of `width`, to the eighth of a character. What is not nothing is seen.
pub(super) fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = share.clamp(0.0, 1.0);
    let eighths = cells((share * 8.0 * width as f64).round(), 8 * width).max(usize::from(share > 0.0));
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS.get(eighths % 8).copied().unwrap_or_default())
}

/// An interval around 0 on an axis from `-scale` to `scale`: `├──●──┤`, with 0 in the middle of `width`.
pub(super) fn interval(low: f64, centre: f64, high: f64, scale: f64, width: usize) -> String {
    let half = width / 2;
    let place = |value: f64| {
        let share = if scale > 0.0 { (value / scale).clamp(-1.0, 1.0) } else { 0.0 };
        let way = cells((share.abs() * half as f64).round(), half);
        if share < 0.0 { half - way } else { half + way }
    };
    let (left, middle, right) = (place(low), place(centre), place(high));
    let drawn = (0..=2 * half).map(|at| match at {
        at if at == middle => '●',
        at if at == left => '├',
        at if at == right => '┤',
        at if at == half => {
            if (left..=right).contains(&at) {
                '┼'
            } else {
                '│'
            }
        }
        at if (left..=right).contains(&at) => '─',
        _ => ' ',
    });
    drawn.collect()
}

/// A line of bars, one a value; a value that is missing is a blank.
pub(super) fn sparkline(values: &[Option<f64>], low: f64, high: f64) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let spark = values.iter().map(|value| {
        let Some(value) = value else { return ' ' };
        let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 };
        HEIGHTS.get(cells((share * 7.0).round(), 7)).copied().unwrap_or(' ')
    });
    spark.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(columns: &[Column], rows: &[&[&str]], width: usize) -> String {
        let rows: Vec<Vec<Cell>> =
            rows.iter().map(|row| row.iter().map(|text| (*text).into()).collect()).collect();
        grid(columns, &rows, width, Output::plain()).join("\n")
    }

    #[test]
    fn columns_leave_by_rank_then_names_are_cut() {
        let columns = [
            Column::text("key", 0),
            Column::number("n", 0),
            Column::text("bar", 2),
            Column::number("more", 1),
            Column::text("empty", 0),
        ];
        let rows: [&[&str]; 2] = [&["long-name", "1", "###", "22"], &["版本二", "1,000", "#", ""]];
        for (width, expected) in [
            (80, "  KEY            N  BAR  MORE\n  long-name      1  ###    22\n  版本二     1,000  #"),
            (28, "  KEY            N  MORE\n  long-name      1    22\n  版本二     1,000"),
            (18, "  KEY            N\n  long-name      1\n  版本二     1,000"),
            (15, "  KEY         N\n  long-…      1\n  版本二  1,000"),
        ] {
            assert_eq!(shown(&columns, &rows, width), expected, "{width}");
        }
    }

    #[test]
    fn other_peoples_texts_cannot_steer_the_terminal() {
        assert_eq!(shown(&[Column::text("a", 0)], &[&["x\u{1b}[2J"]], 80), "  A\n  x [2J");
    }

    #[test]
    fn text_is_cut_and_wrapped_by_its_width_on_the_screen() {
        assert_eq!(cut("灰度发布", 8), "灰度发布");
        assert_eq!(cut("灰度发布", 7), "灰度发…");
        assert_eq!(cut("灰度发布", 6), "灰度…");
        // No full stop begins a line.
        assert_eq!(paragraph("- ", "可以继续放量。", 15), ["- 可以继续放", "  量。"]);
        assert_eq!(paragraph("- ", "可以继续放量。请等待。", 16), ["- 可以继续放量。", "  请等待。"]);
        assert_eq!(paragraph("", "one two three", 8), ["one two", "three"]);
        assert_eq!(paragraph("", "one two 3 %", 10), ["one two", "3 %"]);
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        for (share, expected) in
            [(0.0, ""), (0.001, "▏"), (0.5, "██"), (0.53, "██▏"), (1.0, "████"), (2.0, "████")]
        {
            assert_eq!(bar(share, 4), expected, "{share}");
        }
    }

    #[test]
    fn an_interval_is_drawn_around_zero() {
        for (low, centre, high, expected) in [
            (-1.0, 0.5, 1.0, "├────┼──●─┤"),
            (0.4, 0.6, 0.8, "     │ ├●┤ "),
            (-0.8, -0.4, 0.0, " ├─●─┤     "),
            (-0.01, 0.0, 0.01, "     ●     "),
            (-0.1, 0.0, 0.1, "    ├●┤    "),
            (-9.0, -9.0, 9.0, "●────┼────┤"),
        ] {
            assert_eq!(interval(low, centre, high, 1.0, 11), expected, "{low} {centre} {high}");
        }
        assert_eq!(interval(0.0, 0.0, 0.0, 0.0, 5), "  ●  ");
    }

    #[test]
    fn a_sparkline_has_a_bar_a_value() {
        let values = [Some(0.0), None, Some(0.5), Some(1.0), Some(7.0)];
        assert_eq!(sparkline(&values, 0.0, 1.0), "▁ ▅██");
        assert_eq!(sparkline(&[Some(3.0)], 3.0, 3.0), "▅");
    }
}
