//! Text into HTML: everything is escaped but what this folder writes itself.

use serde_json::Value;

/// A page that grows.
#[derive(Default)]
pub(super) struct Html(pub(super) String);

impl Html {
    /// Markup of our own.
    pub(super) fn raw(&mut self, markup: &str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text, escaped, for elements and for attributes in double quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// Text in which backticks mark code, and two stars what is strong.
    pub(super) fn marked(&mut self, text: &str) -> &mut Self {
        for (at, part) in text.split('`').enumerate() {
            if at % 2 == 1 {
                self.raw("<code>").text(part).raw("</code>");
                continue;
            }
            for (at, part) in part.split("**").enumerate() {
                match at % 2 {
                    0 => self.text(part),
                    _ => self.raw("<strong>").text(part).raw("</strong>"),
                };
            }
        }
        self
    }

    /// Such text in paragraphs, parted by empty lines.
    pub(super) fn paragraphs(&mut self, text: &str) -> &mut Self {
        for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            self.raw("<p>").marked(paragraph).raw("</p>");
        }
        self
    }

    /// JSON, as people read it.
    pub(super) fn json(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::String(lines) => self.text(lines.trim_end()),
            value => self.text(&format!("{value:#}")),
        }
    }
}

/// A field of an object; `null` where there is none.
pub(super) fn at<'v>(value: &'v Value, field: &str) -> &'v Value {
    value.get(field).unwrap_or(&Value::Null)
}

/// A field's text; empty where there is none.
pub(super) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    at(value, field).as_str().unwrap_or_default()
}

/// A field's list; empty where there is none.
pub(super) fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    at(value, field).as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_marked() {
        let mut html = Html::default();
        html.paragraphs("a <b> & \"c\" `**: <x>` d's\n\n**e**");
        let expected = "<p>a &lt;b&gt; &amp; &quot;c&quot; <code>**: &lt;x&gt;</code> d&#39;s</p><p><strong>e</strong></p>";
        assert_eq!(html.0, expected);
    }
}
