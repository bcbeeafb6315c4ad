//! The backend's one line in each language that the page shows: run, and verified by the service.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::{decide, demand, open, secret, user};
use crate::fixture::*;

/// File, how it is run, and whether the tests' machine must have what runs it.
const LANGUAGES: [(&str, &[&str], bool); 5] = [
    ("sign.py", &["python3"], true),
    ("sign.mjs", &["node"], true),
    ("sign.go", &["go", "run"], false),
    ("Sign.java", &["java"], false),
    ("sign.php", &["php"], false),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/signed-units")
}

/// What a file prints for `user`; `None` where nothing here runs it.
fn printed(file: &str, run: &[&str], secret: &str, user: &str) -> Option<String> {
    let mut command = Command::new(run[0]);
    command.args(&run[1..]).arg(folder().join(file)).arg(user);
    let output = command.env("UNIT_SECRET", secret).env("LC_ALL", "C.UTF-8").output().ok()?;
    assert!(output.status.success(), "{file}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
}

#[test]
#[expect(clippy::print_stderr, reason = "what is left out must be seen")]
fn every_language_of_the_page_signs_what_the_service_verifies() {
    let huidu = Huidu::start();
    huidu.create_flag(&open("f"));
    let (_, text) = secret(&huidu);
    demand(&huidu, true);
    for (file, run, needed) in LANGUAGES {
        for id in ["u-1", "灰度-1"] {
            let Some(signature) = printed(file, run, &text, id) else {
                assert!(!needed, "{file} needs {}", run[0]);
                eprintln!("{file} is not run: no {} here", run[0]);
                break;
            };
            let answer = decide(&huidu, &huidu.client, &user(id, Some(&signature)));
            assert_eq!(super::entry(&answer.expect(200), "f"), "SPLIT", "{file} {id}");
            let other = decide(&huidu, &huidu.client, &user("u-2", Some(&signature)));
            other.refused(400, "unit_signature_invalid");
        }
    }
    let context = json!({"context": {"targetingKey": "u-1"}});
    huidu.post("/ofrep/v1/evaluate/flags/f", &huidu.client, &context).refused(400, "unit_missing");
}

#[test]
fn the_page_shows_the_files_as_they_are() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/signed-units.md")).unwrap();
    for (file, _, _) in LANGUAGES {
        let text = std::fs::read_to_string(folder().join(file)).unwrap();
        assert!(page.contains(&text), "docs/signed-units.md shows another {file}");
    }
    let files = std::fs::read_dir(folder()).unwrap().count();
    assert_eq!(files, LANGUAGES.len(), "each file is one of them");
}
