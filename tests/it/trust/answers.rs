//! How answers are sent: HEAD, and readers that do not read.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::unlimited;
use super::wire::{Wire, request};
use super::{STREAMS, every_route};
use crate::fixture::*;

#[test]
fn head_answers_as_get_without_a_body() {
    let huidu = unlimited();
    for (_, path) in every_route().filter(|(method, _)| *method == "GET") {
        if STREAMS.contains(&&*path) {
            let head = huidu.call("HEAD", &path, ADMIN, &[], b"").expect(200);
            assert_eq!((head.header("content-type"), &*head.text), (Some("text/event-stream"), ""));
            continue;
        }
        let (get, head) = (huidu.get(&path, ADMIN), huidu.call("HEAD", &path, ADMIN, &[], b""));
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.text, "", "{path}");
        let alike = |answer: &Answer| {
            let own = ["date", "x-request-id", "content-length", "access-control-expose-headers"];
            let mut headers = answer.headers.clone();
            headers.retain(|(name, _)| !own.contains(&name.as_str()));
            headers.sort();
            headers
        };
        assert_eq!(alike(&head), alike(&get), "{path}");
        // What may differ from call to call differs in its digits only.
        let length = |answer: &Answer| answer.header("content-length").map(|l| l.parse::<usize>().unwrap());
        if path != "/metrics" {
            assert_eq!(length(&head), length(&get), "{path}");
        }
        assert_eq!(length(&get), Some(get.text.len()), "{path}");
    }
    let other = huidu.call("HEAD", "/v1/decisions", ADMIN, &[], b"");
    assert_eq!((other.status, other.header("allow"), &*other.text), (405, Some("POST"), ""));
    let refused = huidu.call("HEAD", "/v1/keys", "", &[], b"");
    assert_eq!((refused.status, refused.text.as_str()), (401, ""));
}

#[test]
fn head_leaves_the_connection_usable() {
    let huidu = Huidu::start();
    let mut wire = Wire::open(&huidu);
    // A body after the first answer would be read as the beginning of the second.
    let twice = [request("HEAD", "/healthz", "", "", b""), request("GET", "/healthz", "", "", b"")].concat();
    wire.send(&twice);
    let head = wire.answer_to_head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("15")), "{head:?}");
    let get = wire.answer();
    assert_eq!((get.status, get.text.as_str()), (200, "{\"status\":\"ok\"}"), "{get:?}");
}

/// Whether the service still has a connection to the port `peer`.
fn connected(huidu: &Huidu, peer: u16) -> bool {
    let own: u16 = huidu.address.rsplit(':').next().unwrap().parse().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields.as_slice(), [_, local, remote, ..]
            if local.ends_with(&format!(":{own:04X}")) && remote.ends_with(&format!(":{peer:04X}")))
    })
}

#[test]
fn a_reader_that_takes_nothing_is_dropped() {
    let huidu = Huidu::start();
    let mut lazy = TcpStream::connect(&huidu.address).unwrap();
    let port = lazy.local_addr().unwrap().port();
    lazy.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let ask = request("GET", "/v1/environments/production/flags", ADMIN, "", b"");
    // Until nobody takes anything any more: its own buffers and the service's are full.
    while lazy.write_all(&ask).is_ok() {}
    assert!(connected(&huidu, port));
    let began = Instant::now();
    while connected(&huidu, port) {
        assert!(began.elapsed() < Duration::from_secs(60), "it still holds a connection");
        std::thread::sleep(Duration::from_millis(200));
    }
    huidu.get("/healthz", "").expect(200);
}
