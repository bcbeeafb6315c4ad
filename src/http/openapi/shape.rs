//! Shapes on the page.

use serde_json::Value;

use super::call::KEY_PATTERN;
use super::html::{Html, at, list, text};

/// One shape with its fields.
pub(super) fn shape(html: &mut Html, name: &str, schema: &Value) {
    html.raw("<article class=\"shape\" id=\"shape-").text(name).raw("\"><h3>").text(name).raw("</h3>");
    html.paragraphs(text(schema, "description"));
    match at(schema, "properties").as_object() {
        Some(fields) => {
            html.raw("<div class=\"wide\"><table><thead><tr><th>Field</th><th>Type</th><th>What</th></tr></thead><tbody>");
            let needed = |field: &String| list(schema, "required").iter().any(|known| known == field);
            let (first, others): (Vec<_>, Vec<_>) = fields.iter().partition(|(field, _)| needed(field));
            for (field, inner) in first.into_iter().chain(others) {
                let needed = needed(field);
                html.raw("<tr><td><code>").text(field).raw("</code>");
                html.raw(if needed { " <b class=\"needed\" title=\"always there\">*</b>" } else { "" });
                html.raw("</td><td>");
                kind(html, inner);
                html.raw("</td><td>");
                what(html, inner);
                html.raw("</td></tr>");
            }
            html.raw("</tbody></table></div>");
        }
        None => {
            html.raw("<p>");
            kind(html, schema);
            html.raw("</p>");
        }
    }
    html.raw("</article>");
}

/// A field's description, its limits and its example.
pub(super) fn what(html: &mut Html, schema: &Value) {
    let branches = list(schema, "oneOf").iter();
    let about = branches.map(|one| text(one, "description")).find(|about| !about.is_empty());
    html.marked(
        Some(text(schema, "description")).filter(|about| !about.is_empty()).or(about).unwrap_or_default(),
    );
    let limits = limits(schema);
    if !limits.is_empty() {
        html.raw(" <small>").text(&limits.join(", ")).raw("</small>");
    }
    if let Some(example) = schema.get("example") {
        html.raw(" <small>such as <code>").text(&example.to_string()).raw("</code></small>");
    }
}

/// What a value must keep to, in words.
fn limits(schema: &Value) -> Vec<String> {
    let mut limits = Vec::new();
    for (least, most, of) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ] {
        match (at(schema, least), at(schema, most)) {
            (Value::Null, Value::Null) => {}
            (least, Value::Null) => limits.push(format!("at least {least}{of}")),
            (Value::Null, most) => limits.push(format!("at most {most}{of}")),
            (least, most) if least == most => limits.push(format!("{least}{of}")),
            (least, most) => limits.push(format!("{least} to {most}{of}")),
        }
    }
    match text(schema, "pattern") {
        "" => {}
        KEY_PATTERN => limits.push("1 to 100 of A-Z a-z 0-9 . _ -".to_owned()),
        pattern => limits.push(format!("pattern {pattern}")),
    }
    match text(schema, "format") {
        "date-time" => limits.push("RFC 3339".to_owned()),
        "date" => limits.push("a day".to_owned()),
        // How wide a number is says nothing to a reader.
        _ => {}
    }
    limits
}

/// A schema's type in a few words, with links to shapes.
pub(super) fn kind(html: &mut Html, schema: &Value) {
    if let Some(name) = text(schema, "$ref").strip_prefix("#/components/schemas/") {
        html.raw("<a href=\"#shape-").text(name).raw("\">").text(name).raw("</a>");
        return;
    }
    let branches = list(schema, "oneOf");
    if !branches.is_empty() {
        for (at, branch) in branches.iter().enumerate() {
            html.raw(if at > 0 { " or " } else { "" });
            kind(html, branch);
        }
        return;
    }
    let words = list(schema, "enum");
    if !words.is_empty() {
        for (at, word) in words.iter().enumerate() {
            html.raw(if at > 0 { ", " } else { "" }).raw("<code>");
            html.text(word.as_str().unwrap_or("null")).raw("</code>");
        }
        return;
    }
    let own = at(schema, "type");
    let names: Vec<&str> = match own {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["any"],
    };
    for (place, name) in names.iter().enumerate() {
        html.raw(if place > 0 { " or " } else { "" });
        match *name {
            "array" => {
                html.raw("list of ");
                kind(html, at(schema, "items"));
            }
            "object"
                if at(schema, "additionalProperties").is_object() && schema.get("properties").is_none() =>
            {
                html.raw("object of ");
                kind(html, at(schema, "additionalProperties"));
            }
            "string" => {
                html.raw("text");
            }
            "integer" => {
                html.raw("whole number");
            }
            name => {
                html.text(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_and_limits_in_words() {
        for (schema, words, limited) in [
            (json!({"$ref": "#/components/schemas/Flag"}), "<a href=\"#shape-Flag\">Flag</a>", ""),
            (
                json!({"type": "array", "items": {"type": "string"}, "maxItems": 50}),
                "list of text",
                "at most 50 items",
            ),
            (
                json!({"type": ["integer", "null"], "minimum": 1, "maximum": 720}),
                "whole number or null",
                "1 to 720",
            ),
            (json!({"type": "string", "enum": ["a", null]}), "<code>a</code>, <code>null</code>", ""),
            (
                json!({"type": "string", "format": "date-time", "minLength": 1}),
                "text",
                "at least 1 characters, RFC 3339",
            ),
            (json!({"oneOf": [{"type": "number"}, {"type": "null"}]}), "number or null", ""),
            (json!({"type": "object", "additionalProperties": {"type": "boolean"}}), "object of boolean", ""),
            (json!({}), "any", ""),
        ] {
            let mut html = Html::default();
            kind(&mut html, &schema);
            assert_eq!((html.0.as_str(), limits(&schema).join(", ").as_str()), (words, limited), "{schema}");
        }
    }

    #[test]
    fn fields_that_are_always_there_come_first() {
        let mut html = Html::default();
        let schema = json!({"properties": {"a": {}, "b": {}, "c": {}}, "required": ["c"]});
        shape(&mut html, "S", &schema);
        let at = |field: &str| html.0.find(&format!("<code>{field}</code>")).unwrap();
        assert!(at("c") < at("a") && at("a") < at("b"), "{}", html.0);
    }
}
