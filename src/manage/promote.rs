//! Promotion: one flag's document, or parts of it, taken over from another environment. Salts never travel, and no
//! state moves: an existing flag keeps its own, a new one is killed.

use serde_json::{Map, Value, json};

use super::flags::held::Held;
use super::flags::write::Edit;
use super::flags::{Proposal, state_of, stored};
use super::{Caller, Manage, ManageError, Precondition};
use crate::engine::diff::{Difference, diff};
use crate::engine::flag::{FIELDS, State};
use crate::engine::key::FlagKey;
use crate::engine::validate::Warning;
use crate::live::Environment;

/// Fields of a document that are no part to be chosen: the one is always taken, the other never.
const NO_PARTS: [&str; 2] = ["key", "salt"];
/// The word for all parts.
const ALL: &str = "all";

/// Which top-level parts of a document are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parts {
    /// The whole document.
    All,
    /// These fields; one that the source leaves out is left out of the target too.
    Some(Vec<String>),
}

impl Parts {
    /// Reads a list of parts.
    ///
    /// # Errors
    /// A sentence that names the part that is none.
    pub fn parse(names: Vec<String>) -> Result<Self, String> {
        let known = || FIELDS.iter().copied().filter(|field| !NO_PARTS.contains(field));
        let unknown = names.iter().find(|name| *name != ALL && !known().any(|field| field == *name));
        match unknown {
            Some(name) => Err(format!(
                "`parts`: there is no part {name:?}; there are: {ALL}, {}",
                known().collect::<Vec<_>>().join(", ")
            )),
            None if names.is_empty() => Err("`parts` names one part or more; left out it is all".into()),
            None if names.iter().any(|name| name == ALL) => Ok(Self::All),
            None => Ok(Self::Some(names)),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::All => json!([ALL]),
            Self::Some(names) => json!(names),
        }
    }

    /// The target's new document: `source`'s parts over `target`, without a salt from the source.
    fn taken(&self, source: &Value, target: Option<&Value>) -> Value {
        let empty = Map::new();
        let source = source.as_object().unwrap_or(&empty);
        let mut taken = match (self, target) {
            (Self::Some(_), Some(target)) => target.as_object().cloned().unwrap_or_default(),
            (Self::All, _) | (_, None) => Map::new(),
        };
        let wanted = |field: &str| match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(|name| name == field),
        };
        for field in FIELDS.into_iter().filter(|field| wanted(field) && !NO_PARTS.contains(field)) {
            match source.get(field) {
                Some(value) => taken.insert(field.to_owned(), value.clone()),
                None => taken.remove(field),
            };
        }
        if let Some(key) = source.get("key") {
            taken.insert("key".into(), key.clone());
        }
        Value::Object(taken)
    }
}

/// What becomes of a thing that is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was not there.
    Create,
    /// It was another.
    Replace,
    /// It is so already.
    Unchanged,
}

impl Action {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Unchanged => "unchanged",
        }
    }

    /// What storing `proposal` over `row` would be.
    pub(super) fn of(row: Option<&Held>, proposal: &Proposal) -> Self {
        let Some(row) = row else { return Self::Create };
        match row.forms() {
            Ok((_, document)) if *document == proposal.document => Self::Unchanged,
            _ => Self::Replace,
        }
    }
}

/// A wish to promote.
#[derive(Debug)]
pub struct Promotion<'p> {
    /// Which flag.
    pub flag: &'p FlagKey,
    /// From where.
    pub from: &'p Environment,
    /// What of it.
    pub parts: Parts,
    /// Only tell what would happen.
    pub dry_run: bool,
}

/// What a promotion did, or would do.
#[derive(Debug)]
pub struct Promoted {
    /// Created, replaced, or as it was.
    pub action: Action,
    /// The version that was taken from the source.
    pub from_version: i64,
    /// The target's version afterwards.
    pub version: i64,
    /// The target's state, which did not move.
    pub state: State,
    /// What differs in the target.
    pub diff: Vec<Difference>,
    /// What is doubtful about it.
    pub warnings: Vec<Warning>,
    /// The snapshot number that the target then serves.
    pub snapshot: i64,
}

impl Manage {
    /// Takes a flag's document, or parts of it, over from another environment.
    ///
    /// # Errors
    /// [`ManageError::Invalid`] with every fault that the document has in its new environment; those of the
    /// precondition; [`ManageError::NotFound`] where the source has no such flag.
    pub async fn promote(
        &self,
        caller: &Caller,
        environment: &Environment,
        promotion: &Promotion<'_>,
        precondition: &Precondition,
    ) -> Result<Promoted, ManageError> {
        let Promotion { flag, from, parts, dry_run } = promotion;
        let source = self.store.flag(from.number, flag).await?.ok_or(ManageError::NotFound("flag"))?;
        let source = Held::new(source, None);
        let (document, _) = source.forms()?;
        let (mut change, row) = self.begin_flag(environment, flag).await?;
        let row = match precondition {
            Precondition::Any => row,
            precondition => stored(flag, row, precondition)?,
        };
        let old = row.as_ref().map(Held::forms).transpose();
        // A target that cannot be read may be replaced as a whole, not mended in parts.
        let old = if *parts == Parts::All { old.ok().flatten() } else { old? }.map(|(value, _)| value);
        let value = parts.taken(document, old);
        let state = row.as_ref().map_or(State::Killed, |row| state_of(row));
        let proposal = self.propose(environment, flag, value, state, row.as_ref())?;
        let action = Action::of(row.as_ref(), &proposal);
        let mut promoted = Promoted {
            action,
            from_version: source.version,
            version: row.as_ref().map_or(0, |row| row.version) + i64::from(action != Action::Unchanged),
            state,
            diff: shown_diff(action, old, &proposal.value),
            warnings: proposal.warnings.clone(),
            snapshot: change.snapshot(),
        };
        if *dry_run || action == Action::Unchanged {
            return Ok(promoted);
        }
        let origin = json!({"environment": from.key, "version": source.version, "parts": parts.json()});
        let edit = Edit { caller, key: flag, row: row.as_ref(), action: "promote", origin: Some(&origin) };
        if let Some(row) = self.store_flag(&mut change, &edit, &proposal).await? {
            let served = self.serve_flag(environment, change, (row, Some(proposal.document))).await?;
            promoted.snapshot = served.snapshot.number();
        }
        Ok(promoted)
    }
}

/// What differs for people: nothing where nothing is stored, and never a salt that was made just now.
pub(super) fn shown_diff(action: Action, old: Option<&Value>, new: &Value) -> Vec<Difference> {
    match (action, old) {
        (Action::Unchanged, _) => Vec::new(),
        (_, Some(old)) => diff(old, new),
        (_, None) => {
            let mut new = new.clone();
            if let Some(new) = new.as_object_mut() {
                new.remove("salt");
            }
            diff(&json!({}), &new)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(names: &[&str]) -> Result<Parts, String> {
        Parts::parse(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn only_parts_of_a_document_are_parts() {
        assert_eq!(parts(&["all"]), Ok(Parts::All));
        assert_eq!(parts(&["rules", "all"]), Ok(Parts::All));
        assert_eq!(parts(&["rules", "goods"]), Ok(Parts::Some(vec!["rules".into(), "goods".into()])));
        for none in [&[][..], &["salt"], &["key"], &["state"], &["rules", "colour"], &[""]] {
            assert!(parts(none).is_err(), "{none:?}");
        }
    }

    #[test]
    fn what_is_not_chosen_stays_and_salts_never_travel() {
        let source = json!({"key": "f", "salt": "theirs", "rules": [1], "name": "S"});
        let target = json!({"key": "f", "salt": "ours", "rules": [], "goods": {}, "name": "T"});
        for (names, target, expected) in [
            (&["all"][..], Some(&target), json!({"key": "f", "rules": [1], "name": "S"})),
            (&["all"], None, json!({"key": "f", "rules": [1], "name": "S"})),
            (&["rules"], None, json!({"key": "f", "rules": [1]})),
            (
                &["rules"],
                Some(&target),
                json!({"key": "f", "salt": "ours", "rules": [1], "goods": {}, "name": "T"}),
            ),
            (&["goods"], Some(&target), json!({"key": "f", "salt": "ours", "rules": [], "name": "T"})),
        ] {
            assert_eq!(parts(names).unwrap().taken(&source, target), expected, "{names:?}");
        }
    }
}
