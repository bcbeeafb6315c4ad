//! Shapes on the page.

use serde_json::Value;

use super::html::{Html, at, list, text};

/// One shape with its fields.
pub(super) fn shape(html: &mut Html, name: &str, schema: &Value) {
    html.raw("<article class=\"shape\" id=\"shape-").text(name).raw("\"><h3>").text(name).raw("</h3>");
    html.paragraphs(text(schema, "description"));
    match at(schema, "properties").as_object() {
        Some(fields) => {
            html.raw("<div class=\"wide\"><table><thead><tr><th>Field</th><th>Type</th><th>What</th></tr></thead><tbody>");
            for (field, inner) in fields {
                let needed = list(schema, "required").iter().any(|known| known == field);
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
    let mut limits = Vec::new();
    for (field, words) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "characters at least"),
        ("maxLength", "characters at most"),
        ("minItems", "items at least"),
        ("maxItems", "items at most"),
        ("pattern", "pattern"),
        ("format", "format"),
    ] {
        match at(schema, field) {
            Value::Null => {}
            // How wide a number is says nothing to a reader.
            Value::String(format)
                if field == "format" && (format.starts_with("int") || format == "double") => {}
            Value::String(text) => limits.push(format!("{words} {text}")),
            value => limits.push(format!("{words} {value}")),
        }
    }
    if !limits.is_empty() {
        html.raw(" <small>").text(&limits.join(", ")).raw("</small>");
    }
    if let Some(example) = schema.get("example") {
        html.raw(" <small>such as <code>").text(&example.to_string()).raw("</code></small>");
    }
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
