//! Audiences in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::{Call, text, whole, words};
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
    /// Where its ids are.
    pub(super) held: Held,
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

/// Where an audience's ids are.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Held {
    /// They decide from memory.
    Memory,
    /// The database is asked, and its answers are cached.
    Database,
    /// The stored ids are damaged: flags that ask for them err.
    Unreadable,
}

/// Ids to add or to remove.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IdsRequest {
    /// Each of 1 to 256 bytes; outer blanks are cut.
    #[schema(max_items = 10000, example = json!(["u-7"]))]
    pub(super) ids: Vec<String>,
    /// Why, for the audit.
    #[schema(max_length = 500)]
    pub(super) reason: Option<String>,
}

/// An audience after ids were added or removed.
#[derive(ToSchema)]
pub(super) struct EditedAudience {
    /// Its key.
    pub(super) key: String,
    /// What it holds ids of.
    pub(super) kind: AudienceKind,
    /// How many.
    pub(super) size: i64,
    /// Where its ids are.
    pub(super) held: Held,
    /// Grows with every change; its `ETag`.
    pub(super) version: i64,
    /// When it was changed.
    #[schema(format = DateTime)]
    pub(super) updated_at: String,
    /// By whom.
    pub(super) updated_by: String,
    /// How many were no members before.
    #[schema(nullable = false)]
    pub(super) added: Option<u64>,
    /// How many were members before.
    #[schema(nullable = false)]
    pub(super) removed: Option<u64>,
}

/// Which version's ids come back.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AudienceRollbackRequest)]
pub(super) struct RollbackRequest {
    /// Which; the three before the present one are kept.
    #[schema(example = 1)]
    pub(super) version: i64,
    /// Why, for the audit.
    #[schema(max_length = 500)]
    pub(super) reason: Option<String>,
}

/// A page of ids.
#[derive(ToSchema)]
pub(super) struct Ids {
    /// In the order of their bytes.
    pub(super) items: Vec<String>,
    /// Where the next page begins: send it as `cursor`. `null` at the end.
    #[schema(required = true)]
    pub(super) next_cursor: Option<String>,
    /// The version that they are of.
    pub(super) version: i64,
}

/// Whether one id is a member.
#[derive(ToSchema)]
pub(super) struct Membership {
    /// The id asked for.
    pub(super) id: String,
    /// Whether it is.
    pub(super) contains: bool,
    /// The version that says so.
    pub(super) version: i64,
}

fn example() -> Value {
    json!({"held": "memory", "key": "wechat-testers", "kind": "user", "size": 3,
           "updated_at": "2026-11-24T17:18:52.274Z", "updated_by": "key:01a20e91-... (Wang Fang)", "version": 2})
}

fn at(tail: &str) -> String {
    format!("{AUDIENCE}/{tail}")
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    let mut calls = reading();
    calls.extend([replace(), edit("add", "addIds", "Add ids"), edit("remove", "removeIds", "Remove ids")]);
    calls.extend([roll_back(), delete()]);
    calls
}

fn reading() -> Vec<Call> {
    vec![
        Call::get(AUDIENCES, "listAudiences", "List audiences")
            .access::<Read>()
            .paged(text().build())
            .stored()
            .answers_page::<Audience>("Audiences by key.", example()),
        Call::get(AUDIENCE, "getAudience", "Read an audience")
            .says("Its ids are not in the answer.")
            .access::<Read>()
            .stored()
            .answers::<Audience>(200, "The audience.", example())
            .tagged("Its version, in quotes."),
        Call::get(&at("ids"), "listIds", "List an audience's ids")
            .access::<Read>()
            .query("limit", "Ids of a page; 1,000 where it is left out.", whole(1, 10_000))
            .query("cursor", "`next_cursor` of the page before.", text().build())
            .stored()
            .answers::<Ids>(
                200,
                "Ids, in the order of their bytes.",
                json!({
                    "items": ["u-99999", "vip-1", "vip-2"], "next_cursor": null, "version": 3,
                }),
            ),
        Call::get(&at("contains"), "containsId", "Is an id a member?")
            .access::<Read>()
            .needs("id", "The id, of 1 to 256 bytes; outer blanks are cut.", text().build(), json!("vip-1"))
            .stored()
            .answers::<Membership>(
                200,
                "Whether it is.",
                json!({"contains": true, "id": "vip-1", "version": 3}),
            ),
    ]
}

fn replace() -> Call {
    Call::put(AUDIENCE, "putAudience", "Create an audience, or replace its ids")
        .says("One id a line, streamed, all replaced at once. A bad line refuses the whole upload, and `line` names it.")
        .access::<Edit>()
        .query(
            "kind",
            "What it holds ids of; `user` where it is left out. Fixed when it is made.",
            words(&["user", "goods", "other"]),
        )
        .header("Content-Encoding", "The upload may be compressed.", words(&["gzip"]))
        .precondition()
        .reason()
        .lines(&[
            ("text/plain", "tester-1\ntester-2\nu-7\n"),
            ("text/csv", "id\ntester-1\ntester-2\n"),
            ("application/x-ndjson", "\"tester-1\"\n{\"id\":\"tester-2\"}\n"),
        ])
        .refuses(&[Code::AudienceExists, Code::AudienceInvalid, Code::AudienceTooLarge, Code::QuotaReached])
        .refuses(&[Code::BodyInvalid, Code::UploadsBusy])
        .stored()
        .answers::<Audience>(200, "Replaced.", example())
        .answers::<Audience>(201, "Created.", example())
        .tagged("Its new version, in quotes.")
}

fn edit(tail: &str, id: &'static str, summary: &'static str) -> Call {
    let mut answer = example();
    if let Some(answer) = answer.as_object_mut() {
        answer.insert(if tail == "add" { "added" } else { "removed" }.into(), 1.into());
    }
    let call = Call::post(&at(tail), id, summary)
        .says("They decide when the call is answered. What is so already changes nothing.")
        .access::<Edit>()
        .refuses(&[Code::QueryInvalid, Code::AudienceInvalid, Code::TooManyIds])
        .reason()
        .json::<IdsRequest>(json!({"ids": ["u-7"], "reason": "asked for by support"}))
        .strict()
        .stored()
        .answers::<EditedAudience>(200, "The audience as it is now.", answer)
        .tagged("Its version now, in quotes.");
    if tail == "add" { call.refuses(&[Code::AudienceTooLarge]) } else { call }
}

fn roll_back() -> Call {
    Call::post(&at("rollback"), "rollBackAudience", "Bring back an older list")
        .says("Its ids become those of a new version.")
        .access::<Edit>()
        .refuses(&[Code::QueryInvalid])
        .if_match()
        .reason()
        .json::<RollbackRequest>(json!({"version": 1, "reason": "too early"}))
        .strict()
        .stored()
        .answers::<Audience>(200, "The audience as it is now.", example())
        .tagged("Its new version, in quotes.")
}

fn delete() -> Call {
    Call::delete(AUDIENCE, "deleteAudience", "Delete an audience")
        .says("`If-Match` is heeded, but not needed; `*` counts as a missing one. Archived flags count as users too.")
        .access::<Edit>()
        .refuses(&[Code::QueryInvalid, Code::AudienceInUse, Code::PreconditionRequired])
        .if_match_or_none()
        .reason()
        .stored()
        .answers_nothing(204, "It is gone.")
}
