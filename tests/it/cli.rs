//! The command line: the real program against a real service, or against files alone.

mod audiences;
mod backup;
mod completions;
mod doctor;
mod eval;
mod events;
mod explain;
mod flags;
mod folders;
mod health;
mod keys;
mod migrate;
mod promote;
mod report;
mod secrets;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::*;

/// What a command did.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Done {
    /// Fails unless the command did what it was told.
    #[track_caller]
    fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Fails unless the command ended with this code, and complained with these words.
    #[track_caller]
    fn bad(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// Fails unless it wrote these words.
    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word), "{word:?} is not in {}", self.out);
        }
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// Runs the program with a clean environment and these variables.
fn run_with<A: AsRef<OsStr>>(
    folder: &Path,
    variables: &[(&str, &str)],
    arguments: &[A],
    input: &[u8],
) -> Done {
    let mut command = Command::new(huidu_program());
    command.env_clear().current_dir(folder).args(arguments);
    for (name, value) in variables {
        command.env(name, value);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut pipe = process.stdin.take().unwrap();
    let input = input.to_vec();
    // One that does not read its input closes the pipe.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a command without a service, in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> Done {
    run_with(folder, &[], arguments, b"")
}

/// Runs a command that calls `huidu` with `key`.
fn call_as(huidu: &Huidu, key: &str, arguments: &[&str], input: &[u8]) -> Done {
    let url = format!("http://{}", huidu.address);
    run_with(huidu.folder(), &[("HUIDU_URL", &url), ("HUIDU_KEY", key)], arguments, input)
}

/// Runs a command that calls `huidu` as the admin.
fn call(huidu: &Huidu, arguments: &[&str]) -> Done {
    call_as(huidu, ADMIN, arguments, b"")
}

/// Runs a command on the database of `huidu`.
fn on_database(huidu: &Huidu, arguments: &[&str]) -> Done {
    let folder = huidu.folder().to_str().unwrap();
    run_with(
        huidu.folder(),
        &[("HUIDU_DATA_DIR", folder), ("HUIDU_DATABASE_TIMEOUT_MS", "20000")],
        arguments,
        b"",
    )
}

/// An example that is shipped.
fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_help_of_each_command_is_short_and_says_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    for (command, first, longest) in [
        (&["eval"][..], "Decide a flag of a file for one context, without a service", 50),
        (&["flag"], "Read and change flags of a running service", 30),
        (&["flag", "list"], "List the flags of the environment", 40),
        (&["flag", "get"], "Show a flag, or an older version of it", 40),
        (&["flag", "set"], "Create a flag from a file, or replace it", 40),
        (&["flag", "rollout"], "Move the percentage of a rollout", 40),
        (&["flag", "kill"], "Shut a flag at once, whatever its version", 40),
        (&["flag", "restore"], "Open a killed flag as it was; an archived one becomes killed", 40),
        (&["flag", "archive"], "Put a flag away: it decides off and leaves the list of entries", 40),
        (&["flag", "versions"], "List the versions of a flag, newest first", 40),
        (&["flag", "diff"], "Show what differs between two versions", 40),
        (&["flag", "rollback"], "Bring back the document of an older version; the state stays", 40),
        (&["audience"], "Read and change audiences of a running service", 30),
        (
            &["audience", "put"],
            "Create an audience from a file of ids, or replace all of its ids at once",
            50,
        ),
        (&["audience", "contains"], "Say whether an id is a member; exit code 1 where it is not", 30),
        (
            &["report"],
            "Say what a flag came to, as a running service measured it: verdict, funnel, comparisons, guardrails",
            80,
        ),
        (&["promote"], "Take a flag over from another environment of a running service", 50),
        (&["unit-secret"], "Manage what signs units in an environment of a running service", 20),
        (
            &["exposures"],
            "Write who was shown a flag's variants, and when, as a running service measured it",
            60,
        ),
        (&["conversions"], "Write what shoppers did then: a flag's funnel stops and metrics", 60),
        (&["export"], "Write a whole environment as files that fit into version control", 50),
        (&["import"], "Bring a folder of files into an environment, all or nothing", 50),
        (&["key"], "Manage keys in the database itself: a lost admin key is no disaster", 20),
        (&["key", "create"], "Make a key and show it: the only time that it can be seen", 60),
        (&["key", "list"], "List all keys, revoked ones too; their texts are known to nobody", 45),
        (&["key", "revoke"], "Revoke a key: a running service refuses it within a second, for ever", 45),
        (&["migrate"], "Bring the database to this release's form", 45),
        (&["explain"], "Say why a running service decides as it does for one context", 45),
        (
            &["restored"],
            "Say that the database was restored from a backup on purpose: services take its state, older or not",
            50,
        ),
        (&["doctor"], "Check settings, folder, database and machine, and say what to do", 50),
        (&["health"], "Ask a service whether it is ready", 20),
        (&["backup"], "Copy the embedded database whole, beside a running service or without one", 50),
        (&["completions"], "Print a script that completes commands in a shell", 20),
    ] {
        let done = run(folder.path(), &[command, &["--help"]].concat()).good();
        assert_eq!(done.out.lines().next(), Some(first), "{command:?}");
        assert!(done.out.lines().count() <= longest, "{command:?} has {} lines", done.out.lines().count());
        assert!(done.out.is_ascii() && !done.out.contains('\u{1b}'), "{command:?}: {}", done.out);
    }
}

#[test]
fn wrong_arguments_end_with_2_and_one_call_without_a_key_does_too() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["flag", "get"][..], "<FLAG>"),
        (&["flag", "get", "../keys"], "a key is 1 to 100 characters"),
        (&["flag", "get", "f", "--colour"], "--colour"),
        (&["flag", "get", "f", "--url", "shop"], "an address is http://host:port"),
        (&["flag", "get", "f"], "set HUIDU_KEY"),
        (&["flag", "list", "--state", "open"], "a state is live, killed or archived"),
        (&["flag", "rollout", "f"], "--percent"),
        (
            &["flag", "rollout", "f", "--percent", "-1"],
            "'--percent <PERCENT>': a percentage is a number from 0 to 100",
        ),
        (&["flag", "rollout", "f", "--percent", "100.5"], "'--percent <PERCENT>': a percentage"),
        (
            &["flag", "rollout", "f", "--percent", "1", "--control", "-0.5"],
            "'--control <PERCENT>': a percentage",
        ),
        (&["report", "f", "--tz", "Mars/Olympus"], "a time zone is a name such as Asia/Shanghai"),
        (&["report", "f", "--tz", "Asia/Shanghai", "--by-hour", "--key", "k"], "hours are those of UTC"),
        (&["report", "f", "--from", "noon"], "RFC 3339"),
        (&["report", "f", "--table", "stages"], "--csv"),
        (&["report", "f", "--csv", "--table", "points"], "segments"),
        (&["report", "f", "--csv", "--json"], "--json"),
        (&["report", "f", "--by-day", "--by", "user.region"], "--by"),
        (&["report", "f", "--width", "39"], "40..=400"),
        (&["report", "f", "--language", "fr"], "zh"),
        (&["promote", "f"], "--from"),
        (&["eval"], "--flag-file"),
        (&["eval", "--flag-file", "-", "--context", "-"], "only one file can be `-`"),
        (&["eval", "--flag-file", "f.json", "--audience", "a"], "KEY=FILE"),
        (&["completions", "cmd.exe"], "bash"),
        (&["fly"], "fly"),
    ] {
        run(folder.path(), arguments).bad(2, &[words]);
    }
}
