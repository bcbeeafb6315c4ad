//! Calls on the page.

use serde_json::Value;

use super::html::{Html, at, list, text};
use super::shape::{kind, what};

/// What `value` is, or points to.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let target = text(value, "$ref").strip_prefix('#').and_then(|pointer| document.pointer(pointer));
    target.unwrap_or(value)
}

/// One call.
pub(super) fn operation(html: &mut Html, document: &Value, method: &str, path: &str, call: &Value) {
    html.raw("<article class=\"call\" id=\"").text(text(call, "operationId")).raw("\"><h3>");
    html.text(text(call, "summary")).raw("</h3><p class=\"line\"><b class=\"").text(method).raw("\">");
    html.text(&method.to_uppercase()).raw("</b> <code>").text(path).raw("</code></p>");
    html.paragraphs(text(call, "description"));
    parameters(html, call);
    let body = at(at(call, "requestBody"), "content").as_object();
    for (media, content) in body.into_iter().flatten() {
        html.raw("<h4>Body <small>").text(media).raw("</small> ");
        kind(html, at(content, "schema"));
        html.raw("</h4>");
    }
    request(html, method, path, call);
    let answers = at(call, "responses").as_object();
    let answers = answers.into_iter().flatten().map(|(status, answer)| (status, resolved(document, answer)));
    let (refusals, answers): (Vec<_>, Vec<_>) =
        answers.partition(|(_, answer)| answer.get("x-codes").is_some());
    for (status, answer) in answers {
        html.raw("<h4>").text(status).raw(" <small>").marked(text(answer, "description")).raw("</small> ");
        let content = at(answer, "content").as_object();
        let Some((_, content)) = content.into_iter().flatten().next() else {
            html.raw("</h4>");
            continue;
        };
        kind(html, at(content, "schema"));
        html.raw("</h4><pre>").json(at(content, "example")).raw("</pre>");
    }
    refused(html, &refusals);
    html.raw("</article>");
}

fn parameters(html: &mut Html, call: &Value) {
    let parameters = list(call, "parameters");
    if parameters.is_empty() {
        return;
    }
    html.raw("<div class=\"wide\"><table><thead><tr><th>Parameter</th><th>In</th><th>Type</th><th>What</th></tr></thead><tbody>");
    for parameter in parameters {
        html.raw("<tr><td><code>").text(text(parameter, "name")).raw("</code>");
        html.raw(if at(parameter, "required") == true {
            " <b class=\"needed\" title=\"needed\">*</b>"
        } else {
            ""
        });
        html.raw("</td><td>").text(text(parameter, "in")).raw("</td><td>");
        kind(html, at(parameter, "schema"));
        html.raw("</td><td>").marked(text(parameter, "description")).raw(" ");
        what(html, at(parameter, "schema"));
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table></div>");
}

/// The call as it goes over the wire, with the examples filled in.
fn request(html: &mut Html, method: &str, path: &str, call: &Value) {
    let (mut path, mut headers) = (path.to_owned(), Vec::new());
    for parameter in list(call, "parameters") {
        let (name, example) = (text(parameter, "name"), at(parameter, "example"));
        let shown = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        match text(parameter, "in") {
            "path" => path = path.replace(&format!("{{{name}}}"), &shown),
            "query" if at(parameter, "required") == true => path.push_str(&format!("?{name}={shown}")),
            "header" if name == "If-Match" => headers.push(format!("{name}: {shown}")),
            _ => {}
        }
    }
    if let Some(role) = list(call, "x-roles").first().and_then(Value::as_str) {
        headers.insert(0, format!("Authorization: Bearer huidu_{role}_..."));
    }
    let body = at(at(call, "requestBody"), "content").as_object().into_iter().flatten().next();
    headers.extend(body.iter().map(|(media, _)| format!("Content-Type: {media}")));
    html.raw("<pre class=\"request\"><b>").text(&method.to_uppercase()).raw("</b> ").text(&path).raw("\n");
    html.text(&headers.join("\n"));
    if let Some((_, content)) = body {
        html.raw("\n\n").json(at(content, "example"));
    }
    html.raw("</pre>");
}

/// Every refusal with its code, folded away.
fn refused(html: &mut Html, refusals: &[(&String, &Value)]) {
    if refusals.is_empty() {
        return;
    }
    let codes: Vec<(&str, &str)> = refusals
        .iter()
        .flat_map(|(status, answer)| list(answer, "x-codes").iter().map(move |code| (status.as_str(), code)))
        .filter_map(|(status, code)| Some((status, code.as_str()?)))
        .collect();
    html.raw("<details class=\"refusals\"><summary>")
        .text(&codes.len().to_string())
        .raw(" refusals</summary><ul>");
    for (status, code) in codes {
        html.raw("<li>").text(status).raw(" <a href=\"#code-").text(code).raw("\"><code>").text(code);
        html.raw("</code></a></li>");
    }
    html.raw("</ul></details>");
}
