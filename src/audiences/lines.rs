//! One id a line, in three ways of writing it.

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

use super::UploadError;

/// Longest line in bytes, a record of CSV with all its columns included.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Longest id in bytes.
const ID_BYTES_MAX: usize = 256;
/// What spreadsheets begin their files with.
const BYTE_ORDER_MARK: &[u8; 3] = b"\xef\xbb\xbf";

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

/// What takes the ids.
pub type Take<'t> = &'t mut dyn FnMut(&str) -> Result<(), UploadError>;

/// Hands every id of `body` to `take` in their order, repeats included.
///
/// # Errors
/// [`UploadError::Line`] for the first bad line, those of `take`, and `refuse` of what reading failed with.
pub fn read_ids(
    format: Format,
    mut body: impl BufRead,
    refuse: fn(io::Error) -> UploadError,
    take: Take<'_>,
) -> Result<(), UploadError> {
    let mut first = Vec::with_capacity(BYTE_ORDER_MARK.len());
    body.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut first).map_err(refuse)?;
    if first == BYTE_ORDER_MARK {
        first.clear();
    }
    let body = Cursor::new(first).chain(body);
    match format {
        Format::Csv => read_csv(body, refuse, take),
        Format::Text | Format::Ndjson => read_lines(format, body, refuse, take),
    }
}

/// The ids of a whole list in their order, repeats included: for files that somebody gives on the command line.
///
/// # Errors
/// [`LineError`] for the first bad line.
pub fn parse(format: Format, list: &[u8]) -> Result<Vec<String>, LineError> {
    let mut ids = Vec::new();
    let read = read_ids(format, list, UploadError::Disk, &mut |id| {
        ids.push(id.to_owned());
        Ok(())
    });
    match read {
        Ok(()) => Ok(ids),
        Err(UploadError::Line(error)) => Err(error),
        // Nothing else can go wrong in memory.
        Err(error) => Err(LineError { line: 0, why: error.to_string() }),
    }
}

fn read_lines(
    format: Format,
    mut body: impl BufRead,
    refuse: fn(io::Error) -> UploadError,
    take: Take<'_>,
) -> Result<(), UploadError> {
    let mut bytes = Vec::new();
    for line in 1.. {
        let wrong = |why: String| LineError { line, why };
        bytes.clear();
        if body.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(refuse)? == 0 {
            break;
        }
        if bytes.len() as u64 == LINE_BYTES_MAX {
            return Err(wrong(too_long()).into());
        }
        let text = std::str::from_utf8(&bytes).map_err(|_error| wrong("it is not UTF-8".into()))?.trim();
        if text.is_empty() {
            continue;
        }
        if format == Format::Ndjson {
            let id = ndjson_id(text).map_err(wrong)?;
            take(checked(&id).map_err(wrong)?)?;
        } else {
            take(checked(text).map_err(wrong)?)?;
        }
    }
    Ok(())
}

fn ndjson_id(text: &str) -> Result<String, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_error| "it is no JSON".to_owned())?;
    let id = value.as_str().or_else(|| value.get("id").and_then(serde_json::Value::as_str));
    id.map(|id| id.trim().to_owned())
        .ok_or_else(|| "it is neither a string nor an object with `id`".to_owned())
}

/// Stops a record that never ends, such as after a quote that nobody closes, from filling the memory.
struct Bounded<R> {
    inner: R,
    /// Bytes given since the last record.
    given: std::rc::Rc<std::cell::Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given.get() > LINE_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let read = self.inner.read(buffer)?;
        self.given.set(self.given.get() + read as u64);
        Ok(read)
    }
}

fn read_csv(
    body: impl Read,
    refuse: fn(io::Error) -> UploadError,
    take: Take<'_>,
) -> Result<(), UploadError> {
    let given = std::rc::Rc::new(std::cell::Cell::new(0));
    let bounded = Bounded { inner: body, given: given.clone() };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bounded);
    let (mut record, mut first) = (csv::ByteRecord::new(), true);
    loop {
        given.set(0);
        let line = reader.position().line();
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                return Err(match error.into_kind() {
                    csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                        LineError { line, why: too_long() }.into()
                    }
                    csv::ErrorKind::Io(error) => refuse(error),
                    _ => LineError { line, why: "it is no CSV".into() }.into(),
                });
            }
        }
        let line = record.position().map_or(line, csv::Position::line);
        let wrong = |why: String| LineError { line, why };
        let bytes = record.get(0).unwrap_or_default();
        let id = std::str::from_utf8(bytes).map_err(|_error| wrong("it is not UTF-8".into()))?.trim();
        let header = std::mem::take(&mut first) && id.eq_ignore_ascii_case("id");
        if header || (id.is_empty() && record.len() == 1) {
            continue;
        }
        take(checked(id).map_err(wrong)?)?;
    }
}

fn too_long() -> String {
    format!("it has over {LINE_BYTES_MAX} bytes: a line end is missing, or a quote is not closed")
}

/// An id as an audience can hold it.
///
/// # Errors
/// What is wrong with it.
pub fn checked(id: &str) -> Result<&str, String> {
    if id.is_empty() {
        Err("the id is empty".into())
    } else if id.len() > ID_BYTES_MAX {
        Err(format!("an id has at most {ID_BYTES_MAX} bytes"))
    } else if id.contains('\0') {
        Err("the id holds U+0000".into())
    } else if id.contains(['\n', '\r']) {
        // An id stands on one line: more of them in one is a quote that nobody closed.
        Err("the id spans lines: a quote is not closed".into())
    } else {
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(format: Format, body: &[u8]) -> Result<Vec<String>, LineError> {
        // Small reads: no line may depend on where a chunk ends.
        let body = io::BufReader::with_capacity(3, body);
        let mut ids = Vec::new();
        let read = read_ids(format, body, UploadError::Disk, &mut |id| {
            ids.push(id.to_owned());
            Ok(())
        });
        match read {
            Ok(()) => Ok(ids),
            Err(UploadError::Line(error)) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

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
        for format in [Format::Text, Format::Csv, Format::Ndjson] {
            check(format, "", Ok(&[]));
            check(format, "\u{feff}", Ok(&[]));
            check(format, "\n\n\r\n", Ok(&[]));
        }
        check(Format::Text, "a", Ok(&["a"]));
        check(Format::Text, "id\n", Ok(&["id"]));
        check(Format::Text, &format!("u-1\n{long}\n"), Err(2));
        check(Format::Text, &format!("{}\n", "x".repeat(256)), Ok(&[&"x".repeat(256)]));
        check(Format::Text, "a\0b\n", Err(1));
        check(Format::Csv, "id,name\nu-1,Ann\n\"u,2\",Bob\n\n", Ok(&["u-1", "u,2"]));
        check(Format::Csv, "u-1,\"over\ntwo lines\"\n u-2 \n", Ok(&["u-1", "u-2"]));
        check(Format::Csv, "u-1\nid\n", Ok(&["u-1", "id"]));
        check(Format::Csv, "u-1\n,x\n", Err(2));
        check(Format::Csv, "id\n\"u-1\nu-2\nu-3\n", Err(2));
        check(Format::Ndjson, "\"u-1\"\n{\"id\":\"u-2\",\"x\":[]}\n", Ok(&["u-1", "u-2"]));
        check(Format::Ndjson, "\"u-1\"\n7\n", Err(2));
        check(Format::Ndjson, "\"a\\u0000\"\n", Err(1));
        check(Format::Ndjson, "\"a\\nb\"\n", Err(1));
        assert_eq!(parse(Format::Text, b"ok\n\xff\n").unwrap_err().line, 2);
        assert_eq!(parse(Format::Csv, b"ok\n\xff,x\n").unwrap_err().line, 2);
    }

    #[test]
    fn a_line_without_end_is_refused_at_its_bound() {
        let endless = "x".repeat(1 << 20);
        check(Format::Text, &endless, Err(1));
        check(Format::Ndjson, &format!("\"a\"\n{endless}"), Err(2));
        check(Format::Csv, &format!("a\n\"{endless}"), Err(2));
        check(Format::Csv, &format!("a,{endless}\n"), Err(1));
        check(Format::Csv, &format!("a,{}\nb\n", "x".repeat(60_000)), Ok(&["a", "b"]));
    }
}
