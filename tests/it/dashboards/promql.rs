//! As much of `PromQL` as the tests must understand: which names a query uses, what an alert compares, what Grafana
//! puts in place of its variables.

use super::Board;

/// The names of huidu's metrics and rules, and of its process, in a query.
pub(super) fn names(query: &str) -> Vec<&str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.contains("huidu_") || word.starts_with("process_")).collect()
}

/// Where a bracket that opens at the beginning of `text` closes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted) = (0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The operand without what says how it is matched with the other.
fn bare(operand: &str) -> &str {
    let mut rest = operand.trim();
    while let Some(after) = ["bool", "on", "ignoring", "group_left", "group_right"]
        .iter()
        .find_map(|word| rest.strip_prefix(word).filter(|after| after.starts_with([' ', '('])))
    {
        rest = after.trim_start();
        if rest.starts_with('(') {
            rest = closing(rest).and_then(|end| rest.get(end + 1..)).unwrap_or_default().trim_start();
        }
    }
    rest
}

/// What a query compares, or joins by `and`, `or`, `unless`: of a healthy service the comparison gives nothing, but
/// each of these does. Only what binds weaker than arithmetic is taken apart, so that nothing else is cut.
pub(super) fn operands(query: &str) -> Vec<String> {
    let query = bare(query);
    if query.starts_with('(') && closing(query) == Some(query.len() - 1) {
        return operands(query.get(1..query.len() - 1).unwrap());
    }
    let (mut parts, mut begin, mut at) = (Vec::new(), 0, 0);
    while let Some(rest) = query.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(['(', '{', '[']) {
            at += closing(rest).unwrap() + 1;
            continue;
        }
        let signs = [" and ", " or ", " unless ", " >= ", " <= ", " == ", " != ", " > ", " < "];
        match signs.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => {
                parts.push(query.get(begin..at).unwrap());
                at += sign.len() - 1;
                begin = at;
            }
            None => at += rest.chars().next().unwrap().len_utf8(),
        }
    }
    if parts.is_empty() {
        return vec![query.to_owned()];
    }
    parts.push(query.get(begin..).unwrap());
    parts.into_iter().flat_map(operands).collect()
}

/// A query as Grafana sends it, for every choice of a variable of which one is chosen at a time.
pub(super) fn filled(board: &Board, query: &str, choices: &[(&str, &[&str])]) -> Vec<String> {
    // What Grafana takes for five minutes of data scraped each second: four scrapes, and the whole range.
    let known = [("__rate_interval", "4s"), ("__range", "300s"), ("__interval", "1s")];
    let mut forms =
        vec![known.iter().fold(query.to_owned(), |text, (name, value)| replace(&text, name, value))];
    for variable in board.variables() {
        let one = variable.all.as_deref().map(|all| vec![all]);
        let values = one.or_else(|| {
            choices.iter().find(|(name, _)| *name == variable.name).map(|(_, values)| values.to_vec())
        });
        let Some(values) = values else { continue };
        let with =
            |text: &String| values.iter().map(|v| replace(text, &variable.name, v)).collect::<Vec<_>>();
        forms = forms.iter().flat_map(with).collect();
    }
    forms.sort();
    forms.dedup();
    forms
}

fn replace(text: &str, name: &str, value: &str) -> String {
    text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
}

#[test]
fn comparisons_are_taken_apart_and_nothing_else() {
    for (query, expected) in [
        ("a == 0", &["a", "0"][..]),
        (
            "(a > 14.4 * 0.001 and b{x=\"1 > 0\"} > 2) or c",
            &["a", "14.4 * 0.001", "b{x=\"1 > 0\"}", "2", "c"],
        ),
        (
            "a > on (x) group_left () max by (x) (b > 1) and on (x) c > 3",
            &["a", "max by (x) (b > 1)", "c", "3"],
        ),
        (
            "time() - a > 60 or max by (e) (b) - on (e) group_right () b > 0",
            &["time() - a", "60", "max by (e) (b) - on (e) group_right () b", "0"],
        ),
    ] {
        assert_eq!(operands(query), expected, "{query}");
    }
    let used =
        "rate(huidu_a_total{environment=\"x\"}[5m]) / flag:huidu_b:rate5m{job=\"huidu\"} + process_open_fds";
    assert_eq!(names(used), ["huidu_a_total", "flag:huidu_b:rate5m", "process_open_fds"]);
}
