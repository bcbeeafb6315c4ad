//! A flag's events as rows, oldest first: whoever takes the tables elsewhere can compute there what the report says.
//!
//! An export reads page by page and holds nothing between, neither rows nor a connection: ten million rows take the
//! memory of one page. Each row has a cursor, after which another export goes on.

mod cursor;
mod row;
mod steps;

use std::collections::BTreeSet;

use crate::engine::compile::CompiledFlag;
use crate::store::{EventSpan, ExposurePlace, StepPlace, Store, StoreError};

pub use cursor::CursorError;
pub(super) use row::defused;
pub use row::{Row, csv, ndjson, objects};
use steps::Steps;

/// Rows that are read at a time.
const PAGE_ROWS: usize = 1_000;
/// Reads that one page of an export may take before it is told with what was found.
const READS_MAX: usize = 20;

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// One row a unit, stage and rule: the unit's first exposure there.
    Exposures,
    /// One row a step: the flag's funnel stops, and the metrics it declares of units that were exposed before.
    Conversions,
}

impl Table {
    /// Its name, as in the path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exposures => "exposures",
            Self::Conversions => "conversions",
        }
    }

    /// Its columns in order; the last one is the row's cursor, which lists of JSON leave out.
    #[must_use]
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Exposures => &row::EXPOSURE_COLUMNS,
            Self::Conversions => &row::STEP_COLUMNS,
        }
    }
}

/// Which rows of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range<'r> {
    /// Not before this time, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Before this time.
    pub to_ms: Option<i64>,
    /// After the row that has this cursor.
    pub cursor: Option<&'r str>,
}

/// Begins exports.
#[derive(Debug, Clone)]
pub struct Exports(Store);

/// An export under way.
#[derive(Debug)]
pub struct Export {
    store: Store,
    span: EventSpan,
    flag_key: String,
    reading: Reading,
}

#[derive(Debug)]
enum Reading {
    Exposures(Option<ExposurePlace>),
    Steps(Box<Steps>),
}

/// Rows of an export, and where it goes on.
#[derive(Debug)]
pub struct Page {
    /// The rows, oldest first; there may be none though more follow.
    pub rows: Vec<Row>,
    /// The cursor after which more may follow; `None` at the end.
    pub next: Option<String>,
}

impl Exports {
    /// Exports of what `store` holds.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// Begins an export of a flag's `table`; nothing is read yet.
    ///
    /// # Errors
    /// [`CursorError`] where the cursor is none of this table.
    pub fn begin(
        &self,
        table: Table,
        environment: i64,
        flag: &CompiledFlag,
        range: Range<'_>,
    ) -> Result<Export, CursorError> {
        let from_ms = range.from_ms.unwrap_or(i64::MIN);
        let reading = match table {
            Table::Exposures => {
                let after = range.cursor.map(cursor::exposure).transpose()?;
                let from = ExposurePlace::before(from_ms);
                Reading::Exposures(Some(after.unwrap_or_else(|| from.clone()).max(from)))
            }
            Table::Conversions => {
                let after = range.cursor.map(cursor::step).transpose()?;
                let from = StepPlace::before(from_ms);
                Reading::Steps(Box::new(Steps::after(
                    after.unwrap_or_else(|| from.clone()).max(from),
                    metrics(flag),
                )))
            }
        };
        Ok(Export {
            store: self.0.clone(),
            span: EventSpan { environment, flag: flag.number, until_ms: range.to_ms.unwrap_or(i64::MAX) },
            flag_key: flag.key.to_string(),
            reading,
        })
    }
}

/// The metric steps that a flag declares; none where its document cannot be read.
fn metrics(flag: &CompiledFlag) -> BTreeSet<String> {
    let metrics = flag.document.iter().flat_map(|document| &document.metrics);
    metrics.map(|metric| metric.step.to_string()).collect()
}

impl Export {
    /// The flag whose events these are.
    #[must_use]
    pub fn flag_key(&self) -> &str {
        &self.flag_key
    }

    /// At most `most` further rows.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read; no row is lost then, the next call goes on where this one began.
    pub async fn page(&mut self, most: usize) -> Result<Page, StoreError> {
        match &mut self.reading {
            Reading::Exposures(place) => {
                let mut rows = Vec::new();
                while let Some(after) = place.as_ref().filter(|_| rows.len() < most) {
                    let wanted = PAGE_ROWS.min(most - rows.len());
                    let read = match self.store.exposures_by_time(self.span, after, wanted as i64).await {
                        // What was read is told; whoever goes on hears of the failure.
                        Err(_) if !rows.is_empty() => break,
                        read => read?,
                    };
                    let last = read.last().filter(|_| read.len() == wanted);
                    *place = last.map(ExposurePlace::of);
                    rows.extend(read.into_iter().map(Row::Exposure));
                }
                Ok(Page { rows, next: place.as_ref().map(cursor::of_exposure) })
            }
            Reading::Steps(steps) => steps.page(&self.store, self.span, most).await,
        }
    }

    /// At most as many further rows as are read at a time, and at least one unless the export ends.
    ///
    /// # Errors
    /// As [`Export::page`].
    pub async fn some(&mut self, most: usize) -> Result<Page, StoreError> {
        loop {
            let page = self.page(most.min(PAGE_ROWS)).await?;
            if !page.rows.is_empty() || page.next.is_none() {
                return Ok(page);
            }
        }
    }
}
