//! A flag as a change finds it stored.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::unreadable;
use crate::engine::flag::Document;
use crate::engine::json;
use crate::engine::snapshot::Snapshot;
use crate::live::load;
use crate::manage::ManageError;
use crate::store::FlagRow;

/// The row of a flag, with its document read once, however often it is looked at.
pub(in crate::manage) struct Held {
    row: FlagRow,
    /// The document, where it is the one that decides.
    known: Option<Arc<Document>>,
    /// Its checksum was taken of its document here.
    is_checked: bool,
    forms: OnceLock<Result<Forms, String>>,
}

/// A document as JSON and typed.
type Forms = (Value, Arc<Document>);

impl Held {
    /// A row of the environment that decides by `snapshot`.
    pub(in crate::manage) fn new(row: FlagRow, snapshot: Option<&Snapshot>) -> Self {
        let flag = snapshot.and_then(|snapshot| snapshot.find(&row.key));
        let known = flag.filter(|flag| *flag.json == *row.document).and_then(|flag| flag.document.clone());
        Self { row, known, is_checked: false, forms: OnceLock::new() }
    }

    /// A row that was made of the form which decides by `snapshot`.
    pub(super) fn of_served(row: FlagRow, snapshot: Option<&Snapshot>) -> Self {
        Self { is_checked: true, ..Self::new(row, snapshot) }
    }

    /// The stored document as JSON and typed.
    pub(in crate::manage) fn forms(&self) -> Result<&Forms, ManageError> {
        let (text, sha256) = (self.row.document.as_str(), self.row.sha256.as_str());
        let read = self.forms.get_or_init(|| match &self.known {
            Some(known) if self.is_checked => {
                let value = json::parse(text.as_bytes()).map_err(|fault| fault.to_string())?;
                Ok((value, known.clone()))
            }
            Some(known) => Ok((load::value(text, sha256)?, known.clone())),
            None => load::forms(text, sha256).map(|(value, document)| (value, Arc::new(document))),
        });
        read.as_ref().map_err(|why| ManageError::Invalid(vec![unreadable(why)]))
    }
}

impl Deref for Held {
    type Target = FlagRow;

    fn deref(&self) -> &FlagRow {
        &self.row
    }
}
