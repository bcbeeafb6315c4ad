//! What an environment demands of its clients' units, and the secrets that sign them. Both stand in the settings
//! of the environment's row, so that they change with its snapshot number and are loaded with it.

use serde::{Deserialize, Serialize};

use crate::token::unit::UnitSecrets;

/// The settings of an environment as its row holds them. No `Debug`: they hold secrets.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentSettings {
    /// Whether a client's unit counts only if it is signed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_signed_units: bool,
    /// The secrets that units are signed with, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unit_secrets: Vec<UnitSecret>,
    /// What a newer release keeps here: it stays as it is.
    #[serde(flatten)]
    pub others: serde_json::Map<String, serde_json::Value>,
}

/// A secret that units are signed with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSecret {
    /// Its id, which is no secret.
    pub id: String,
    /// Its text, whose bytes are the key.
    pub secret: String,
    /// When it was made, milliseconds since 1970.
    pub created_at: i64,
}

impl EnvironmentSettings {
    /// Reads what a row holds.
    ///
    /// # Errors
    /// Why it cannot be read: without the text, which holds secrets.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map_err(|error| format!("settings: line {}, column {}", error.line(), error.column()))
    }

    /// Whether units must be signed and no secret is there to sign them with.
    #[must_use]
    pub fn nobody_can_sign(&self) -> bool {
        self.require_signed_units && self.unit_secrets.is_empty()
    }

    /// What a row holds.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// What clients' units must be, made ready for deciding.
pub struct Signing {
    /// Whether a client's unit counts only if it is signed.
    pub required: bool,
    /// The secrets that count.
    pub secrets: UnitSecrets,
    /// The settings that it was made by, as JSON; empty where none could be read.
    settings: Box<str>,
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signing(required: {})", self.required)
    }
}

impl Signing {
    /// By the settings of a row.
    #[must_use]
    pub fn of(settings: &EnvironmentSettings) -> Self {
        let texts = settings.unit_secrets.iter().map(|secret| secret.secret.as_str());
        Self {
            required: settings.require_signed_units,
            secrets: UnitSecrets::new(texts),
            settings: settings.text().into(),
        }
    }

    /// Where settings cannot be read and none were known: no client's unit counts, since unknown never opens.
    #[must_use]
    pub fn closed() -> Self {
        Self { required: true, secrets: UnitSecrets::new([]), settings: "".into() }
    }

    /// Whether `other` was made by the same settings.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// The settings that it was made by, as JSON, for the copy on disk; empty where none could be read. They hold
    /// secrets.
    #[must_use]
    pub fn settings(&self) -> &str {
        &self.settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_written_and_keep_what_a_newer_release_added() {
        let empty = EnvironmentSettings::parse("{}").ok().unwrap();
        assert!(!empty.require_signed_units && empty.unit_secrets.is_empty());
        assert_eq!(empty.text(), "{}");
        let text = r#"{"later":[1],"require_signed_units":true,"unit_secrets":[{"created_at":7,"id":"a","secret":"s"}]}"#;
        let full = EnvironmentSettings::parse(text).ok().unwrap();
        assert!(full.require_signed_units && full.unit_secrets[0].secret == "s");
        assert_eq!(full.text(), text);
        let refused = EnvironmentSettings::parse(r#"{"require_signed_units":"hidden-text"}"#).err().unwrap();
        assert!(!refused.contains("hidden"), "{refused}");
    }
}
