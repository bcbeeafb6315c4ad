//! Audiences in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::{Call, key, words};
use crate::access::role::{Edit, Read};
use crate::http::problem::Code;

const AUDIENCES: &str = "/v1/environments/{environment}/audiences";
const AUDIENCE: &str = "/v1/environments/{environment}/audiences/{key}";

/// A list of ids, without them.
#[derive(ToSchema)]
pub(super) struct Audience {
    /// Its key.
    pub(super) key: String,
    /// What it holds ids of.
    pub(super) kind: AudienceKind,
    /// How many.
    pub(super) size: i64,
    /// Grows with every change; its `ETag`.
    pub(super) version: i64,
    /// When it was changed.
    #[schema(format = DateTime)]
    pub(super) updated_at: String,
    /// By whom.
    pub(super) updated_by: String,
}

/// What an audience holds ids of.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum AudienceKind {
    /// Users.
    User,
    /// Goods.
    Goods,
    /// Values of some other attribute.
    Other,
}

fn example() -> Value {
    json!({"key": "wechat-testers", "kind": "user", "size": 3, "updated_at": "2026-11-24T17:18:52.274Z",
           "updated_by": "key:01a20e91-... (Wang Fang)", "version": 2})
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    vec![
        Call::get(AUDIENCES, "listAudiences", "List audiences")
            .access::<Read>()
            .paged(key())
            .stored()
            .answers_page::<Audience>("Audiences by key.", example()),
        Call::get(AUDIENCE, "getAudience", "Read an audience")
            .says("Its ids are not in the answer.")
            .access::<Read>()
            .stored()
            .answers::<Audience>(200, "The audience.", example())
            .tagged("Its version, in quotes."),
        replace(),
    ]
}

fn replace() -> Call {
    Call::put(AUDIENCE, "putAudience", "Create an audience, or replace its ids")
        .says(
            "One id a line, all replaced at once. A bad line refuses the whole upload, and `line` names it.",
        )
        .access::<Edit>()
        .query(
            "kind",
            "What it holds ids of; `user` where it is left out. Fixed when it is made.",
            words(&["user", "goods", "other"]),
        )
        .precondition()
        .reason()
        .lines(&[
            ("text/plain", "tester-1\ntester-2\nu-7\n"),
            ("text/csv", "id\ntester-1\ntester-2\n"),
            ("application/x-ndjson", "\"tester-1\"\n{\"id\":\"tester-2\"}\n"),
        ])
        .refuses(&[Code::AudienceExists, Code::AudienceInvalid, Code::AudienceTooLarge, Code::QuotaReached])
        .never(&[Code::BodyTooLarge])
        .stored()
        .answers::<Audience>(200, "Replaced.", example())
        .answers::<Audience>(201, "Created.", example())
        .tagged("Its new version, in quotes.")
}
