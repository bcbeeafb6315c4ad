//! Exports of many rows: in little memory, over long stretches without a row, and cut off where they must end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

use super::{lines, path};
use crate::decide::make_key;
use crate::events::gift;
use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on};

/// More than the buffers of a connection and of both ends hold.
const MANY: usize = 150_000;
/// What an export may add to the memory of a service, in KiB; its answer has over twice that.
const MEMORY_KIB_MAX: u64 = 5_000;
/// Rows enough for that.
const ENOUGH: usize = 75_000;

/// A service with `rows` exposures and as many metric steps, one of `every` by a unit that was exposed.
fn filled(rows: usize, every: usize) -> Huidu {
    let huidu = Huidu::start();
    huidu.create_flag(&gift());
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})");
    let flag = "(SELECT number FROM flags WHERE environment = 1 AND key = 'gift')";
    block_on(async {
        let url = format!("sqlite:{}", huidu.database().display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        for sql in [
            "PRAGMA synchronous = OFF".to_owned(),
            format!(
                "{numbers} INSERT INTO exposures SELECT 1, printf('u-%012d', i), {flag}, 1, 'ramp', 'user.id', 1, 'on', i % 1000000,
                 1700000000000 + i, '{{\"user.region\":\"CN-31\"}}', 0 FROM n"
            ),
            format!(
                "{numbers} INSERT INTO steps (environment, unit, unit_attribute, step, id, at) SELECT 1, CASE WHEN i % {every} = 0 THEN printf('u-%012d', i) ELSE printf('x-%012d', i) END,
                 'user.id', 'order_paid', 'e-' || i, 1800000000000 + i FROM n"
            ),
        ] {
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        }
        connection.close().await.unwrap();
    });
    huidu
}

#[test]
fn an_export_waits_for_a_database_that_does_not_answer_for_a_while() {
    let mut url = String::new();
    block_on(async { url = Database::empty(Engine::Postgres).await.url.clone() });
    let huidu = Huidu::start_with(&[("DATABASE_URL", &url), ("DATABASE_TIMEOUT_MS", "1000")]);
    huidu.create_flag(&gift());
    block_on(async {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let fill = format!(
            "INSERT INTO exposures SELECT 1, 'u-' || i, (SELECT number FROM flags WHERE environment = 1 AND key = 'gift'), 1,
             'ramp', 'user.id', 1, 'on', i % 1000000, 1700000000000 + i, NULL, 0 FROM generate_series(1, {MANY}) AS i"
        );
        connection.execute(AssertSqlSafe(fill)).await.unwrap();
        connection.execute("ANALYZE exposures").await.unwrap();
        let mut reading = Reading::begin(&huidu, &path("exposures", "format=ndjson"), ADMIN);
        assert!(reading.line().is_some());
        let mut lock = connection.begin().await.unwrap();
        lock.execute("LOCK TABLE exposures IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let rest = std::thread::spawn(move || (reading.rest(), reading.ended_well()));
        eventually("the export waits", || huidu.log().contains("an export waits for the database"));
        lock.commit().await.unwrap();
        assert_eq!(rest.join().unwrap(), (MANY - 1, true), "no row is lost, none is told twice");
    });
}

/// The most memory that the service ever used, in KiB.
#[cfg(target_os = "linux")]
fn peak_kib(huidu: &Huidu) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", huidu.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn an_export_of_any_length_takes_the_memory_of_a_page() {
    let huidu = filled(ENOUGH, 1);
    let asked = ["exposures", "conversions"].map(|table| ["csv", "ndjson"].map(|form| (table, form)));
    let asked = asked.as_flattened();
    // Every connection to the database has read by now what it keeps.
    for _ in 0..8 {
        for table in ["exposures", "conversions"] {
            huidu.get(&path(table, "limit=10000&format=csv"), ADMIN).expect(200);
        }
    }
    // And every thread has the memory that whole ones take, which are shorter than those that follow.
    for _ in 0..5 {
        let mut whole = Reading::begin(&huidu, &path("exposures", "format=csv"), ADMIN);
        assert_eq!((whole.rest(), whole.ended_well()), (ENOUGH + 1, true));
    }
    for (table, form) in asked {
        let before = peak_kib(&huidu);
        let mut wire = Reading::begin(&huidu, &path(table, &format!("format={form}")), ADMIN);
        let (mut rows, mut bytes, mut last) = (0, 0, 0);
        while let Some(line) = wire.line() {
            bytes += line.len();
            if line.starts_with("unit,") {
                continue;
            }
            // Each row by its unit, `u-000000000001` and so on, oldest first.
            let unit = line.split("u-").nth(1).and_then(|rest| rest.get(..12)?.parse::<usize>().ok());
            let unit = unit.unwrap_or_else(|| panic!("{line}"));
            assert_eq!(unit, last + 1, "{line}");
            (rows, last) = (rows + 1, unit);
        }
        assert!(wire.ended_well());
        assert_eq!(rows, ENOUGH, "all rows of {table} as {form}");
        // The kernel adds up what each processor counted, so the peak may even seem to sink a little.
        let more = peak_kib(&huidu).saturating_sub(before);
        assert!(bytes as u64 / 1024 > 2 * MEMORY_KIB_MAX, "{bytes} bytes of {table} as {form} show nothing");
        assert!(more < MEMORY_KIB_MAX, "{more} KiB more for {bytes} bytes of {table} as {form}");
    }
}

#[test]
fn long_stretches_without_a_row_end_an_export_in_no_form() {
    let huidu = filled(45_500, 1_000);
    let rows = lines(&huidu, "conversions", "");
    assert_eq!(rows.len(), 45);
    // A page looks at 20,000 steps at most; then it says where to go on, though it may have found little.
    let (mut found, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = huidu.get(&path("conversions", &format!("limit=10000{cursor}")), ADMIN).expect(200).json();
        found.extend(page["items"].as_array().unwrap().iter().map(|row| row["id"].clone()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<Value> = rows.iter().map(|row| row["id"].clone()).collect();
    assert_eq!((found, pages), (expected, 3));
    // Nothing was found here, but the place moves on.
    let empty = "limit=10000&from=2027-01-15T08:00:45.001Z";
    let page = huidu.get(&path("conversions", empty), ADMIN).expect(200).json();
    assert_eq!(page, json!({"items": [], "next_cursor": null}));
}

#[test]
fn an_export_is_cut_off_when_its_key_is_revoked_or_the_service_stops() {
    let mut huidu = filled(MANY, 1_000);
    let key = make_key(&huidu, "analyst", &Value::Null);
    let mut revoked = Reading::begin(&huidu, &path("exposures", "format=ndjson"), &key);
    let mut other = Reading::begin(&huidu, &path("exposures", "format=ndjson"), ADMIN);
    assert!(revoked.line().is_some() && other.line().is_some());
    let keys = huidu.get("/v1/keys?limit=200", ADMIN).expect(200).json();
    let id = keys["items"].as_array().unwrap().iter().find(|k| k["role"] == "analyst").unwrap()["id"].clone();
    huidu.call("DELETE", &format!("/v1/keys/{}", id.as_str().unwrap()), ADMIN, &[], b"").expect(204);
    assert!(revoked.rest() < MANY && !revoked.ended_well(), "it is cut off, and that shows");
    let reader = std::thread::spawn(move || (other.rest(), other.ended_well()));
    let took = huidu.stop();
    assert!(took < Duration::from_secs(20), "the stop did not wait for the export: {took:?}");
    let (rows, ended_well) = reader.join().unwrap();
    assert!(ended_well == (rows == MANY - 1), "{rows} rows, ended well: {ended_well}");
}

#[test]
fn the_command_says_that_an_export_broke_off_and_how_to_go_on() {
    let mut huidu = filled(MANY, 1_000);
    let mut process = Command::new(huidu_program())
        .args(["exposures", "gift"])
        .env_clear()
        .env("HUIDU_URL", format!("http://{}", huidu.address))
        .env("HUIDU_KEY", ADMIN)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(rows.next().unwrap().unwrap().starts_with("unit,"));
    huidu.kill();
    assert!(rows.count() < MANY);
    let done = process.wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("go on with --cursor of the last whole row"), "{said}");
}

/// A chunked answer that is read only when a test wants to.
struct Reading(BufReader<Chunks>);

struct Chunks {
    stream: BufReader<TcpStream>,
    /// Bytes of this chunk that are to come.
    left: usize,
    /// Whether the last chunk has come.
    ended_well: bool,
}

impl std::io::Read for Chunks {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 2 {
                line.clear();
                self.stream.read_line(&mut line)?;
            }
            self.left = usize::from_str_radix(line.trim(), 16).unwrap_or_default();
            self.ended_well = line.trim() == "0";
        }
        let most = self.left.min(bytes.len());
        let read = self.stream.read(&mut bytes[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Reading {
    fn begin(huidu: &Huidu, path: &str, key: &str) -> Self {
        let mut stream = TcpStream::connect(&huidu.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: huidu\r\nAuthorization: Bearer {key}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("chunked"), "{head}");
        Self(BufReader::new(Chunks { stream, left: 0, ended_well: false }))
    }

    /// The next line of the body; `None` at its end, however it ends.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        (read.unwrap_or(0) > 0).then_some(line)
    }

    /// How many lines follow.
    fn rest(&mut self) -> usize {
        std::iter::from_fn(|| self.line()).count()
    }

    fn ended_well(&self) -> bool {
        self.0.get_ref().ended_well
    }
}
