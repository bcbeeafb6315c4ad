//! Scripts that complete commands.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::run;

#[test]
fn the_script_for_bash_is_valid_and_knows_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let script = run(folder.path(), &["completions", "bash"]).good().out;
    let mut bash =
        Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let checked = bash.wait_with_output().unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    // What bash itself offers after `huidu flag r`.
    let ask = format!(
        "{script}\nCOMP_WORDS=(huidu flag r); COMP_CWORD=2; _huidu huidu r flag; echo \"${{COMPREPLY[@]}}\""
    );
    // Too long for an argument.
    let file = folder.path().join("ask.bash");
    std::fs::write(&file, ask).unwrap();
    let offered = Command::new("bash").arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&offered.stdout).trim(), "rollout restore rollback", "{offered:?}");
    for (shell, words) in [("zsh", "#compdef huidu"), ("fish", "complete -c huidu")] {
        let script = run(folder.path(), &["completions", shell]).good().out;
        assert!(script.contains(words) && script.contains("rollout"), "{shell}");
    }
}
