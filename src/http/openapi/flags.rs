//! Flags in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::{Call, number, text, words};
use super::explain::{ExplainRequest, Explanation};
use super::flag::{Document, FlagState, example};
use crate::access::role::{Edit, Observe, Read};
use crate::http::problem::Code;

const FLAGS: &str = "/v1/environments/{environment}/flags";

/// A flag as it decides.
#[derive(ToSchema)]
pub(super) struct Flag {
    /// What people edit.
    pub(super) flag: Document,
    /// Grows with every change of document or state; its `ETag`.
    pub(super) version: i64,
    /// Whether it decides by its rules.
    pub(super) state: FlagState,
    /// Whether its end has passed.
    pub(super) expired: bool,
    /// The stage that is open; `null` while it is shut.
    #[schema(required = true)]
    pub(super) stage: Option<i64>,
    /// When it was changed.
    #[schema(format = DateTime)]
    pub(super) updated_at: String,
    /// By whom.
    pub(super) updated_by: String,
    /// Why the stored document cannot be read; `null`: it can.
    #[schema(required = true)]
    pub(super) unreadable: Option<String>,
    /// Why the newest stored form does not decide and an older one goes on; `null`: it decides.
    #[schema(required = true)]
    pub(super) frozen: Option<String>,
    /// What is doubtful about a change that was accepted.
    #[schema(nullable = false)]
    pub(super) warnings: Option<Vec<Warning>>,
}

/// What is doubtful.
#[derive(ToSchema)]
pub(super) struct Warning {
    /// JSON pointer into the document.
    pub(super) pointer: String,
    /// Stable code, listed in docs/errors.md.
    #[schema(example = "salt_changed")]
    pub(super) code: String,
    /// For people.
    pub(super) detail: String,
}

/// A JSON Merge Patch (RFC 7396) of a flag's document: `null` takes a field away.
#[derive(ToSchema)]
pub(super) struct FlagPatch {
    /// The fields to change.
    #[serde(flatten)]
    pub(super) fields: std::collections::BTreeMap<String, Value>,
}

/// A new percentage.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RolloutRequest {
    /// Which rule; may be left out where one rollout exists.
    #[schema(example = "ramp")]
    pub(super) rule: Option<String>,
    /// Treated, in percent with at most four decimals.
    #[schema(minimum = 0, maximum = 100, example = 10)]
    pub(super) percent: f64,
    /// Measured as control; stays as it is where it is left out.
    #[schema(nullable = false, minimum = 0, maximum = 100)]
    pub(super) control: Option<f64>,
    /// Why, for the audit.
    #[schema(max_length = 500)]
    pub(super) reason: Option<String>,
}

/// Why something is done.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonRequest {
    /// For the audit.
    #[schema(max_length = 500)]
    pub(super) reason: Option<String>,
}

/// Which version's document comes back.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackRequest {
    /// Which.
    #[schema(example = 1)]
    pub(super) version: i64,
    /// Why, for the audit.
    #[schema(max_length = 500)]
    pub(super) reason: Option<String>,
}

/// One version of a flag.
#[derive(ToSchema)]
pub(super) struct Version {
    /// Which.
    pub(super) version: i64,
    /// The state that the flag had in it.
    pub(super) state: FlagState,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) at: String,
    /// By whom.
    pub(super) actor: String,
    /// How, such as `rollout`.
    pub(super) action: String,
    /// Why, if somebody said so.
    #[schema(required = true)]
    pub(super) reason: Option<String>,
    /// What differs from the version before.
    #[schema(required = true)]
    pub(super) diff: Option<Vec<Difference>>,
}

/// One version of a flag, with its document.
#[derive(ToSchema)]
pub(super) struct WholeVersion {
    /// Which.
    pub(super) version: i64,
    /// The state that the flag had in it.
    pub(super) state: FlagState,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) at: String,
    /// By whom.
    pub(super) actor: String,
    /// How, such as `rollout`.
    pub(super) action: String,
    /// Why, if somebody said so.
    #[schema(required = true)]
    pub(super) reason: Option<String>,
    /// What differs from the version before.
    #[schema(required = true)]
    pub(super) diff: Option<Vec<Difference>>,
    /// Its document.
    pub(super) flag: Document,
}

/// One difference between two documents.
#[derive(ToSchema)]
pub(super) struct Difference {
    /// JSON pointer.
    #[schema(example = "/rules/1/serve/rollout/percent")]
    pub(super) pointer: String,
    /// The old value; absent if there was none.
    #[schema(required = false)]
    pub(super) from: Value,
    /// The new value; absent if there is none.
    #[schema(required = false)]
    pub(super) to: Value,
}

fn flag_example() -> Value {
    json!({"expired": false, "flag": example(), "stage": 2, "state": "live", "unreadable": null, "frozen": null,
           "updated_at": "2026-11-24T17:18:51.534Z", "updated_by": "key:01a20e91-... (Wang Fang)", "version": 2})
}

fn version_example() -> Value {
    json!({"version": 2, "state": "live", "at": "2026-11-24T17:18:51.534Z", "actor": "key:01a20e91-... (Wang Fang)",
           "action": "rollout", "reason": "first week was quiet",
           "diff": [{"pointer": "/rules/1/serve/rollout/percent", "from": 5, "to": 10}]})
}

fn at(tail: &str) -> String {
    format!("{FLAGS}/{{key}}{tail}")
}

/// The calls that read.
fn reading() -> Vec<Call> {
    vec![
        Call::get(FLAGS, "listFlags", "List flags")
            .access::<Read>()
            .query("state", "Only flags in this state.", words(&["live", "killed", "archived"]))
            .paged(text().build())
            .answers_page::<Flag>("Flags by key.", flag_example()),
        Call::get(&at(""), "getFlag", "Read a flag")
            .access::<Read>()
            .answers::<Flag>(200, "The flag.", flag_example())
            .tagged("Its version, in quotes."),
        Call::get(&at("/versions"), "listVersions", "List a flag's versions")
            .access::<Read>()
            .paged(number())
            .stored()
            .answers_page::<Version>("Versions, newest first.", version_example()),
        Call::get(&at("/versions/{version}"), "getVersion", "Read one version with its document")
            .access::<Read>()
            .stored()
            .answers::<WholeVersion>(200, "The version.", with_flag(version_example())),
        Call::post(&at("/explain"), "explain", "Why does the flag decide so?")
            .says("The decision for a context, and every step to it. With `document`: of a draft, which is checked but not stored.")
            .access::<Observe>()
            .json::<ExplainRequest>(super::explain::request())
            .refuses(&super::decide::CONTEXT)
            .refuses(&[Code::BodyInvalid, Code::JsonDuplicateKey, Code::FlagInvalid, Code::QuotaReached])
            .stored()
            .answers::<Explanation>(200, "The decision and its trace.", super::explain::answer()),
    ]
}

fn with_flag(mut version: Value) -> Value {
    if let Some(version) = version.as_object_mut() {
        version.insert("flag".into(), example());
    }
    version
}

/// What every change of a flag answers.
fn change(call: Call) -> Call {
    call.stored().answers::<Flag>(200, "The flag as it decides now.", flag_example())
}

/// The calls that change the document.
fn editing() -> Vec<Call> {
    vec![
        change(Call::put(&at(""), "putFlag", "Create or replace a flag").access::<Edit>())
            .says("All faults come at once, each with its place. A document that changes nothing keeps its version.")
            .precondition()
            .reason()
            .json::<Document>(example())
            .refuses(&[Code::JsonDuplicateKey, Code::FlagExists, Code::FlagInvalid, Code::QuotaReached])
            .answers::<Flag>(201, "Created.", flag_example())
            .tagged("Its new version, in quotes."),
        change(Call::patch(&at(""), "patchFlag", "Edit parts of a flag").access::<Edit>())
            .says("A JSON Merge Patch (RFC 7396).")
            .if_match()
            .reason()
            .json_as::<FlagPatch>(
                &["application/merge-patch+json", "application/json"],
                json!({"description": "Winter test"}),
            )
            .refuses(&[Code::JsonDuplicateKey, Code::FlagInvalid])
            .tagged("Its new version, in quotes."),
        change(Call::post(&at("/rollout"), "rollOut", "Move the percentage").access::<Edit>())
            .says("`control` never changes by itself: over 100 together is refused, and `detail` says what fits.")
            .if_match()
            .reason()
            .json::<RolloutRequest>(json!({"percent": 10, "reason": "first week was quiet"}))
            .strict()
            .refuses(&[Code::FlagInvalid])
            .tagged("Its new version, in quotes."),
        change(Call::post(&at("/rollback"), "rollBack", "Bring an old version's document back").access::<Edit>())
            .says("It becomes the newest version. The state stays: a killed flag stays shut.")
            .if_match()
            .reason()
            .json::<RollbackRequest>(json!({"version": 1, "reason": "back to 5 %"}))
            .strict()
            .refuses(&[Code::FlagInvalid])
            .tagged("Its new version, in quotes."),
    ]
}

/// The calls that change the state.
fn moving() -> Vec<Call> {
    let call = |tail: &str, id, summary| {
        change(Call::post(&at(tail), id, summary).access::<Edit>())
            .reason()
            .json::<ReasonRequest>(json!({"reason": "payments fail"}))
            .or_nothing()
            .strict()
            .tagged("Its new version, in quotes.")
    };
    vec![
        call("/kill", "killFlag", "Shut a flag at once").says(
            "Needs no version. Repeat it until it answers 200: with the database away nothing is killed.",
        ),
        call("/restore", "restoreFlag", "Open a killed flag, or take an archived one back")
            .says("It opens with the percentage it had; an archived flag comes back killed.")
            .if_match()
            .refuses(&[Code::FlagInvalid]),
        call("/archive", "archiveFlag", "Put a flag away")
            .says("It decides off, and leaves the list of entries.")
            .if_match()
            .refuses(&[Code::FlagInUse]),
    ]
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    let mut calls = reading();
    calls.extend(editing());
    calls.extend(moving());
    calls
}
