//! The document of the API is true: every route stands in it with its roles, every example and every real answer
//! fits its schema, and no call answers with a status or a code that it does not name.

mod answers;
mod refusals;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::fixture::*;
use crate::trust::wire::{Wire, request};
use crate::trust::{RIGHTS, STREAMS};

/// The document as a running service hands it out.
pub(super) struct Api(Value, Shapes);

/// What is known already of schemas: to make a validator takes longer than to ask it.
#[derive(Default)]
struct Shapes(RefCell<BTreeMap<(bool, String), Rc<Validator>>>);

impl Api {
    pub(super) fn of(huidu: &Huidu) -> Self {
        let answer = huidu.get("/openapi.json", "").expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        Self(answer.json(), Shapes::default())
    }

    /// Every operation: method, path and what is said of it.
    pub(super) fn operations(&self) -> Vec<(String, String, &Value)> {
        let paths = self.0["paths"].as_object().unwrap();
        let of_path = |(path, item): (&String, &'_ Value)| -> Vec<(String, String)> {
            let methods = ["get", "put", "post", "patch", "delete"].into_iter();
            methods.filter(|m| item.get(m).is_some()).map(|m| (m.to_uppercase(), path.clone())).collect()
        };
        let all: Vec<_> = paths.iter().flat_map(of_path).collect();
        all.into_iter()
            .map(|(method, path)| {
                let operation = &self.0["paths"][&path][method.to_lowercase()];
                (method, path, operation)
            })
            .collect()
    }

    pub(super) fn operation(&self, method: &str, path: &str) -> &Value {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not documented");
        operation
    }

    /// What `value` is, or points to.
    pub(super) fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(at) => {
                self.0.pointer(at.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{at} is not there"))
            }
            None => value,
        }
    }

    /// The documented answer of a status, if there is one.
    pub(super) fn answer(&self, method: &str, path: &str, status: u16) -> Option<&Value> {
        Some(self.resolved(self.operation(method, path)["responses"].get(status.to_string())?))
    }

    /// Why `value` is not what `schema` says. Where `closed`, a field that the schema does not name is a fault too.
    pub(super) fn faults(&self, schema: &Value, value: &Value, closed: bool) -> Vec<String> {
        let validator = self.validator(schema, closed);
        validator.iter_errors(value).map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
    }

    fn validator(&self, schema: &Value, closed: bool) -> Rc<Validator> {
        let mut known = self.1.0.borrow_mut();
        let made = known.entry((closed, schema.to_string())).or_insert_with(|| {
            let mut root =
                json!({"schema": schema, "components": {"schemas": self.0["components"]["schemas"]}});
            if closed {
                close(&mut root);
            }
            root["$ref"] = json!("#/schema");
            Rc::new(jsonschema::validator_for(&root).unwrap())
        });
        Rc::clone(made)
    }

    /// Fails unless the answer is one that the call may give: its status, its type and its body.
    #[track_caller]
    pub(super) fn check(&self, method: &str, path: &str, answer: &Answer) {
        let shown: String = answer.text.chars().take(2_000).collect();
        let what = format!("{method} {path}: {} {:?} {shown}", answer.status, answer.header("content-type"));
        let documented =
            self.answer(method, path, answer.status).unwrap_or_else(|| panic!("undocumented: {what}"));
        let Some(content) = documented.get("content") else {
            assert!(answer.text.is_empty(), "no body is documented: {what}");
            return;
        };
        let media = answer.header("content-type").unwrap().split(';').next().unwrap().trim();
        let content = content.get(media).unwrap_or_else(|| panic!("another type is documented: {what}"));
        let body = if media.ends_with("json") && !media.ends_with("ndjson") {
            answer.json()
        } else {
            json!(answer.text)
        };
        let faults = self.faults(&content["schema"], &body, true);
        assert!(faults.is_empty(), "{faults:?} in {what}");
        if let Some(codes) = documented["x-codes"].as_array() {
            assert!(codes.contains(&body["code"]), "this code is not documented: {what}");
        }
    }
}

/// A call; of an answer that does not end the head alone.
pub(super) fn call(
    huidu: &Huidu,
    method: &str,
    path: &str,
    key: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    if !STREAMS.iter().any(|stream| path.starts_with(stream)) {
        return huidu.call(method, path, key, headers, body);
    }
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut wire = Wire::open(huidu);
    wire.send(&request(method, path, key, &more, body));
    wire.answer()
}

/// Refuses unknown fields in every object whose fields are listed.
fn close(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("properties").is_some_and(Value::is_object)
                && !object.contains_key("additionalProperties")
                && !object.contains_key("propertyNames")
            {
                object.insert("additionalProperties".into(), json!(false));
            }
            // What looks like a schema inside an example is none.
            object
                .iter_mut()
                .filter(|(name, _)| !name.starts_with("example"))
                .for_each(|(_, inner)| close(inner));
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn every_route_is_documented_with_its_roles_and_nothing_else_is() {
    let api = Api::of(&Huidu::start());
    for (method, path, rights) in RIGHTS {
        let roles = &api.operation(method, path)["x-roles"];
        let letter = |role: &Value| match role.as_str().unwrap() {
            "admin" => 'A',
            role => role.chars().next().unwrap(),
        };
        let documented: String = roles.as_array().unwrap().iter().map(letter).collect();
        let expected = if rights.contains('n') { "" } else { rights };
        assert_eq!(documented, expected, "the roles of {method} {path}");
    }
    for (method, path, operation) in api.operations() {
        let known = RIGHTS.iter().any(|(m, p, _)| (*m, *p) == (method.as_str(), path.as_str()));
        assert!(known, "{method} {path} is documented, but there is no such route");
        let open = operation["x-roles"].as_array().unwrap().is_empty();
        assert_eq!(operation.get("security").is_none(), open, "{method} {path}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_name_is_there_once() {
    let api = Api::of(&Huidu::start());
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|inner| references(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&api.0, &mut found);
    assert!(found.len() > 100, "{}", found.len());
    for at in &found {
        api.resolved(&json!({"$ref": at}));
    }
    // What nobody refers to is a leftover; refusals and their parts are there for all.
    let used: BTreeSet<&str> = found.into_iter().collect();
    for name in api.0["components"]["schemas"].as_object().unwrap().keys() {
        assert!(used.contains(format!("#/components/schemas/{name}").as_str()), "nothing uses {name}");
    }
    let (mut ids, operations) = (BTreeSet::new(), api.operations());
    for (method, path, operation) in &operations {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "two calls are named {id}");
        for text in ["summary", "description"] {
            assert!(
                operation[text].as_str().is_some_and(|text| text.len() > 5),
                "{method} {path} has no {text}"
            );
        }
        let named: Vec<&str> = path.split('{').skip(1).map(|part| part.split('}').next().unwrap()).collect();
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
        assert_eq!(
            in_path.map(|p| p["name"].as_str().unwrap()).collect::<Vec<_>>(),
            named,
            "{method} {path}"
        );
    }
}

#[test]
fn every_example_is_there_and_fits_its_schema() {
    let api = Api::of(&Huidu::start());
    let check = |what: &str, content: &Value| {
        let example = content.get("example").unwrap_or_else(|| panic!("{what} has no example"));
        let faults = api.faults(&content["schema"], example, true);
        assert!(faults.is_empty(), "the example of {what}: {faults:?}");
    };
    for (method, path, operation) in api.operations() {
        let what = format!("{method} {path}");
        for parameter in operation["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            if parameter.get("example").is_some() || parameter["in"] == "path" {
                check(&format!("{what}, {name}"), parameter);
            }
        }
        let bodies = operation["requestBody"]["content"].as_object();
        bodies.into_iter().flatten().for_each(|(media, content)| check(&format!("{what}, {media}"), content));
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let content = api.resolved(answer)["content"].as_object();
            content
                .into_iter()
                .flatten()
                .for_each(|(_, content)| check(&format!("{what} {status}"), content));
        }
    }
}

#[test]
fn the_shape_of_a_flag_takes_the_examples() {
    let api = Api::of(&Huidu::start());
    let shape = json!({"$ref": "#/components/schemas/FlagDocument"});
    for text in [
        include_str!("../../examples/wechat-scan-pay.json"),
        include_str!("../../examples/wechat-friend-pay.json"),
    ] {
        let document: Value = serde_json::from_str(text).unwrap();
        assert_eq!(api.faults(&shape, &document, false), Vec::<String>::new());
        let mut wrong = document.clone();
        wrong["rules"][0]["serve"] = json!({"variant": "on", "rollout": {"percent": 1}});
        assert!(!api.faults(&shape, &wrong, false).is_empty(), "a rule serves one of both");
        wrong = document;
        wrong["nonsense"] = json!(1);
        assert!(!api.faults(&shape, &wrong, false).is_empty(), "unknown fields are refused");
    }
}

#[test]
fn the_page_carries_a_policy_under_which_nothing_but_its_own_style_runs() {
    let huidu = Huidu::start();
    let answer = huidu.get("/docs", "").expect(200);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for forbidden in ["unsafe", "http", "*", "data:", "self"] {
        assert!(!policy.contains(forbidden), "{forbidden}: {policy}");
    }
    // The style that is allowed is the one on the page.
    let style = answer.text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(style);
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
    for (_, path, rights) in RIGHTS.iter().filter(|(method, ..)| *method == "POST") {
        assert!(
            answer.text.contains(&format!("<code>{path}</code>")),
            "{path} ({rights}) is not on the page"
        );
    }
}
