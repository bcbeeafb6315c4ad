//! Reports as people read them: the files beside this are compared line by line. After a change, copy the file that the
//! failing test names over the known one, and read the difference.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::page::Look;
use super::words::Language;
use super::{Output, series, whole};
use crate::cli::output::Tone;

const DECIDED: &str = include_str!("tests/decided.json");
const UNDECIDED: &str = include_str!("tests/undecided.json");
const EMPTY: &str = include_str!("tests/empty.json");
const DAYS: &str = include_str!("tests/days.json");

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn look(language: Language, width: usize) -> Look {
    Look { language, width, output: Output::plain(), zone: TimeZone::UTC }
}

/// Whether it is the known one; else it is written where a person finds it.
fn is_known(name: &str, known: &str, told: &str) -> bool {
    let is_known = told == known.trim_end();
    if !is_known {
        let file = std::env::temp_dir().join(format!("huidu-report-{name}.txt"));
        std::fs::write(file, format!("{told}\n")).unwrap();
    }
    is_known
}

/// No line is wider than asked for.
#[track_caller]
fn fits(told: &str, width: usize) {
    for line in told.lines() {
        assert!(textwrap::core::display_width(line) <= width, "{width}: {line}");
        assert_eq!(line.trim_end(), line);
    }
}

#[test]
fn reports_are_the_known_ones() {
    let mut changed = Vec::new();
    for (name, answer, language, width, known) in [
        ("decided-en", DECIDED, Language::En, 100, include_str!("tests/decided-en.txt")),
        ("decided-zh", DECIDED, Language::Zh, 100, include_str!("tests/decided-zh.txt")),
        ("decided-narrow", DECIDED, Language::En, 60, include_str!("tests/decided-narrow.txt")),
        ("undecided-en", UNDECIDED, Language::En, 100, include_str!("tests/undecided-en.txt")),
        ("undecided-zh", UNDECIDED, Language::Zh, 80, include_str!("tests/undecided-zh.txt")),
        ("empty-en", EMPTY, Language::En, 80, include_str!("tests/empty-en.txt")),
    ] {
        let told = whole::shown(&read(answer), "user.region", &look(language, width));
        fits(&told, width);
        changed.extend((!is_known(name, known, &told)).then_some(name));
    }
    assert!(changed.is_empty(), "{changed:?}: see huidu-report-*.txt in {}", std::env::temp_dir().display());
}

#[test]
fn series_are_the_known_ones() {
    let mut changed = Vec::new();
    for (name, language, width, known) in [
        ("days-en", Language::En, 100, include_str!("tests/days-en.txt")),
        ("days-zh", Language::Zh, 60, include_str!("tests/days-zh.txt")),
    ] {
        let told = series::shown(&read(DAYS), &look(language, width));
        fits(&told, width);
        changed.extend((!is_known(name, known, &told)).then_some(name));
    }
    assert!(changed.is_empty(), "{changed:?}: see huidu-report-*.txt in {}", std::env::temp_dir().display());
}

#[test]
fn no_width_is_too_narrow() {
    for width in [40, 41, 50, 60, 72, 80, 120, 400] {
        for answer in [DECIDED, UNDECIDED, EMPTY] {
            for language in [Language::En, Language::Zh] {
                fits(&whole::shown(&read(answer), "user.region", &look(language, width)), width);
            }
        }
        fits(&series::shown(&read(DAYS), &look(Language::En, width)), width);
    }
}

#[test]
fn times_are_those_of_the_zone_that_is_asked_for() {
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let told = whole::shown(&read(DECIDED), "", &Look { zone, ..look(Language::En, 100) });
    assert!(told.contains("from 2026-11-01 08:00 to 2026-11-21 00:00 Asia/Shanghai"), "{told}");
}

#[test]
fn colours_say_what_verdicts_mean_and_change_no_letter() {
    let coloured = Look { output: Output::coloured(), ..look(Language::En, 100) };
    let told = whole::shown(&read(DECIDED), "user.region", &coloured);
    for (tone, word) in
        [(Tone::Good, "better"), (Tone::Bad, "worse"), (Tone::Bad, "broken"), (Tone::Good, "holds")]
    {
        let word = Output::coloured().tone(tone, word);
        assert!(told.contains(&word), "{word:?} in {told:?}");
    }
    let mut plain = told.clone();
    for code in [0, 1, 2, 31, 32, 33] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(plain, whole::shown(&read(DECIDED), "user.region", &look(Language::En, 100)));
}

#[test]
fn an_answer_that_is_none_of_ours_is_shown_all_the_same() {
    for answer in [json!(null), json!([]), json!({"variants": 7, "notes": [3, {}]}), json!({"points": [{}]})]
    {
        fits(&whole::shown(&answer, "", &look(Language::Zh, 60)), 60);
        fits(&series::shown(&answer, &look(Language::Zh, 60)), 60);
    }
}
