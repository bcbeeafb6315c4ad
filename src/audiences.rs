//! Id lists as people send them.

use std::fmt;

/// How an upload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One id a line.
    Text,
    /// The first column; a first line `id` is a header.
    Csv,
    /// A JSON string, or an object with `id`, a line.
    Ndjson,
}

impl Format {
    /// The format of a media type.
    #[must_use]
    pub fn of_media_type(media: &str) -> Option<Self> {
        match media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/plain" => Some(Self::Text),
            "text/csv" => Some(Self::Csv),
            "application/x-ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// A line that is no id: it refuses the whole upload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// The ids of an upload in their order, repeats included.
///
/// # Errors
/// [`LineError`] for the first bad line.
pub fn parse(format: Format, body: &[u8]) -> Result<Vec<String>, LineError> {
    // Spreadsheets begin their files with a byte order mark, which would become part of the first id.
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    match format {
        Format::Csv => parse_csv(body),
        Format::Text | Format::Ndjson => parse_lines(format, body),
    }
}

fn parse_lines(format: Format, body: &[u8]) -> Result<Vec<String>, LineError> {
    let mut ids = Vec::new();
    for (line, bytes) in (1..).zip(body.split(|b| *b == b'\n')) {
        let refuse = |why: String| LineError { line, why };
        let text = std::str::from_utf8(bytes).map_err(|_error| refuse("it is not UTF-8".into()))?.trim();
        if text.is_empty() {
            continue;
        }
        let id = match format {
            Format::Ndjson => ndjson_id(text).map_err(refuse)?,
            Format::Text | Format::Csv => text.to_owned(),
        };
        ids.push(checked(&id).map_err(refuse)?);
    }
    Ok(ids)
}

fn ndjson_id(text: &str) -> Result<String, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_error| "it is no JSON".to_owned())?;
    let id = value.as_str().or_else(|| value.get("id").and_then(serde_json::Value::as_str));
    id.map(|id| id.trim().to_owned())
        .ok_or_else(|| "it is neither a string nor an object with `id`".to_owned())
}

fn parse_csv(body: &[u8]) -> Result<Vec<String>, LineError> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(body);
    let mut ids = Vec::new();
    let mut first = true;
    for record in reader.records() {
        let record = record.map_err(|error| LineError {
            line: error.position().map_or(0, csv::Position::line),
            why: "it is no CSV in UTF-8".into(),
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let id = record.get(0).unwrap_or_default();
        let header = std::mem::take(&mut first) && id.eq_ignore_ascii_case("id");
        if header || (id.is_empty() && record.len() == 1) {
            continue;
        }
        ids.push(checked(id).map_err(|why| LineError { line, why })?);
    }
    Ok(ids)
}

fn checked(id: &str) -> Result<String, String> {
    match id.len() {
        0 => Err("the id is empty".into()),
        257.. => Err("an id has at most 256 bytes".into()),
        _ if id.contains('\0') => Err("the id holds U+0000".into()),
        // An id stands on one line: more of them in one is a quote that nobody closed.
        _ if id.contains(['\n', '\r']) => Err("the id spans lines: a quote is not closed".into()),
        _ => Ok(id.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, body: &str, expected: Result<&[&str], u64>) {
        let parsed = parse(format, body.as_bytes());
        match expected {
            Ok(ids) => assert_eq!(parsed.unwrap(), ids, "{body:?}"),
            Err(line) => assert_eq!(parsed.unwrap_err().line, line, "{body:?}"),
        }
    }

    #[test]
    fn every_format_gives_its_ids_or_the_number_of_the_bad_line() {
        let long = "x".repeat(257);
        check(Format::Text, "u-1\r\n  u-2 \n\n灰\n", Ok(&["u-1", "u-2", "灰"]));
        check(Format::Text, "\u{feff}u-1\n", Ok(&["u-1"]));
        check(Format::Csv, "\u{feff}id\r\nu-1\r\n", Ok(&["u-1"]));
        check(Format::Text, "", Ok(&[]));
        check(Format::Text, &format!("u-1\n{long}\n"), Err(2));
        check(Format::Csv, "id,name\nu-1,Ann\n\"u,2\",Bob\n\n", Ok(&["u-1", "u,2"]));
        check(Format::Csv, "u-1\nid\n", Ok(&["u-1", "id"]));
        check(Format::Csv, "u-1\n,x\n", Err(2));
        check(Format::Csv, "id\n\"u-1\nu-2\nu-3\n", Err(2));
        check(Format::Ndjson, "\"u-1\"\n{\"id\":\"u-2\"}\n", Ok(&["u-1", "u-2"]));
        check(Format::Ndjson, "\"u-1\"\n7\n", Err(2));
        check(Format::Ndjson, "\"a\\u0000\"\n", Err(1));
        assert_eq!(parse(Format::Text, b"ok\n\xff\n").unwrap_err().line, 2);
    }
}
