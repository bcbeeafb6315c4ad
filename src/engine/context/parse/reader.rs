//! Reads JSON (RFC 8259) once from front to back: no tree of values, texts borrowed from the body. For contexts alone,
//! of which a checkout's answer waits; documents go through `serde_json`.

use std::borrow::Cow;

use crate::engine::context::{ContextError, Element};
use crate::engine::json::DEPTH_MAX;
use crate::engine::number::Number;

/// What a JSON value is, as far as a context can use it.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Absent,
    Text(Cow<'a, str>),
    Number(Number),
    Boolean(bool),
    List(Vec<Element<'a>>),
    /// An object: skipped.
    Object,
}

/// Why a body is refused: boxed, since what every key and value hands back carries the room for it.
pub(super) type Fault = Box<ContextError>;

/// Digits that fit 64 bits whatever they are.
const DIGITS_SAFE: usize = 18;

/// A place in a body.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The beginning of a body.
    pub(super) fn new(body: &'a [u8]) -> Result<Self, Fault> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Self { text, at: 0 }),
            Err(error) => Err(refused(body, error.valid_up_to(), "invalid UTF-8")),
        }
    }

    /// The next byte that is no white space, which stays the next.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.text.as_bytes().get(self.at).copied();
            match byte {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Goes past the byte that was peeked.
    #[inline]
    fn pass(&mut self) {
        self.at += 1;
    }

    /// The next key of the object that was entered, past its colon; `None` past the end of the object.
    #[inline(always)]
    pub(super) fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, Fault> {
        let mut next = self.peek();
        if next == Some(b'}') {
            self.pass();
            return Ok(None);
        }
        if !first {
            if next != Some(b',') {
                return Err(self.refuse("expected `,` or `}`"));
            }
            self.pass();
            next = self.peek();
        }
        if next != Some(b'"') {
            return Err(self.refuse("expected a key in quotes"));
        }
        let key = self.text_value()?;
        if self.peek() != Some(b':') {
            return Err(self.refuse("expected `:`"));
        }
        self.pass();
        Ok(Some(key))
    }

    /// Whether the list that was entered has another item; past its end if not.
    #[inline]
    pub(super) fn item(&mut self, first: bool) -> Result<bool, Fault> {
        match self.peek() {
            Some(b']') => {
                self.pass();
                Ok(false)
            }
            Some(b',') if !first => {
                self.pass();
                Ok(true)
            }
            _ if first => Ok(true),
            _ => Err(self.refuse("expected `,` or `]`")),
        }
    }

    /// Any value; `depth` levels are open around it.
    #[inline(always)]
    pub(super) fn value(&mut self, depth: usize) -> Result<Node<'a>, Fault> {
        match self.peek() {
            Some(b'"') => self.text_value().map(Node::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Node::Number),
            next => self.other_value(next, depth),
        }
    }

    /// A value that is neither text nor number, from its first byte `next` on.
    fn other_value(&mut self, next: Option<u8>, depth: usize) -> Result<Node<'a>, Fault> {
        match next {
            Some(b't') => self.word("true").map(|()| Node::Boolean(true)),
            Some(b'f') => self.word("false").map(|()| Node::Boolean(false)),
            Some(b'n') => self.word("null").map(|()| Node::Absent),
            Some(b'[') => self.list(depth).map(Node::List),
            Some(b'{') => self.skip_object(depth).map(|()| Node::Object),
            Some(_) => Err(self.refuse("expected a value")),
            None => Err(self.refuse("the body ends inside a value")),
        }
    }

    /// Enters what `open` opens; `false` for a `null`. Anything else is refused by the name of its field.
    #[inline]
    pub(super) fn open(&mut self, open: u8, field: &'static str) -> Result<bool, Fault> {
        let next = self.peek();
        if next == Some(open) {
            self.pass();
            return Ok(true);
        }
        self.not_open(next, open, field)
    }

    #[cold]
    fn not_open(&mut self, next: Option<u8>, open: u8, field: &'static str) -> Result<bool, Fault> {
        // What is no JSON is refused as that.
        if !matches!(next, Some(b'{' | b'[')) && matches!(self.any_value(0)?, Node::Absent) {
            return Ok(false);
        }
        let wanted = if open == b'[' { "a list" } else { "an object" };
        Err(Box::new(ContextError::Shape { field, wanted }))
    }

    /// Refuses whatever comes after the last value.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        if self.peek().is_none() { Ok(()) } else { Err(self.refuse("something comes after the value")) }
    }

    /// A value inside one: [`Reader::value`], but one place for all who ask for it.
    fn any_value(&mut self, depth: usize) -> Result<Node<'a>, Fault> {
        self.value(depth)
    }

    fn enter(&mut self, depth: usize) -> Result<(), Fault> {
        if depth >= DEPTH_MAX {
            let (line, column) = place(self.text.as_bytes(), self.at);
            return Err(Box::new(ContextError::TooDeep { line, column }));
        }
        self.pass();
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Element<'a>>, Fault> {
        self.enter(depth)?;
        let mut list = Vec::new();
        while self.item(list.is_empty())? {
            list.push(match self.any_value(depth + 1)? {
                Node::Text(text) => Element::Text(text),
                Node::Number(number) => Element::Number(number),
                Node::Boolean(value) => Element::Boolean(value),
                Node::Absent | Node::List(_) | Node::Object => Element::Other,
            });
        }
        Ok(list)
    }

    fn skip_object(&mut self, depth: usize) -> Result<(), Fault> {
        self.enter(depth)?;
        let mut first = true;
        while self.key(first)?.is_some() {
            first = false;
            self.any_value(depth + 1)?;
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        for byte in word.bytes() {
            if self.text.as_bytes().get(self.at) != Some(&byte) {
                return Err(self.refuse("expected a value"));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// A text, from its opening quote on.
    // A text is the half of every key and value: called as a function, it takes twice its own time.
    #[inline(always)]
    fn text_value(&mut self) -> Result<Cow<'a, str>, Fault> {
        let begin = self.at + 1;
        self.at = plain_end(self.text.as_bytes(), begin);
        if self.text.as_bytes().get(self.at) == Some(&b'"') {
            let text = self.slice(begin);
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        self.escaped(begin).map(Cow::Owned)
    }

    /// What was read since `begin`: a byte that is no part of a longer character stands at both ends.
    #[inline]
    fn slice(&self, begin: usize) -> &'a str {
        self.text.get(begin..self.at).unwrap_or_default()
    }

    /// The text that began at `begin`, and is plain up to here.
    #[cold]
    fn escaped(&mut self, begin: usize) -> Result<String, Fault> {
        let mut text = self.slice(begin).to_owned();
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                Some(_) => return Err(self.refuse("a control character stands in a text")),
                None => return Err(self.refuse("the body ends inside a text")),
            }
            let from = self.at;
            self.at = plain_end(self.text.as_bytes(), from);
            text.push_str(self.slice(from));
        }
    }

    /// What comes after a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let byte = self.text.as_bytes().get(self.at).copied();
        let plain = match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.refuse("no such escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// Four hexadecimal digits, or twice as many for what UTF-16 writes in two.
    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            self.word("\\u").map_err(|_error| self.refuse("half of a character"))?;
            let second = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.refuse("half of a character"));
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        match char::from_u32(code) {
            Some('\0') => Err(Box::new(ContextError::Nul)),
            Some(character) => Ok(character),
            None => Err(self.refuse("half of a character")),
        }
    }

    fn four_digits(&mut self) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.text.as_bytes().get(self.at).copied();
            let digit = byte.and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.refuse("expected four hexadecimal digits"))?;
            self.at += 1;
        }
        Ok(code)
    }

    /// Goes past digits; how many, and their value if they are at most [`DIGITS_SAFE`].
    #[inline]
    fn digits(&mut self) -> (usize, i64) {
        let (begin, mut value) = (self.at, 0_i64);
        while let Some(byte @ b'0'..=b'9') = self.text.as_bytes().get(self.at) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(byte - b'0'));
            self.at += 1;
        }
        (self.at - begin, value)
    }

    #[inline]
    fn number(&mut self) -> Result<Number, Fault> {
        let begin = self.at;
        let negative = self.text.as_bytes().get(begin) == Some(&b'-');
        self.at += usize::from(negative);
        let leading_zero = self.text.as_bytes().get(self.at) == Some(&b'0');
        let (count, value) = self.digits();
        if count == 0 || (leading_zero && count > 1) {
            return Err(self.refuse("no number is written so"));
        }
        let more = matches!(self.text.as_bytes().get(self.at), Some(b'.' | b'e' | b'E'));
        if more || count > DIGITS_SAFE {
            return self.long_number(begin);
        }
        Ok(Number::Whole(if negative { -value } else { value }))
    }

    /// A number that began at `begin`, after whose whole part this stands.
    #[cold]
    fn long_number(&mut self, begin: usize) -> Result<Number, Fault> {
        if let Ok(whole) = self.slice(begin).parse()
            && !matches!(self.text.as_bytes().get(self.at), Some(b'.' | b'e' | b'E'))
        {
            return Ok(Number::Whole(whole));
        }
        if self.text.as_bytes().get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits().0 == 0 {
                return Err(self.refuse("no number is written so"));
            }
        }
        if matches!(self.text.as_bytes().get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            let signed = matches!(self.text.as_bytes().get(self.at), Some(b'+' | b'-'));
            self.at += usize::from(signed);
            if self.digits().0 == 0 {
                return Err(self.refuse("no number is written so"));
            }
        }
        // As written it is a number for Rust too, and read exactly.
        match self.slice(begin).parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Number::from_f64(value)),
            _ => Err(self.refuse("the number is too large")),
        }
    }

    #[cold]
    fn refuse(&self, detail: &str) -> Fault {
        refused(self.text.as_bytes(), self.at, detail)
    }
}

/// The place of the first byte from `begin` on that cannot stand in a text as it is; the end if there is none.
#[inline]
fn plain_end(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = special(u64::from_le_bytes(*eight));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    plain_end_of_few(bytes, at)
}

/// The same at the end of a body, where no eight bytes are left.
#[cold]
fn plain_end_of_few(bytes: &[u8], begin: usize) -> usize {
    let rest = bytes.get(begin..).unwrap_or_default();
    let length = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
    begin + length.unwrap_or(rest.len())
}

/// The high bit of each of eight bytes that is a quote, a backslash or a control character; of the first such byte for
/// certain, what comes after it does not count. Bytes of longer characters are none of these. (The test for a zero byte
/// in a word, by subtraction, is an old one: H. S. Warren, Hacker's Delight, 6-1.)
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let quotes = quote.wrapping_sub(ONES) & !quote;
    let backslashes = backslash.wrapping_sub(ONES) & !backslash;
    (below | quotes | backslashes) & HIGH
}

/// Line and column (in bytes) of a place, from 1.
fn place(body: &[u8], at: usize) -> (usize, usize) {
    let before = body.get(..at).unwrap_or(body);
    let line_begins = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    (before.iter().filter(|byte| **byte == b'\n').count() + 1, before.len() - line_begins + 1)
}

#[cold]
fn refused(body: &[u8], at: usize, detail: &str) -> Fault {
    let (line, column) = place(body, at);
    Box::new(ContextError::Json { detail: detail.to_owned(), line, column })
}

#[cfg(test)]
mod tests;
