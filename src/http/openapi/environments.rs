//! Environments and their unit secrets in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::{Call, text};
use super::flags::{ReasonRequest, Warning};
use crate::access::role::Administer;
use crate::http::problem::Code;

const ENVIRONMENTS: &str = "/v1/environments";
const ENVIRONMENT: &str = "/v1/environments/{environment}";
const SECRETS: &str = "/v1/environments/{environment}/unit-secrets";

/// An environment.
#[derive(ToSchema)]
pub(super) struct Environment {
    /// Its key, which never changes.
    pub(super) key: String,
    /// Its name, for people.
    pub(super) name: String,
    /// Whether a unit of a `client` key counts only if the shop's backend signed it.
    pub(super) require_signed_units: bool,
    /// The secrets that sign units, without their texts.
    pub(super) unit_secrets: Vec<UnitSecret>,
    /// The number of its newest state.
    pub(super) snapshot: i64,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    /// What is doubtful about a change that was accepted.
    #[schema(nullable = false)]
    pub(super) warnings: Option<Vec<Warning>>,
}

/// A secret that signs units, without its text.
#[derive(ToSchema)]
pub(super) struct UnitSecret {
    /// Its id.
    pub(super) id: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
}

/// A secret that was made.
#[derive(ToSchema)]
pub(super) struct MadeUnitSecret {
    /// Its id.
    pub(super) id: String,
    /// The secret itself: this is the only time it is shown.
    pub(super) secret: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) created_at: String,
}

/// An environment to make.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvironmentRequest {
    /// Its key, which never changes.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,100}$", example = "canary")]
    pub(super) key: String,
    /// Its name, for people; the key where it is left out.
    #[schema(min_length = 1, max_length = 100)]
    pub(super) name: Option<String>,
    /// Why, for the audit.
    #[schema(max_length = 500)]
    pub(super) reason: Option<String>,
}

/// What to change of an environment.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvironmentPatch {
    /// Its name, for people.
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    pub(super) name: Option<String>,
    /// Whether a unit of a `client` key counts only if the shop's backend signed it.
    #[schema(nullable = false)]
    pub(super) require_signed_units: Option<bool>,
}

fn example() -> Value {
    json!({"key": "production", "name": "Production", "require_signed_units": false, "unit_secrets": [],
           "snapshot": 7, "created_at": "2026-11-24T17:17:50.900Z"})
}

/// The calls of environments.
pub(super) fn calls() -> Vec<Call> {
    vec![
        Call::get(ENVIRONMENTS, "listEnvironments", "List environments")
            .says("An admin key of one environment sees that one.")
            .global::<Administer>()
            .paged(text().build())
            .stored()
            .answers_page::<Environment>("Environments by key.", example()),
        Call::post(ENVIRONMENTS, "createEnvironment", "Make an environment")
            .says("Without flags, and serving at once. Needs an admin key of all environments.")
            .global::<Administer>()
            .reason()
            .json::<EnvironmentRequest>(json!({"key": "canary", "name": "Canary"}))
            .strict()
            .refuses(&[Code::EnvironmentInvalid, Code::EnvironmentExists, Code::QuotaReached])
            .stored()
            .answers::<Environment>(201, "The environment.", example()),
        Call::get(ENVIRONMENT, "getEnvironment", "Read an environment")
            .access::<Administer>()
            .refuses(&[Code::QueryInvalid])
            .stored()
            .answers::<Environment>(200, "The environment.", example()),
        Call::patch(ENVIRONMENT, "changeEnvironment", "Rename an environment, or demand signed units")
            .says("The key never changes. Without a unit secret, demanding signed units shuts every client out.")
            .access::<Administer>()
            .reason()
            .json_as::<EnvironmentPatch>(
                &["application/merge-patch+json", "application/json"],
                json!({"name": "Production"}),
            )
            .or_nothing()
            .strict()
            .refuses(&[Code::EnvironmentInvalid])
            .stored()
            .answers::<Environment>(200, "The environment as it is now.", example()),
        Call::post(SECRETS, "createUnitSecret", "Make a secret that signs units")
            .says("The answer is the only time it is shown. Two may be valid at once, for a change of secrets.")
            .access::<Administer>()
            .reason()
            .json::<ReasonRequest>(json!({"reason": "first secret"}))
            .or_nothing()
            .strict()
            .refuses(&[Code::UnitSecretLimit])
            .stored()
            .answers::<MadeUnitSecret>(201, "The secret.", json!({
                "id": "01a20e91-7c1e-7d2a-b7a4-6a1f0c3d9e55", "secret": "huidu_unit_m3qv...",
                "created_at": "2026-11-24T17:17:51.024Z",
            })),
        Call::delete("/v1/environments/{environment}/unit-secrets/{id}", "deleteUnitSecret", "Delete a unit secret")
            .says("What it signed is refused from now on.")
            .access::<Administer>()
            .reason()
            .stored()
            .answers_nothing(204, "It is deleted."),
    ]
}
