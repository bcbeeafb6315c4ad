//! Flag files: documents as `huidu flag get --document` writes them, read and checked together without a service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::output::read_input;
use crate::engine::compile::StoredFlag;
use crate::engine::flag::{AudienceKind, Condition, Document, Fault, Faults, State, read};
use crate::engine::json;
use crate::engine::key::{AudienceKey, EnvironmentKey, FlagKey};
use crate::engine::membership::{IdHasher, IdSet};
use crate::engine::snapshot::{Audience, Snapshot};
use crate::engine::validate::{Warning, validate};

/// A flag of a file.
pub(super) struct FlagFile {
    /// The file's name.
    pub(super) path: PathBuf,
    /// The document with the salt that it is decided with.
    value: Value,
    document: Document,
    state: State,
    version: i64,
    /// Whether the file gives the salt.
    pub(super) has_salt: bool,
}

/// A fault with the file that it stands in.
#[derive(Debug, Clone)]
pub(super) struct FileFault {
    /// The file's name.
    pub(super) path: PathBuf,
    /// What is wrong.
    pub(super) fault: Fault,
}

impl FileFault {
    /// As programs read it.
    pub(super) fn json(&self) -> Value {
        let Fault { pointer, code, detail } = &self.fault;
        json!({"file": self.path.display().to_string(), "pointer": pointer, "code": code, "detail": detail})
    }
}

impl FlagFile {
    /// The key of the flag.
    pub(super) fn key(&self) -> &FlagKey {
        &self.document.key
    }

    fn stored(&self, number: i64, now_ms: i64) -> StoredFlag {
        StoredFlag {
            key: self.document.key.clone(),
            number,
            version: self.version,
            state: self.state,
            stage: (self.state == State::Live).then_some(1),
            stages: None,
            expired: self.document.expire_at.is_some_and(|at| at <= now_ms),
            updated_at: now_ms,
            updated_by: self.path.display().to_string().into(),
            document: Ok(Arc::new(self.document.clone())),
            json: self.value.to_string().into(),
        }
    }
}

/// Reads one file: a document, or a whole answer of the service, which also carries the flag's state. A document
/// without a salt gets `salt`, else its own key.
///
/// The outer error is a file that cannot be read at all.
pub(super) fn read_file(path: &Path, salt: Option<&str>) -> anyhow::Result<Result<FlagFile, Vec<FileFault>>> {
    let of_file = |fault: Fault| FileFault { path: path.to_owned(), fault };
    let bytes = read_input(path)?;
    let value = match json::parse(&bytes) {
        Ok(value) => value,
        Err(fault) => {
            let detail = format!("line {}, column {}: {}", fault.line, fault.column, fault.detail);
            return Ok(Err(vec![of_file(Fault { pointer: fault.pointer, code: "json_invalid", detail })]));
        }
    };
    let (mut value, state, version) = unwrapped(value);
    let has_salt = value.get("salt").is_some();
    let key = value.get("key").and_then(Value::as_str).map(str::to_owned);
    if let (Some(object), false) = (value.as_object_mut(), has_salt) {
        let salt = salt.map(str::to_owned).or(key).unwrap_or_default();
        object.insert("salt".into(), salt.into());
    }
    let mut faults = Faults::default();
    let document = read(&value, &mut faults);
    Ok(match document {
        Some(document) if faults.0.is_empty() => {
            Ok(FlagFile { path: path.to_owned(), value, document, state, version, has_salt })
        }
        _ => Err(faults.0.into_iter().map(of_file).collect()),
    })
}

/// The document inside an answer of the service, with the state and version beside it; a bare document is live.
fn unwrapped(mut value: Value) -> (Value, State, i64) {
    let is_answer = value.get("flag").is_some_and(Value::is_object) && value.get("state").is_some();
    if !is_answer {
        return (value, State::Live, 1);
    }
    let state = value.get("state").and_then(Value::as_str).and_then(State::parse).unwrap_or(State::Live);
    let version = value.get("version").and_then(Value::as_i64).unwrap_or(1);
    (value.get_mut("flag").map(Value::take).unwrap_or_default(), state, version)
}

/// Several files as one environment that can decide.
pub(super) struct Assembled {
    /// The environment.
    pub(super) snapshot: Snapshot,
    /// What is doubtful, with its file.
    pub(super) warnings: Vec<(PathBuf, Warning)>,
    /// Audiences that conditions ask for and nobody gave: deciding by them is an error.
    pub(super) not_given: Vec<AudienceKey>,
}

/// Puts files and audiences together; all faults of all files at once.
pub(super) fn assemble(
    files: &[FlagFile],
    audiences: &[(AudienceKey, Vec<String>)],
    now_ms: i64,
) -> anyhow::Result<Result<Assembled, Vec<FileFault>>> {
    // Nothing leaves this process, so any secret will do.
    let hasher = IdHasher::new([0; 32]);
    let mut given: Vec<Audience> = Vec::new();
    for (key, ids) in audiences {
        let set = IdSet::new(ids.iter().map(|id| hasher.hash(id)).collect());
        let size = i64::try_from(set.len())?;
        given.push(Audience {
            key: key.clone(),
            kind: AudienceKind::User,
            version: 1,
            generation: 1,
            size,
            ids: Some(Arc::new(set.into())),
            read_through: false,
        });
    }
    let mut not_given = Vec::new();
    for key in files.iter().flat_map(|file| asked(&file.document)) {
        if !given.iter().any(|audience| audience.key == key) {
            not_given.push(key.clone());
            given.push(Audience {
                key,
                kind: AudienceKind::User,
                version: 1,
                generation: 1,
                size: 0,
                ids: None,
                read_through: false,
            });
        }
    }
    let environment = EnvironmentKey::parse("files")?;
    let stored = (1..).zip(files).map(|(number, file)| file.stored(number, now_ms)).collect();
    let snapshot = Snapshot::empty(environment, 1, hasher).next(1, given, stored);
    let (mut faults, mut warnings) = (Vec::new(), Vec::new());
    for (at, file) in files.iter().enumerate() {
        let mut own = Faults::default();
        if files.iter().take(at).any(|other| other.key() == file.key()) {
            own.add("/key", "flag_exists", format!("another file has the flag {:?} too", file.key()));
        }
        let found = validate(&file.document, &snapshot, &mut own);
        warnings.extend(found.into_iter().map(|warning| (file.path.clone(), warning)));
        faults.extend(own.0.into_iter().map(|fault| FileFault { path: file.path.clone(), fault }));
    }
    // What an audience holds ids of is not known here.
    warnings.retain(|(_, warning)| warning.code != "audience_kind");
    Ok(if faults.is_empty() { Ok(Assembled { snapshot, warnings, not_given }) } else { Err(faults) })
}

/// The audiences that a document's conditions ask for.
fn asked(document: &Document) -> Vec<AudienceKey> {
    let mut found = Vec::new();
    for condition in document.conditions() {
        condition.walk(&mut |condition| {
            if let Condition::Audience { audience, .. } = condition {
                found.push(audience.clone());
            }
        });
    }
    found
}
