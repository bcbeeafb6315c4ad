//! Uploads: whole or not at all, whatever they are written in, and nobody waits for them.

use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::postgres::block_on;
use crate::trust::wire::{Wire, request};

const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// Ids `u-0` to `u-{count - 1}`, a line each.
fn many(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        writeln!(text, "u-{n}").unwrap();
    }
    text
}

#[test]
fn a_compressed_upload_is_the_same_list() {
    let huidu = Huidu::start();
    let body = gzip(many(30_000).as_bytes());
    assert!(body.len() < 100_000);
    let row = upload(&huidu, "aud", &[NEW, GZIP], &body).expect(201).json();
    assert_eq!(row["size"], 30_000);
    let two = [gzip(b"id,name\nu-1,x\n"), gzip(b"u-2\n")].concat();
    let headers = [("content-type", "text/csv"), ("if-match", "\"1\""), GZIP];
    let path = format!("{AUDIENCES}/aud");
    assert_eq!(huidu.call("PUT", &path, ADMIN, &headers, &two).expect(200).json()["size"], 2);
    assert_eq!(ids(&huidu, "aud", 10), ["u-1", "u-2"]);
}

#[test]
fn a_bomb_and_a_cut_off_gzip_store_nothing() {
    let huidu = Huidu::start();
    replace(&huidu, "aud", 0, &["u-1"]);
    member_flag(&huidu);
    let whole = gzip(many(1_000).as_bytes());
    let bomb = gzip(&b"u-1\n".repeat(4 << 20));
    assert!(bomb.len() < 64 << 10);
    for (body, encoding, status, code) in [
        (&bomb[..], "gzip", 413, "body_too_large"),
        (&whole[..whole.len() / 2], "gzip", 422, "body_invalid"),
        (&whole[..whole.len() - 1], "gzip", 422, "body_invalid"),
        (b"u-2\n", "gzip", 422, "body_invalid"),
        (b"", "gzip", 422, "body_invalid"),
        (&whole, "br", 415, "unsupported_media_type"),
        (&whole, "gzip, gzip", 415, "unsupported_media_type"),
    ] {
        let answer = upload(&huidu, "aud", &[("if-match", "\"1\""), ("content-encoding", encoding)], body);
        answer.refused(status, code);
        assert_eq!(read(&huidu, "/aud")["version"], 1);
        assert_eq!(seen(&huidu, &["u-1", "u-2"]), [true, false]);
    }
    let path = "/v1/environments/production/flags/f";
    let headers = [("content-type", "application/json"), ("if-match", "\"1\""), GZIP];
    huidu.call("PUT", path, ADMIN, &headers, &gzip(b"{}")).refused(415, "unsupported_media_type");
    let files = std::fs::read_dir(huidu.folder()).unwrap();
    let left = files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("upload"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_sender_that_goes_away_leaves_the_old_ids() {
    let huidu = Huidu::start();
    replace(&huidu, "aud", 0, &["u-1"]);
    member_flag(&huidu);
    let body = many(50_000);
    let path = format!("{AUDIENCES}/aud");
    let more = "Content-Type: text/plain\r\nIf-Match: \"1\"\r\n";
    let whole = request("PUT", &path, ADMIN, more, body.as_bytes());
    let mut wire = Wire::open(&huidu);
    wire.send(&whole[..whole.len() / 2]);
    drop(wire);
    // Chunked: its end never comes, so the half is no whole list.
    let chunked = format!(
        "PUT {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {ADMIN}\r\n{more}Transfer-Encoding: chunked\r\n\r\n5\r\nu-2\r\n\r\n"
    );
    let mut wire = Wire::open(&huidu);
    wire.send(chunked.as_bytes());
    drop(wire);
    assert_eq!(seen(&huidu, &["u-1", "u-2"]), [true, false]);
    // Their places are free again: as many as may upload at once still can.
    for version in 1..6 {
        replace(&huidu, "aud", version, &["u-1"]);
    }
    assert_eq!(read(&huidu, "/aud")["version"], 6);
}

#[test]
fn an_id_added_during_an_upload_is_not_lost() {
    let huidu = Huidu::start();
    replace(&huidu, "aud", 0, &["u-1"]);
    member_flag(&huidu);
    let more = "Content-Type: text/plain\r\nIf-Match: \"1\"\r\n";
    let whole = request("PUT", &format!("{AUDIENCES}/aud"), ADMIN, more, b"u-5\nu-6\n");
    let mut wire = Wire::open(&huidu);
    wire.send(&whole[..whole.len() - 4]);
    edit(&huidu, "aud", "add", &["u-2"]).expect(200);
    assert_eq!(seen(&huidu, &["u-1", "u-2", "u-5"]), [true, true, false]);
    wire.send(&whole[whole.len() - 4..]);
    wire.answer().refused(412, "version_conflict");
    assert_eq!(seen(&huidu, &["u-1", "u-2", "u-5"]), [true, true, false]);
}

#[test]
fn uploads_beyond_the_places_are_refused_at_once() {
    let huidu = Huidu::start();
    let open = |key: &str| {
        let more = "Content-Type: text/plain\r\nIf-None-Match: *\r\n";
        let whole = request("PUT", &format!("{AUDIENCES}/{key}"), ADMIN, more, b"u-1\nu-2\n");
        let mut wire = Wire::open(&huidu);
        wire.send(&whole[..whole.len() - 4]);
        wire
    };
    // The fifth takes a place too while it is looked at: one that came before the fourth has it refused instead.
    let mut round = 0;
    eventually("four uploads are under way, and a fifth is refused", || {
        round += 1;
        let mut under_way: Vec<Wire> = (0..4).map(|n| open(&format!("aud-{round}-{n}"))).collect();
        std::thread::sleep(std::time::Duration::from_millis(20 * round));
        let fifth = upload(&huidu, "late", &[NEW], b"\xff");
        let accepted = under_way.iter_mut().filter_map(|wire| {
            wire.send(b"u-2\n");
            let answer = wire.answer();
            if answer.status == 201 {
                assert_eq!(answer.json()["size"], 2);
                return Some(answer);
            }
            answer.refused(503, "uploads_busy");
            None
        });
        let accepted = accepted.count();
        if fifth.status == 422 {
            return false;
        }
        assert_eq!(fifth.refused(503, "uploads_busy").header("retry-after"), Some("1"));
        accepted == 4
    });
    upload(&huidu, "late", &[NEW], b"u-1").expect(201);
}

#[test]
fn a_long_upload_starves_nobody_and_a_kill_in_it_leaves_the_old_ids() {
    let mut huidu = Huidu::start();
    replace(&huidu, "aud", 0, &["u-1", "old"]);
    member_flag(&huidu);
    let body = many(300_000);
    let unfinished = |huidu: &Huidu| {
        let url = format!("sqlite:{}", huidu.database().display());
        let mut found = 0_i64;
        block_on(async {
            use sqlx::{Connection as _, Row as _};
            let mut c = sqlx::SqliteConnection::connect(&url).await.unwrap();
            let sql = "SELECT count(*) FROM audience_blocks WHERE generation = 2";
            found = sqlx::query(sql).fetch_one(&mut c).await.unwrap().get(0);
            c.close().await.unwrap();
        });
        found
    };
    std::thread::scope(|scope| {
        let address = huidu.address.clone();
        scope.spawn(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
            let request = agent.put(format!("http://{address}{AUDIENCES}/aud"));
            let request = request.header("authorization", format!("Bearer {ADMIN}"));
            // The service is killed below: there is no answer.
            drop(request.header("content-type", "text/plain").header("if-match", "\"1\"").send(body));
        });
        eventually("blocks are stored", || unfinished(&huidu) > 10);
        for n in 0..5 {
            let event =
                json!([{"id": format!("e-{n}"), "type": "step", "step": "order_paid", "user_id": "u"}]);
            huidu.events(&huidu.server, &event).expect(200);
            assert_eq!(seen(&huidu, &["old", "u-7"]), [true, false]);
        }
        huidu.kill();
    });
    huidu.start_again();
    assert_eq!(seen(&huidu, &["u-1", "old", "u-7"]), [true, true, false]);
    assert_eq!(read(&huidu, "/aud")["size"], 2);
    replace(&huidu, "aud", 1, &["u-7"]);
    assert_eq!(seen(&huidu, &["u-1", "old", "u-7"]), [false, false, true]);
}
