//! One call of the document, put together from what its handler takes: the refusals that a right, a body or a
//! precondition bring along stand here once.

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    ContentBuilder, Object, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Schema, Type,
};

use super::problem;
use crate::access::{Right, Role};
use crate::http::problem::Code;

/// Named shapes, as the document's components list them.
pub(super) type Shapes = Vec<(String, RefOr<Schema>)>;

/// Adds the shape `T` and those inside it.
pub(super) fn collect<T: ToSchema>(shapes: &mut Shapes) {
    T::schemas(shapes);
    shapes.push((T::name().into_owned(), T::schema()));
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

/// A text parameter's schema.
pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A whole number parameter's schema, inside a range.
pub(super) fn whole(from: i64, to: i64) -> Object {
    let range = ObjectBuilder::new().schema_type(Type::Integer);
    range.minimum(Some(from as f64)).maximum(Some(to as f64)).build()
}

/// A number parameter's schema, inside a range.
pub(super) fn between(from: f64, to: f64) -> Object {
    ObjectBuilder::new().schema_type(Type::Number).minimum(Some(from)).maximum(Some(to)).build()
}

/// A whole number parameter's schema.
pub(super) fn number() -> Object {
    let format = utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).build()
}

/// What a key matches.
pub(super) const KEY_PATTERN: &str = "^[A-Za-z0-9._-]{1,100}$";

/// A key's schema.
pub(super) fn key() -> Object {
    text().pattern(Some(KEY_PATTERN)).build()
}

/// A schema of some words.
pub(super) fn words(words: &[&str]) -> Object {
    text().enum_values(Some(words.iter().copied())).build()
}

/// The schema of `true` or `false`.
pub(super) fn boolean() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).build()
}

/// A time's schema.
pub(super) fn time() -> Object {
    text()
        .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
        .build()
}

/// A call, not yet finished.
pub(super) struct Call {
    method: HttpMethod,
    path: String,
    id: &'static str,
    summary: &'static str,
    description: String,
    roles: Option<Vec<Role>>,
    params: Vec<Parameter>,
    body: Option<RequestBody>,
    answers: Vec<(u16, ResponseBuilder)>,
    codes: Vec<Code>,
    shapes: Shapes,
}

impl Call {
    fn new(method: HttpMethod, path: &str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            id,
            summary,
            description: String::new(),
            roles: None,
            params: path_parameters(path),
            body: None,
            answers: Vec::new(),
            codes: Vec::new(),
            shapes: Vec::new(),
        }
    }

    /// Its name.
    pub(super) fn id(&self) -> &'static str {
        self.id
    }

    /// A `GET`; `id` is the call's name in generated clients.
    pub(super) fn get(path: &str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Get, path, id, summary)
    }

    /// A `POST`.
    pub(super) fn post(path: &str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Post, path, id, summary)
    }

    /// A `PUT`.
    pub(super) fn put(path: &str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Put, path, id, summary)
    }

    /// A `PATCH`.
    pub(super) fn patch(path: &str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Patch, path, id, summary)
    }

    /// A `DELETE`.
    pub(super) fn delete(path: &str, id: &'static str, summary: &'static str) -> Self {
        Self::new(HttpMethod::Delete, path, id, summary)
    }

    /// What the summary does not say.
    pub(super) fn says(mut self, description: &str) -> Self {
        self.description = description.to_owned();
        self
    }

    /// The handler takes `GlobalAccess<R>`.
    pub(super) fn global<R: Right>(mut self) -> Self {
        self.roles = Some(Role::ALL.into_iter().filter(|role| R::allows(*role)).collect());
        self.refuses(&[Code::Unauthorized, Code::Forbidden, Code::RateLimited])
    }

    /// The handler takes `Access<R>`: in the path's environment, or in the one that a header names.
    pub(super) fn access<R: Right>(self) -> Self {
        let call = self.global::<R>().refuses(&[Code::NotFound, Code::NotReady]);
        if call.path.contains("{environment}") {
            return call;
        }
        call.parameter(
            ParameterIn::Header,
            "Huidu-Environment",
            "For keys of all environments: which one. Default: the setting `default_environment`.",
            key(),
            Some(json!("production")),
        )
    }

    fn parameter(
        mut self,
        place: ParameterIn,
        name: &str,
        description: &str,
        schema: Object,
        example: Option<Value>,
    ) -> Self {
        self.params.push(parameter(place, name, description, schema).example(example).build());
        self
    }

    /// An optional parameter of the query.
    pub(super) fn query(self, name: &str, description: &str, schema: Object) -> Self {
        self.parameter(ParameterIn::Query, name, description, schema, None).refuses(&[Code::QueryInvalid])
    }

    /// A parameter of the query that must be there.
    pub(super) fn needs(mut self, name: &str, description: &str, schema: Object, example: Value) -> Self {
        let needed = parameter(ParameterIn::Query, name, description, schema).required(Required::True);
        self.params.push(needed.example(Some(example)).build());
        self.refuses(&[Code::QueryInvalid])
    }

    /// A list in pages.
    pub(super) fn paged(self, cursor: Object) -> Self {
        self.query("limit", "Items of a page; 50 where it is left out.", whole(1, 200)).query(
            "cursor",
            "`next_cursor` of the page before.",
            cursor,
        )
    }

    /// `If-Match` with the version that was read, which is needed.
    pub(super) fn if_match(mut self) -> Self {
        let about =
            "The version that was read, in quotes: its `ETag`. 428 without, 412 when someone else was first.";
        let needed =
            parameter(ParameterIn::Header, "If-Match", about, version_tag()).required(Required::True);
        self.params.push(needed.example(Some(json!("\"1\""))).build());
        self.refuses(&[Code::HeaderInvalid, Code::PreconditionRequired, Code::VersionConflict])
    }

    /// `If-Match` that is heeded, but not needed.
    pub(super) fn if_match_or_none(self) -> Self {
        let about = "The version that was read, in quotes: its `ETag`. 412 when someone else was first.";
        self.parameter(ParameterIn::Header, "If-Match", about, version_tag(), Some(json!("\"1\"")))
            .refuses(&[Code::HeaderInvalid, Code::VersionConflict])
    }

    /// `If-None-Match: *`, which creates; instead of `If-Match`.
    pub(super) fn if_none_match(self) -> Self {
        let about = "`*` creates, and refuses what is there already; instead of `If-Match`.";
        self.parameter(ParameterIn::Header, "If-None-Match", about, words(&["*"]), None)
    }

    /// `If-Match`, or `If-None-Match: *` to create: one of them is needed.
    pub(super) fn precondition(self) -> Self {
        self.if_match_or_none().if_none_match().refuses(&[Code::PreconditionRequired])
    }

    /// The reason of a change, in a header.
    pub(super) fn reason(self) -> Self {
        self.parameter(
            ParameterIn::Header,
            "Huidu-Reason",
            "Why, for the audit: UTF-8, percent-encoded, at most 500 characters. A `reason` in the body goes first.",
            text().build(),
            Some(json!("first%20week%20was%20quiet")),
        )
        .refuses(&[Code::HeaderInvalid, Code::OutOfRange])
    }

    /// A header of this name alone.
    pub(super) fn header(self, name: &str, description: &str, schema: Object) -> Self {
        self.parameter(ParameterIn::Header, name, description, schema, None)
    }

    /// A JSON body of the shape `T`.
    pub(super) fn json<T: ToSchema>(self, example: Value) -> Self {
        self.json_as::<T>(&["application/json"], example)
    }

    /// The body may be left out: it counts as `{}`.
    pub(super) fn or_nothing(mut self) -> Self {
        if let Some(body) = &mut self.body {
            body.required = Some(Required::False);
        }
        self
    }

    /// A JSON body of the shape `T`, of one of some media types.
    pub(super) fn json_as<T: ToSchema>(mut self, types: &[&str], example: Value) -> Self {
        collect::<T>(&mut self.shapes);
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for media in types {
            let content = ContentBuilder::new().schema(Some(reference::<T>())).example(Some(example.clone()));
            body = body.content(*media, content.build());
        }
        self.body = Some(body.build());
        self.takes_a_body().refuses(&[Code::JsonInvalid, Code::JsonTooDeep])
    }

    /// A body of text, with an example for each media type.
    pub(super) fn lines(mut self, examples: &[(&str, &str)]) -> Self {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for (media, example) in examples {
            let content = ContentBuilder::new().schema(Some(text().build())).example(Some(json!(example)));
            body = body.content(*media, content.build());
        }
        self.body = Some(body.build());
        self.takes_a_body()
    }

    fn takes_a_body(self) -> Self {
        use Code::{BodyIncomplete, BodyTimeout, BodyTooLarge, UnsupportedMediaType};
        self.refuses(&[BodyIncomplete, BodyTimeout, BodyTooLarge, UnsupportedMediaType])
    }

    /// The body is read by `http::json::typed`: an object of known fields.
    pub(super) fn strict(self) -> Self {
        self.refuses(&[Code::JsonDuplicateKey, Code::BodyInvalid])
    }

    /// It asks the database.
    pub(super) fn stored(self) -> Self {
        self.refuses(&[Code::DatabaseUnavailable])
    }

    /// Further refusals.
    pub(super) fn refuses(mut self, codes: &[Code]) -> Self {
        let new: Vec<Code> = codes.iter().copied().filter(|code| !self.codes.contains(code)).collect();
        self.codes.extend(new);
        self
    }

    /// A refusal that a part above brings along, but that cannot happen here.
    pub(super) fn never(mut self, codes: &[Code]) -> Self {
        self.codes.retain(|code| !codes.contains(code));
        self
    }

    /// A JSON answer of the shape `T`.
    pub(super) fn answers<T: ToSchema>(mut self, status: u16, description: &str, example: Value) -> Self {
        collect::<T>(&mut self.shapes);
        self.json_answer(status, description, reference::<T>(), example)
    }

    /// A page of the shape `T`.
    pub(super) fn answers_page<T: ToSchema>(mut self, description: &str, example: Value) -> Self {
        collect::<T>(&mut self.shapes);
        let name = format!("{}Page", T::name());
        let items = utoipa::openapi::ArrayBuilder::new().items(reference::<T>());
        let cursor = ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Where the next page begins: send it as `cursor`. `null` at the end."));
        let page = ObjectBuilder::new()
            .property("items", items)
            .required("items")
            .property("next_cursor", cursor)
            .required("next_cursor")
            .description(Some("A page of a list."));
        self.shapes.push((name.clone(), page.build().into()));
        let example = json!({"items": [example], "next_cursor": null});
        self.json_answer(200, description, Ref::from_schema_name(name), example)
    }

    fn json_answer(mut self, status: u16, description: &str, shape: Ref, example: Value) -> Self {
        let content = ContentBuilder::new().schema(Some(shape)).example(Some(example)).build();
        let answer = ResponseBuilder::new().description(description).content("application/json", content);
        self.answers.push((status, answer));
        self
    }

    /// An answer of text.
    pub(super) fn answers_text(mut self, media: &str, description: &str, example: &str) -> Self {
        let content =
            ContentBuilder::new().schema(Some(text().build())).example(Some(json!(example))).build();
        self.answers.push((200, ResponseBuilder::new().description(description).content(media, content)));
        self
    }

    /// The last answer may be text of another type instead, which the caller asks for.
    pub(super) fn or_text(mut self, media: &str, example: &str) -> Self {
        let content =
            ContentBuilder::new().schema(Some(text().build())).example(Some(json!(example))).build();
        self.answers = match self.answers.pop() {
            Some((status, answer)) => {
                self.answers.push((status, answer.content(media, content)));
                self.answers
            }
            None => self.answers,
        };
        self
    }

    /// An answer without a body.
    pub(super) fn answers_nothing(mut self, status: u16, description: &str) -> Self {
        self.answers.push((status, ResponseBuilder::new().description(description)));
        self
    }

    /// The answers so far carry `ETag`.
    pub(super) fn tagged(mut self, description: &str) -> Self {
        let header =
            || HeaderBuilder::new().schema(Some(text().build())).description(Some(description)).build();
        self.answers = self
            .answers
            .into_iter()
            .map(|(status, answer)| (status, answer.header("ETag", header())))
            .collect();
        self
    }

    /// The path, the method and the operation; its shapes are added to `shapes`.
    pub(super) fn finish(mut self, topic: &str, shapes: &mut Shapes) -> (String, HttpMethod, Operation) {
        shapes.append(&mut self.shapes);
        let ofrep = self.path.starts_with("/ofrep/");
        let mut operation = OperationBuilder::new()
            .tag(topic)
            .operation_id(Some(self.id))
            .summary(Some(self.summary))
            .parameters(Some(self.params))
            .request_body(self.body);
        let who = match &self.roles {
            None => "Needs no key.".to_owned(),
            Some(roles) => {
                let names: Vec<String> = roles.iter().map(|role| format!("`{role}`")).collect();
                operation = operation
                    .security(SecurityRequirement::new("bearer", Vec::<String>::new()))
                    .security(SecurityRequirement::new("key", Vec::<String>::new()));
                format!("Keys: {}.", names.join(", "))
            }
        };
        let roles: Vec<&str> = self.roles.iter().flatten().map(|role| role.as_str()).collect();
        operation = operation
            .description(Some(format!("{}\n\n{who}", self.description).trim().to_owned()))
            .extensions(Some(ExtensionsBuilder::new().add("x-roles", json!(roles)).build()));
        for (status, answer) in self.answers {
            operation = operation.response(status.to_string(), answer.build());
        }
        for (status, answer) in problem::responses(&self.codes, ofrep) {
            operation = operation.response(status.to_string(), answer);
        }
        (self.path, self.method, operation.build())
    }
}

/// A version as an entity tag, or several.
fn version_tag() -> Object {
    text().pattern(Some(r#"^"[0-9]+"$"#)).build()
}

fn parameter(place: ParameterIn, name: &str, description: &str, schema: Object) -> ParameterBuilder {
    let required = if matches!(place, ParameterIn::Path) { Required::True } else { Required::False };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(schema))
}

/// The parameters that a path's template names.
fn path_parameters(path: &str) -> Vec<Parameter> {
    let names = path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let described = names.map(|name| {
        let audience = path.contains("/audiences/");
        let (description, schema, example) = match name {
            "environment" => ("The environment's key.", key(), json!("production")),
            "key" if audience => ("The audience's key.", key(), json!("wechat-testers")),
            "key" => ("The flag's key.", key(), json!("wechat-scan-pay")),
            "version" => ("Which version.", whole(1, i64::from(i32::MAX)), json!(1)),
            _ => ("Its id.", text().build(), json!("01a20e91-7c1e-7d2a-b7a4-6a1f0c3d9e55")),
        };
        parameter(ParameterIn::Path, name, description, schema).example(Some(example)).build()
    });
    described.collect()
}
