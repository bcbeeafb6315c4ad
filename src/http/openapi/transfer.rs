//! Promotion, export and import in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::audiences::AudienceKind;
use super::call::{Call, boolean};
use super::flag::{Document, FlagState};
use super::flags::{Difference, Warning};
use crate::access::role::{Edit, Read};
use crate::http::problem::Code;

/// Which flag is taken from where.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PromoteRequest {
    /// The flag's key, in both environments.
    #[schema(example = "wechat-scan-pay")]
    pub(super) flag: String,
    /// The environment that it is taken from.
    #[schema(example = "staging")]
    pub(super) from: String,
    /// Top-level fields of the document; all of it, where they are left out.
    #[schema(example = json!(["rules"]))]
    pub(super) parts: Option<Vec<String>>,
    /// Why, for the audit.
    #[schema(max_length = 500)]
    pub(super) reason: Option<String>,
}

/// What happened to something that was taken over.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Action {
    /// It was not there.
    Create,
    /// It is another now.
    Replace,
    /// It was so already.
    Unchanged,
}

/// What was promoted, or would be.
#[derive(ToSchema)]
pub(super) struct Promoted {
    /// Whether nothing was written.
    pub(super) dry_run: bool,
    /// The flag's key.
    pub(super) flag: String,
    /// Where it was taken from.
    pub(super) from: String,
    /// Which version of it.
    pub(super) from_version: i64,
    /// Where it went.
    pub(super) environment: String,
    /// What happened to it there.
    pub(super) action: Action,
    /// Its version there.
    pub(super) version: i64,
    /// Its state there: a new flag arrives killed, another keeps its own.
    pub(super) state: FlagState,
    /// What differs from the document that was there.
    pub(super) diff: Vec<Difference>,
    /// What is doubtful.
    pub(super) warnings: Vec<Warning>,
    /// The number of the environment's state.
    pub(super) snapshot: i64,
}

/// An environment as one document; the same state gives the same bytes.
#[derive(ToSchema)]
pub(super) struct Export {
    /// The form of this document: 1.
    #[schema(minimum = 1, maximum = 1)]
    pub(super) huidu_export: i64,
    /// Where it is from.
    pub(super) environment: String,
    /// Documents by key, without those of archived flags.
    pub(super) flags: Vec<Document>,
    /// Audiences by key.
    pub(super) audiences: Vec<ExportedAudience>,
}

/// An audience of an export.
#[derive(ToSchema)]
pub(super) struct ExportedAudience {
    /// Its key.
    pub(super) key: String,
    /// What it holds ids of.
    pub(super) kind: AudienceKind,
    /// How many.
    pub(super) size: i64,
    /// Its ids; left out where there are over 1,000.
    #[schema(nullable = false)]
    pub(super) ids: Option<Vec<String>>,
}

/// What is taken in: an export, or a part of one. What is not in it is left alone.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportRequest {
    /// The form of this document: 1.
    #[schema(minimum = 1, maximum = 1)]
    pub(super) huidu_export: i64,
    /// Where it is from: for people.
    #[schema(nullable = false)]
    pub(super) environment: Option<String>,
    /// Documents.
    #[schema(nullable = false)]
    pub(super) flags: Option<Vec<Document>>,
    /// Audiences; one without ids must be there already.
    #[schema(nullable = false)]
    pub(super) audiences: Option<Vec<ImportedIds>>,
}

/// An audience that is taken in.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportedIds {
    /// Its key.
    pub(super) key: String,
    /// What it holds ids of; `user` where it is left out.
    #[schema(nullable = false)]
    pub(super) kind: Option<AudienceKind>,
    /// How many.
    #[schema(nullable = false, minimum = 0)]
    pub(super) size: Option<i64>,
    /// It gets exactly these.
    #[schema(nullable = false, max_items = 10000)]
    pub(super) ids: Option<Vec<String>>,
}

/// What was imported, or would be.
#[derive(ToSchema)]
pub(super) struct Imported {
    /// Whether nothing was written.
    pub(super) dry_run: bool,
    /// The flags in the order sent.
    pub(super) flags: Vec<ImportedFlag>,
    /// The audiences in the order sent.
    pub(super) audiences: Vec<ImportedAudience>,
    /// What is doubtful.
    pub(super) warnings: Vec<Warning>,
    /// The number of the environment's state.
    pub(super) snapshot: i64,
}

/// What happened to a flag.
#[derive(ToSchema)]
pub(super) struct ImportedFlag {
    /// Its key.
    pub(super) key: String,
    /// What happened.
    pub(super) action: Action,
    /// Its version.
    pub(super) version: i64,
    /// What differs from the document that was there.
    pub(super) diff: Vec<Difference>,
}

/// What happened to an audience.
#[derive(ToSchema)]
pub(super) struct ImportedAudience {
    /// Its key.
    pub(super) key: String,
    /// What happened.
    pub(super) action: Action,
    /// How many ids are new.
    pub(super) add: u64,
    /// How many are gone.
    pub(super) remove: u64,
}

fn export() -> Value {
    json!({"huidu_export": 1, "environment": "production", "flags": [super::flag::example()],
           "audiences": [{"key": "wechat-testers", "kind": "user", "size": 1, "ids": ["tester-1"]}]})
}

/// The calls between environments.
pub(super) fn calls() -> Vec<Call> {
    let dry =
        |call: Call| call.query("dry_run", "`true` tells what would happen, and writes nothing.", boolean());
    let at = |tail: &str| format!("/v1/environments/{{environment}}/{tail}");
    vec![
        dry(Call::post(&at("promote"), "promote", "Take a flag over from another environment").access::<Edit>())
            .says("Needs a key of all environments. A new flag arrives killed; an existing one keeps its state and its salt.")
            .if_match_or_none()
            .if_none_match()
            .reason()
            .json::<PromoteRequest>(json!({"flag": "wechat-scan-pay", "from": "staging", "parts": ["rules"]}))
            .strict()
            .refuses(&[Code::FlagInvalid, Code::FlagExists, Code::QuotaReached])
            .stored()
            .answers::<Promoted>(200, "What was taken over, or would be.", json!({
                "action": "replace", "diff": [{"from": 5, "pointer": "/rules/1/serve/rollout/percent", "to": 10}],
                "dry_run": false, "environment": "production", "flag": "wechat-scan-pay", "from": "staging",
                "from_version": 2, "snapshot": 6, "state": "killed", "version": 2, "warnings": [],
            })),
        Call::get(&at("export"), "exportEnvironment", "Export an environment as one document")
            .says("All flags that are not archived, and the audiences. The same state gives the same bytes.")
            .access::<Read>()
            .query("secrets", "`true` adds the salts; for `admin` keys only.", boolean())
            .refuses(&[Code::FlagUnreadable])
            .stored()
            .answers::<Export>(200, "The environment.", export()),
        dry(Call::post(&at("import"), "importEnvironment", "Import what was exported").access::<Edit>())
            .says("All of it or nothing. What is not in it is left alone, and no state moves; new flags arrive killed.")
            .reason()
            .json::<ImportRequest>(export())
            .refuses(&[Code::JsonDuplicateKey, Code::ImportInvalid, Code::QuotaReached])
            .stored()
            .answers::<Imported>(200, "What was imported, or would be.", json!({
                "audiences": [{"action": "replace", "add": 1, "key": "wechat-testers", "remove": 0}], "dry_run": false,
                "flags": [{"action": "unchanged", "diff": [], "key": "wechat-scan-pay", "version": 1}],
                "snapshot": 2, "warnings": [],
            })),
    ]
}
