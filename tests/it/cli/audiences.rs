//! `huidu audience` against a service.

use std::fs;
use std::io::Write as _;

use serde_json::json;

use super::*;

fn stored(huidu: &Huidu, key: &str) -> Value {
    huidu.get(&format!("/v1/environments/production/audiences/{key}"), ADMIN).expect(200).json()
}

/// `text` as gzip, by the program that everybody has.
fn gzip(text: &str) -> Vec<u8> {
    let mut process = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = process.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()).unwrap());
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

#[test]
fn an_audience_is_put_shown_edited_rolled_back_and_deleted() {
    let huidu = Huidu::start();
    fs::write(huidu.folder().join("ids.csv"), "id,name\nu-2,Ann\nu-1,Bob\n").unwrap();
    call(&huidu, &["audience", "put", "mine", "ids.csv", "--reason", "first, 灰度"])
        .good()
        .says(&["created\n", "mine: 2 ids of kind user, version 1\n"]);
    call(&huidu, &["audience", "put", "mine", "ids.csv", "--new"]).bad(1, &["audience_exists"]);
    call(&huidu, &["audience", "put", "mine", "ids.csv", "--kind", "goods"])
        .bad(1, &["holds ids of kind user"]);
    call(&huidu, &["audience", "put", "mine", "ids.csv", "--if-version", "7"]).bad(1, &["version_conflict"]);
    call(&huidu, &["audience", "list"]).good().says(&["AUDIENCE ", "\nmine ", "wechat-testers"]);
    assert_eq!(call(&huidu, &["audience", "get", "mine", "--json"]).good().json(), stored(&huidu, "mine"));
    call(&huidu, &["audience", "add", "mine", "u-3", "u-1"]).good().says(&[
        "1 added\n",
        "3 ids",
        "version 2",
    ]);
    call_as(&huidu, ADMIN, &["audience", "add", "mine", "--file", "-"], b"u-4\r\n\n u-5 \n")
        .good()
        .says(&["2 added\n"]);
    call(&huidu, &["audience", "remove", "mine", "u-2", "stranger"]).good().says(&["1 removed\n", "4 ids"]);
    assert_eq!(call(&huidu, &["audience", "ids", "mine"]).good().out, "u-1\nu-3\nu-4\nu-5\n");
    call(&huidu, &["audience", "contains", "mine", "u-3"]).good().says(&["u-3 is in mine"]);
    call(&huidu, &["audience", "contains", "mine", "u-2"]).bad(1, &[]).says(&["u-2 is not in mine"]);
    call(&huidu, &["audience", "contains", "mine", "a b&c=1/灰"]).bad(1, &[]).says(&["is not in mine"]);
    call(&huidu, &["audience", "rollback", "mine", "--to", "1"]).good().says(&["rolled back\n", "2 ids"]);
    assert_eq!(
        call(&huidu, &["audience", "ids", "mine", "--json"]).good().json()["items"],
        json!(["u-1", "u-2"])
    );
    call(&huidu, &["audience", "delete", "wechat-testers"]).bad(1, &["audience_in_use", "wechat-scan-pay"]);
    call(&huidu, &["audience", "delete", "mine"]).good().says(&["mine is deleted"]);
    call(&huidu, &["audience", "get", "mine"]).bad(1, &["not_found"]);
    for arguments in
        [&["audience", "add", "mine"][..], &["audience", "put", "mine"], &["audience", "put", "a b", "-"]]
    {
        call(&huidu, arguments).bad(2, &[]);
    }
}

#[test]
fn files_of_any_writing_and_size_stream_and_a_bad_line_is_named_before_anything_is_sent() {
    let huidu = Huidu::start();
    let many: String = (0..30_000).map(|n| format!("u-{n:07}\n")).collect();
    let write = |name: &str, bytes: &[u8]| fs::write(huidu.folder().join(name), bytes).unwrap();
    write("many.txt", many.as_bytes());
    write("many.txt.gz", &gzip(&many));
    write("few.ndjson", b"\"u-1\"\n{\"id\": \"u-2\"}\n");
    for (key, file, size) in [("a", "many.txt", 30_000), ("b", "many.txt.gz", 30_000), ("c", "few.ndjson", 2)]
    {
        call(&huidu, &["audience", "put", key, file, "--kind", "other"]).good().says(&["created\n"]);
        assert_eq!(
            (&stored(&huidu, key)["size"], &stored(&huidu, key)["kind"]),
            (&json!(size), &json!("other"))
        );
    }
    call_as(&huidu, ADMIN, &["audience", "put", "d", "-"], many.as_bytes()).good().says(&["30,000 ids"]);
    call_as(&huidu, ADMIN, &["audience", "put", "e", "-"], &gzip(&many)).good().says(&["30,000 ids"]);
    let all = call(&huidu, &["audience", "ids", "b"]).good().out;
    assert!(all == many, "all ids come back in order: {} bytes", all.len());
    let bad = format!("{many}{}\n", "x".repeat(257));
    write("bad.txt", bad.as_bytes());
    write("bad.txt.gz", &gzip(&bad));
    for (file, words) in
        [("bad.txt", "line 30001"), ("bad.txt.gz", "line 30001"), ("none.txt", "cannot be read")]
    {
        call(&huidu, &["audience", "put", "a", file]).bad(1, &[file, words]);
    }
    call_as(&huidu, ADMIN, &["audience", "put", "a", "-"], b"ok\n\xff\n").bad(1, &["line 2"]);
    assert_eq!(stored(&huidu, "a")["version"], 1, "nothing was replaced");
}

#[test]
fn ids_that_nobody_reads_on_are_not_fetched_to_the_end() {
    let huidu = Huidu::start();
    let many: String = (0..25_000).map(|n| format!("u-{n:07}\n")).collect();
    call_as(&huidu, ADMIN, &["audience", "put", "a", "-"], many.as_bytes()).good();
    let url = format!("http://{}", huidu.address);
    let line = format!("{} audience ids a | head -n 1", huidu_program().display());
    let output = Command::new("bash")
        .args(["-c", &line])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HUIDU_URL", url)
        .env("HUIDU_KEY", ADMIN)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "u-0000000\n");
    assert!(output.stderr.is_empty(), "{output:?}");
}
