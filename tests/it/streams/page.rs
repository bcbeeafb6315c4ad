//! An open page: reads a stream as a browser does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::*;

/// Longest wait for what must come: a heartbeat and much patience with a loaded machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A message of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: i64,
    pub(crate) data: Value,
    /// Its `data` as sent.
    pub(crate) text: String,
}

#[derive(Debug, Default)]
struct Read {
    events: Vec<Event>,
    comments: usize,
    retry_ms: u64,
    ended: bool,
}

/// An open page. Dropped, it closes its connection.
pub(crate) struct Page {
    pub(crate) head: Answer,
    pub(crate) opened: Instant,
    read: Arc<Mutex<Read>>,
    socket: TcpStream,
}

impl Page {
    pub(crate) fn open(huidu: &Huidu, path: &str, key: &str) -> Self {
        Self::open_with(huidu, path, key, &[])
    }

    /// Opens a stream, with a key unless it is empty; what comes is read in the background.
    pub(crate) fn open_with(huidu: &Huidu, path: &str, key: &str, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(&huidu.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: huidu\r\nAccept: text/event-stream\r\n");
        if !key.is_empty() {
            request += &format!("Authorization: Bearer {key}\r\n");
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        socket.write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let opened = Instant::now();
        let head = head(&mut reader);
        let read = Arc::new(Mutex::new(Read::default()));
        let shared = read.clone();
        std::thread::spawn(move || {
            follow(reader, &shared);
            shared.lock().unwrap().ended = true;
        });
        Self { head, opened, read, socket }
    }

    /// Waits until `check` holds.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !check(self) {
            assert!(began.elapsed() < PATIENCE, "{what}: not in time; {:?}", self.read.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The n-th event, counted from 0; waits for it.
    #[track_caller]
    pub(crate) fn event(&self, n: usize) -> Event {
        self.until(&format!("event {n}"), |page| page.read.lock().unwrap().events.len() > n);
        self.read.lock().unwrap().events[n].clone()
    }

    pub(crate) fn events(&self) -> usize {
        self.read.lock().unwrap().events.len()
    }

    pub(crate) fn comments(&self) -> usize {
        self.read.lock().unwrap().comments
    }

    pub(crate) fn retry_ms(&self) -> u64 {
        self.read.lock().unwrap().retry_ms
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.read.lock().unwrap().ended
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.socket.shutdown(std::net::Shutdown::Both));
    }
}

fn head(reader: &mut BufReader<TcpStream>) -> Answer {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let fields = lines[1..].iter().filter_map(|line| line.split_once(": "));
    let headers = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Answer { status, headers, text: String::new() }
}

/// Reads chunks until the end, and blocks of lines inside them.
fn follow(mut reader: BufReader<TcpStream>, read: &Mutex<Read>) {
    let mut text = String::new();
    loop {
        let mut size = String::new();
        if reader.read_line(&mut size).unwrap_or(0) == 0 {
            return;
        }
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { return };
        let mut chunk = vec![0; size + 2];
        if size == 0 || reader.read_exact(&mut chunk).is_err() {
            return;
        }
        text.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            take(block, &mut read.lock().unwrap());
            text = rest.to_owned();
        }
    }
}

fn take(block: &str, read: &mut Read) {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    if let Some(retry_ms) = field("retry: ") {
        read.retry_ms = retry_ms.parse().unwrap();
    }
    read.comments += block.lines().filter(|line| line.starts_with(':')).count();
    let Some(text) = field("data: ") else { return };
    read.events.push(Event {
        kind: field("event: ").unwrap_or_default(),
        id: field("id: ").unwrap().parse().unwrap(),
        data: serde_json::from_str(&text).unwrap(),
        text,
    });
}
