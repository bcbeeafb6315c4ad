//! Logs: lines to standard error, for people or as JSON, with times in UTC.

use std::borrow::Cow;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Longest text of a stranger in a log line, in bytes.
pub const CLEAN_BYTES_MAX: usize = 200;

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter cannot be read.
    #[error("the log filter cannot be read: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was started before in this process.
    #[error("logging was started before")]
    Started,
}

/// Starts logging for the whole process: once, at its start.
///
/// # Errors
/// [`LogsError`] when the filter is wrong or logging was started before.
pub fn start(format: LogFormat, filter: &str) -> Result<(), LogsError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Pretty => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    };
    started.or(Err(LogsError::Started))
}

/// `text` of a stranger as it may stand in a log line: terminal sequences, control characters, line
/// separators and marks that turn the writing direction are cut out, and all beyond 200 bytes.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let head = text.get(..text.floor_char_boundary(CLEAN_BYTES_MAX)).unwrap_or_default();
    if !head.chars().any(is_unwanted) {
        return Cow::Borrowed(head);
    }
    let mut kept = String::with_capacity(CLEAN_BYTES_MAX);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_csi(&mut rest),
            _ if is_unwanted(c) => {}
            _ if kept.len() + c.len_utf8() > CLEAN_BYTES_MAX => break,
            _ => kept.push(c),
        }
    }
    Cow::Owned(kept)
}

fn is_unwanted(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Skips what belongs to an escape that was just read.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    let mut ahead = rest.clone();
    match ahead.next() {
        Some('[') => {
            *rest = ahead;
            skip_csi(rest);
        }
        // A title, a link and the like: up to BEL or the string's end, both of them control characters.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let end = ahead.clone().position(|c| matches!(c, '\u{7}' | '\u{1b}' | '\u{9c}'));
            if let Some(end) = end {
                *rest = ahead;
                rest.by_ref().take(end).for_each(drop);
            }
        }
        Some('\\') => *rest = ahead,
        _ => {}
    }
}

/// Skips parameters and the final letter of a control sequence.
fn skip_csi(rest: &mut std::str::Chars<'_>) {
    let mut ahead = rest.clone();
    while let Some(c) = ahead.next() {
        match c {
            ' '..='?' => {}
            '@'..='~' => {
                *rest = ahead;
                return;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_is_cut_to_what_a_line_can_hold() {
        for (text, kept) in [
            ("", ""),
            ("灰度 wechat-pay é 👩‍👩‍👧", "灰度 wechat-pay é 👩‍👩‍👧"),
            ("a\r\nb\tc\0d\u{7f}e\u{85}f", "abcdef"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{9b}1;31mred", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}c lone \u{1b}", "c lone "),
            ("\u{1b}]never ends", "]never ends"),
            ("\u{1b}[12", "12"),
            ("\u{1b}[灰", "灰"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{2028}e\u{61c}f\u{feff}", "abcdef"),
        ] {
            assert_eq!(clean(text), kept, "{text:?}");
        }
    }

    #[test]
    fn long_text_is_cut_on_a_character() {
        let text = "灰".repeat(100);
        let cut = clean(&text);
        assert!(matches!(cut, Cow::Borrowed(_)));
        assert_eq!(cut.len(), 198);
        assert_eq!(clean(&"a".repeat(201)).len(), 200);
        assert_eq!(clean(&format!("\n{}灰", "a".repeat(199))), "a".repeat(199));
        assert_eq!(clean(&"\u{1b}[1mx".repeat(300)), "x".repeat(200));
    }

    #[test]
    fn a_bad_filter_is_refused_and_a_second_start_too() {
        assert!(matches!(start(LogFormat::Json, "info,huidu=loud"), Err(LogsError::Filter(_))));
        // Another test may have been first.
        assert!(matches!(start(LogFormat::Pretty, "error"), Ok(()) | Err(LogsError::Started)));
        assert!(matches!(start(LogFormat::Json, "error"), Err(LogsError::Started)));
    }
}
