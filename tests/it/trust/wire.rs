//! Bytes on a connection, for what a polite client cannot send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::fixture::*;

/// One connection.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) fn open(huidu: &Huidu) -> Self {
        let stream = TcpStream::connect(&huidu.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next answer, read by its length; status 0 if the connection ends before one.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.answer_to_head();
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        answer.text = String::from_utf8(body).unwrap();
        answer
    }

    /// The head of the next answer.
    pub(crate) fn answer_to_head(&mut self) -> Answer {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if self.0.read(&mut byte).unwrap_or(0) == 0 {
                return Answer { status: 0, headers: Vec::new(), text: String::new() };
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Answer { status, headers, text: String::new() }
    }
}

/// A request's bytes; `more` are whole header lines.
pub(crate) fn request(method: &str, path: &str, key: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let key = if key.is_empty() { String::new() } else { format!("Authorization: Bearer {key}\r\n") };
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: huidu\r\n{key}{more}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
