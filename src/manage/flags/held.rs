//! A flag as a change finds it stored.

use std::ops::Deref;
use std::sync::OnceLock;

use serde_json::Value;

use super::unreadable;
use crate::engine::flag::Document;
use crate::live::load;
use crate::manage::ManageError;
use crate::store::FlagRow;

/// The row of a flag, with its document read once, however often it is looked at.
pub(in crate::manage) struct Held {
    row: FlagRow,
    forms: OnceLock<Result<(Value, Document), String>>,
}

impl Held {
    pub(in crate::manage) fn new(row: FlagRow) -> Self {
        Self { row, forms: OnceLock::new() }
    }

    /// The stored document as JSON and typed.
    pub(in crate::manage) fn forms(&self) -> Result<&(Value, Document), ManageError> {
        let read = self.forms.get_or_init(|| load::forms(&self.row.document, &self.row.sha256));
        read.as_ref().map_err(|why| ManageError::Invalid(vec![unreadable(why)]))
    }
}

impl Deref for Held {
    type Target = FlagRow;

    fn deref(&self) -> &FlagRow {
        &self.row
    }
}
