//! Keys and the audit in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::{Call, number, text, time};
use crate::access::role::{Administer, Read};
use crate::http::problem::Code;

/// A key, without its text.
#[derive(ToSchema)]
pub(super) struct Key {
    /// Its id.
    pub(super) id: String,
    /// For people.
    pub(super) name: String,
    /// What it may do.
    pub(super) role: Role,
    /// Its environment; `null`: all.
    #[schema(required = true)]
    pub(super) environment: Option<String>,
    /// Its last characters, to tell it from others.
    pub(super) hint: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    /// By whom.
    pub(super) created_by: String,
    /// When it ends; `null`: never.
    #[schema(required = true, format = DateTime)]
    pub(super) expires_at: Option<String>,
    /// When it was revoked; `null`: it was not.
    #[schema(required = true, format = DateTime)]
    pub(super) revoked_at: Option<String>,
    /// When it was last seen; `null`: never.
    #[schema(required = true, format = DateTime)]
    pub(super) last_used_at: Option<String>,
}

/// What a key may do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Role {
    /// Lives in browsers and apps.
    Client,
    /// Lives in the shop's own backends.
    Server,
    /// Reads.
    Analyst,
    /// Changes flags and audiences.
    Editor,
    /// May do everything.
    Admin,
}

/// A key to make.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRequest {
    /// For people.
    #[schema(min_length = 1, max_length = 100)]
    pub(super) name: String,
    /// What it may do.
    pub(super) role: Role,
    /// Its environment; must be given, `null` is all.
    #[schema(required = true)]
    pub(super) environment: Option<String>,
    /// When it ends; never, where it is left out.
    #[schema(format = DateTime)]
    pub(super) expires_at: Option<String>,
}

/// A key that was made.
#[derive(ToSchema)]
pub(super) struct MadeKey {
    /// Its id.
    pub(super) id: String,
    /// The key itself: this is the only time it is shown.
    pub(super) key: String,
    /// For people.
    pub(super) name: String,
    /// What it may do.
    pub(super) role: Role,
    /// Its environment; `null`: all.
    #[schema(required = true)]
    pub(super) environment: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    /// When it ends; `null`: never.
    #[schema(required = true, format = DateTime)]
    pub(super) expires_at: Option<String>,
}

/// One line of the audit.
#[derive(ToSchema)]
pub(super) struct AuditEntry {
    /// Grows with time.
    pub(super) id: i64,
    /// When.
    #[schema(format = DateTime)]
    pub(super) at: String,
    /// Who.
    pub(super) actor: String,
    /// What was done, such as `rollout`.
    pub(super) action: String,
    /// To what kind of thing.
    #[schema(example = "flag")]
    pub(super) kind: String,
    /// To which.
    pub(super) subject: String,
    /// Why, if somebody said so.
    #[schema(required = true)]
    pub(super) reason: Option<String>,
    /// The request, as in the log.
    #[schema(required = true)]
    pub(super) request_id: Option<String>,
    /// More, by action: such as what differs.
    pub(super) detail: Value,
}

fn key_example() -> Value {
    json!({"id": "01a20e91-7c1e-7d2a-b7a4-6a1f0c3d9e55", "name": "Wang Fang", "role": "editor", "environment": "production",
           "hint": "p7mz", "created_at": "2026-11-24T17:17:51.024Z", "created_by": "key:01a20e90-... (bootstrap)",
           "expires_at": null, "revoked_at": null, "last_used_at": "2026-11-24T17:18:52.129Z"})
}

fn audit(call: Call) -> Call {
    call.says("Newest first.")
        .query("flag", "Only what was done to this flag.", text().build())
        .query("audience", "Only what was done to this audience.", text().build())
        .query("actor", "Only what this one did.", text().build())
        .query("from", "From this time on.", time())
        .query("to", "Before this time.", time())
        .paged(number())
        .stored()
        .answers_page::<AuditEntry>("Lines of the audit, newest first.", json!({
            "action": "rollback", "actor": "key:01a20e91-... (Wang Fang)", "at": "2026-11-24T17:18:52.129Z",
            "detail": {"diff": [{"from": 10, "pointer": "/rules/1/serve/rollout/percent", "to": 5}], "stage": 4,
                       "state": "live", "version": 5},
            "id": 12, "kind": "flag", "reason": "back to 5 %", "request_id": "4b8376056899f090",
            "subject": "wechat-scan-pay",
        }))
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    vec![
        Call::get("/v1/keys", "listKeys", "List keys")
            .says("Without their text. An admin key of one environment sees that one's.")
            .global::<Administer>()
            .paged(text().build())
            .stored()
            .answers_page::<Key>("Keys in the order of their making.", key_example()),
        Call::post("/v1/keys", "createKey", "Make a key")
            .says("The answer is the only time its text is shown. An admin key of one environment makes keys of that one.")
            .global::<Administer>()
            .reason()
            .json::<KeyRequest>(json!({"name": "Wang Fang", "role": "editor", "environment": "production"}))
            .strict()
            .refuses(&[Code::KeyInvalid, Code::QuotaReached])
            .stored()
            .answers::<MadeKey>(201, "The key.", json!({
                "id": "01a20e91-7c1e-7d2a-b7a4-6a1f0c3d9e55", "key": "huidu_editor_p7mz...", "name": "Wang Fang",
                "role": "editor", "environment": "production", "created_at": "2026-11-24T17:17:51.024Z",
                "expires_at": null,
            })),
        Call::delete("/v1/keys/{id}", "revokeKey", "Revoke a key")
            .says("It is refused from now on; again changes nothing.")
            .global::<Administer>()
            .reason()
            .refuses(&[Code::NotFound])
            .stored()
            .answers_nothing(204, "It is revoked."),
        audit(Call::get("/v1/audit", "listGlobalAudit", "Read the audit of what belongs to no environment"))
            .global::<Administer>(),
        audit(Call::get("/v1/environments/{environment}/audit", "listAudit", "Read an environment's audit"))
            .access::<Read>(),
    ]
}
