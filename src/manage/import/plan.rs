//! What an import would make of each flag: all of them read and validated as one set, in the environment as it would be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::engine::compile::StoredFlag;
use crate::engine::diff::Difference;
use crate::engine::flag::{Document, Faults, State, read};
use crate::engine::key::FlagKey;
use crate::engine::snapshot::{Audience, Snapshot};
use crate::engine::validate::{Warning, validate};
use crate::manage::flags::held::Held;
use crate::manage::flags::{Proposal, fill_salt, salt_warning, state_of, too_many_flags};
use crate::manage::promote::{Action, shown_diff};
use crate::manage::{FLAGS_MAX, ManageError};
use crate::random::Random;
use crate::store::FlagRow;

/// What becomes of one flag.
pub(super) struct PlannedFlag {
    pub(super) key: FlagKey,
    /// As it is stored; `None`: it is new.
    pub(super) row: Option<Held>,
    pub(super) proposal: Proposal,
    pub(super) action: Action,
    /// Its version afterwards.
    pub(super) version: i64,
    pub(super) diff: Vec<Difference>,
}

/// A document that was read, with where it stood and the salt that its flag has.
struct Read {
    pointer: String,
    key: FlagKey,
    row: Option<Held>,
    value: Value,
    document: Arc<Document>,
    old_salt: Option<Box<str>>,
}

/// Plans for `sent` flags over the stored `rows`; `made` are audiences that come with them.
pub(super) fn flags(
    random: &dyn Random,
    snapshot: &Snapshot,
    rows: Vec<FlagRow>,
    sent: &[Value],
    made: Vec<Audience>,
    faults: &mut Faults,
) -> Result<(Vec<PlannedFlag>, Vec<Warning>), ManageError> {
    let mut rows: BTreeMap<String, FlagRow> = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
    let (mut documents, mut unread, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (at, value) in sent.iter().enumerate() {
        let pointer = format!("/flags/{at}");
        let key = value.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !key.is_empty() && !seen.insert(key.clone()) {
            faults.add(format!("{pointer}/key"), "duplicate_flag", format!("the flag {key:?} stands twice"));
            continue;
        }
        let row = rows.remove(&key).map(|row| Held::new(row, Some(snapshot)));
        match read_one(random, pointer, value, row, faults)? {
            Some(read) => documents.push(read),
            None => {
                unread.insert(key);
            }
        }
    }
    let new = documents.iter().filter(|read| read.row.is_none()).count();
    if new > 0 && snapshot.flags().len() + new > FLAGS_MAX {
        return Err(too_many_flags());
    }
    let candidate = snapshot.next(snapshot.number(), made, documents.iter().map(stored).collect());
    let (mut planned, mut warnings) = (Vec::with_capacity(documents.len()), Vec::new());
    for read in documents {
        let flag = plan_one(read, &candidate, &unread, faults);
        warnings.extend(flag.proposal.warnings.iter().cloned());
        planned.push(flag);
    }
    Ok((planned, warnings))
}

fn read_one(
    random: &dyn Random,
    pointer: String,
    value: &Value,
    row: Option<Held>,
    faults: &mut Faults,
) -> Result<Option<Read>, ManageError> {
    let mut value = value.clone();
    let old_salt = fill_salt(random, &mut value, row.as_ref())?;
    let mut own = Faults::default();
    let document = read(&value, &mut own).filter(|_| own.0.is_empty());
    add_below(&pointer, own, faults);
    Ok(document.map(|document| Read {
        pointer,
        key: document.key.clone(),
        row,
        value,
        document: Arc::new(document),
        old_salt,
    }))
}

/// The flag as the snapshot would hold it after the import.
fn stored(read: &Read) -> StoredFlag {
    StoredFlag {
        key: read.key.clone(),
        number: read.row.as_ref().map_or(0, |row| row.number),
        version: read.row.as_ref().map_or(0, |row| row.version),
        state: state_after(read.row.as_ref()),
        stage: None,
        stages: None,
        expired: false,
        updated_at: 0,
        updated_by: "import".into(),
        json: "".into(),
        document: Ok(read.document.clone()),
    }
}

/// An import moves no state: what exists keeps its own, what is new is killed.
fn state_after(row: Option<&Held>) -> State {
    row.map_or(State::Killed, |row| state_of(row))
}

fn plan_one(read: Read, candidate: &Snapshot, unread: &BTreeSet<String>, faults: &mut Faults) -> PlannedFlag {
    let Read { pointer, key, row, value, document, old_salt } = read;
    let (state, version) = (state_after(row.as_ref()), row.as_ref().map_or(0, |row| row.version));
    let mut proposal = Proposal { value, document, state, warnings: Vec::new() };
    let action = Action::of(row.as_ref(), &proposal);
    if action == Action::Unchanged {
        return PlannedFlag { key, row, proposal, action, version, diff: Vec::new() };
    }
    let mut own = Faults::default();
    let mut warnings = validate(&proposal.document, candidate, &mut own);
    warnings.extend(salt_warning(old_salt.as_deref(), &proposal.document));
    // That a flag of this import is missing is told where its own faults are.
    for (at, required) in proposal.document.prerequisites.iter().enumerate() {
        if unread.contains(required.flag.as_str()) {
            let secondary = format!("/prerequisites/{at}/flag");
            own.0.retain(|fault| fault.code != "unknown_flag" || fault.pointer != secondary);
        }
    }
    add_below(&pointer, own, faults);
    for warning in &mut warnings {
        warning.pointer.insert_str(0, &pointer);
    }
    proposal.warnings = warnings;
    let old = row.as_ref().and_then(|row| row.forms().ok()).map(|(value, _)| value);
    let diff = shown_diff(action, old, &proposal.value);
    PlannedFlag { key, row, proposal, action, version: version + 1, diff }
}

fn add_below(pointer: &str, own: Faults, faults: &mut Faults) {
    for fault in own.0 {
        faults.add(format!("{pointer}{}", fault.pointer), fault.code, fault.detail);
    }
}
