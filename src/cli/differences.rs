//! Differences between two documents as people read them.

use serde_json::Value;

use super::output::{Output, Tone, plain};

/// One line a difference: `~` changed, `+` new, `-` gone.
pub(super) fn lines(differences: &Value, output: Output) -> Vec<String> {
    let differences = differences.as_array().into_iter().flatten();
    differences.map(|difference| line(difference, output)).collect()
}

fn line(difference: &Value, output: Output) -> String {
    let pointer = plain(difference.get("pointer").and_then(Value::as_str).unwrap_or_default());
    let text = |value: &Value| plain(&value.to_string());
    match (difference.get("from"), difference.get("to")) {
        (Some(from), Some(to)) => {
            output.tone(Tone::Doubtful, &format!("  ~ {pointer}: {} -> {}", text(from), text(to)))
        }
        (Some(from), None) => output.tone(Tone::Bad, &format!("  - {pointer}: {}", text(from))),
        (None, Some(to)) => output.tone(Tone::Good, &format!("  + {pointer}: {}", text(to))),
        (None, None) => format!("  {pointer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_difference_is_a_line() {
        let found = json!([
            {"pointer": "/rules/0/serve/rollout/percent", "from": 5, "to": 10},
            {"pointer": "/owner", "to": "payments"},
            {"pointer": "/tags/1", "from": "old"},
        ]);
        assert_eq!(
            lines(&found, Output::plain()),
            [
                "  ~ /rules/0/serve/rollout/percent: 5 -> 10",
                "  + /owner: \"payments\"",
                "  - /tags/1: \"old\""
            ]
        );
    }
}
