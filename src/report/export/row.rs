//! Rows as text: CSV for spreadsheets and databases, lines of JSON for programs, objects for lists.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use super::{Table, cursor};
use crate::clock::rfc3339;
use crate::engine::decision::Arm;
use crate::store::{ExposurePlace, ExposureRow, StepPlace, TimedStep};

pub(super) const EXPOSURE_COLUMNS: [&str; 10] =
    ["unit", "bucket", "stage", "rule", "arm", "variant", "at", "unit_attribute", "captured", "cursor"];
pub(super) const STEP_COLUMNS: [&str; 13] = [
    "unit",
    "unit_attribute",
    "step",
    "id",
    "at",
    "value",
    "currency",
    "order_id",
    "attributes",
    "stage",
    "rule",
    "flag",
    "cursor",
];
/// With what a spreadsheet takes a cell for a formula (OWASP, "CSV injection"); and the mark itself, so that a cell
/// that begins with it always has one to take off.
const DANGEROUS: [char; 12] = ['=', '+', '-', '@', '\t', '\r', '\n', '\'', '＝', '＋', '－', '＠'];

/// A row of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Of [`Table::Exposures`].
    Exposure(ExposureRow),
    /// Of [`Table::Conversions`].
    Step(TimedStep),
}

enum Cell<'r> {
    Text(Cow<'r, str>),
    Number(i64),
    /// JSON, as it is stored.
    Json(&'r str),
    Nothing,
}

impl<'r> Cell<'r> {
    fn text(text: &'r str) -> Self {
        Self::Text(text.into())
    }

    fn some_text(text: Option<&'r String>) -> Self {
        text.map_or(Self::Nothing, |text| Self::text(text))
    }

    fn number(number: Option<i64>) -> Self {
        number.map_or(Self::Nothing, Self::Number)
    }

    fn json(json: Option<&'r String>) -> Self {
        json.map_or(Self::Nothing, |json| Self::Json(json))
    }
}

impl Row {
    /// In the order of the table's columns.
    fn cells<'r>(&'r self, flag_key: &'r str) -> Vec<Cell<'r>> {
        let time = |at| Cell::Text(rfc3339(at).into());
        match self {
            Self::Exposure(row) => vec![
                Cell::text(&row.unit),
                Cell::number(row.bucket),
                Cell::Number(row.stage),
                Cell::text(&row.rule),
                Arm::from_number(row.arm).map_or(Cell::Nothing, |arm| Cell::text(arm.as_str())),
                Cell::text(&row.variant),
                time(row.at),
                Cell::text(&row.unit_attribute),
                Cell::json(row.captured.as_ref()),
                Cell::Text(cursor::of_exposure(&ExposurePlace::of(row)).into()),
            ],
            Self::Step(row) => vec![
                Cell::text(&row.unit),
                Cell::text(&row.unit_attribute),
                Cell::text(&row.step),
                Cell::text(&row.id),
                time(row.at),
                Cell::number(row.value),
                Cell::some_text(row.currency.as_ref()),
                Cell::some_text(row.order_id.as_ref()),
                Cell::json(row.attributes.as_ref()),
                Cell::number(row.stage),
                Cell::some_text(row.rule.as_ref()),
                row.flag.map_or(Cell::Nothing, |_| Cell::text(flag_key)),
                Cell::Text(cursor::of_step(&StepPlace::of(row)).into()),
            ],
        }
    }

    fn table(&self) -> Table {
        match self {
            Self::Exposure(_) => Table::Exposures,
            Self::Step(_) => Table::Conversions,
        }
    }
}

/// A row as an object whose fields come in the order of the columns.
struct Object<'r> {
    columns: &'static [&'static str],
    cells: Vec<Cell<'r>>,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, cell) in self.columns.iter().zip(&self.cells) {
            match cell {
                Cell::Text(text) => map.serialize_entry(column, text)?,
                Cell::Number(number) => map.serialize_entry(column, number)?,
                Cell::Json(json) => {
                    map.serialize_entry(column, &serde_json::from_str::<&RawValue>(json).ok())?
                }
                Cell::Nothing => map.serialize_entry(column, &())?,
            }
        }
        map.end()
    }
}

/// The rows as one JSON list of objects, without their cursors.
///
/// # Errors
/// What cannot be written, which nothing here can be.
pub fn objects(rows: &[Row], flag_key: &str) -> Result<String, serde_json::Error> {
    let objects: Vec<Object<'_>> = rows
        .iter()
        .map(|row| {
            let columns = row.table().columns();
            let columns = columns.split_last().map_or(columns, |(_, columns)| columns);
            Object { columns, cells: row.cells(flag_key) }
        })
        .collect();
    serde_json::to_string(&objects)
}

/// The rows as lines of JSON.
///
/// # Errors
/// As [`objects`].
pub fn ndjson(rows: &[Row], flag_key: &str) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::new();
    for row in rows {
        let object = Object { columns: row.table().columns(), cells: row.cells(flag_key) };
        serde_json::to_writer(&mut text, &object)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// The rows as lines of CSV (RFC 4180, lines end with LF), below the names of their columns where `table` is given.
///
/// # Errors
/// As [`objects`].
pub fn csv(table: Option<Table>, rows: &[Row], flag_key: &str) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if let Some(table) = table {
        writer.write_record(table.columns())?;
    }
    for row in rows {
        for cell in row.cells(flag_key) {
            match cell {
                Cell::Text(text) => writer.write_field(&*defused(&text))?,
                Cell::Number(number) => writer.write_field(number.to_string())?,
                Cell::Json(json) => writer.write_field(json)?,
                Cell::Nothing => writer.write_field("")?,
            }
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

/// A text that no spreadsheet takes for a formula: a `'` before whatever looks like one.
pub(in crate::report) fn defused(text: &str) -> Cow<'_, str> {
    if text.starts_with(DANGEROUS) { format!("'{text}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> TimedStep {
        TimedStep {
            unit: "u-1".into(),
            unit_attribute: "user.id".into(),
            step: "order_paid".into(),
            id: "=1+1".into(),
            flag: None,
            stage: None,
            rule: None,
            value: Some(45_900),
            currency: Some("CNY".into()),
            order_id: Some("a,\"b\"\nc".into()),
            at: 1_795_507_200_123,
            attributes: Some("{\"payment_method\":\"wechat\"}".into()),
            exposed: 1,
        }
    }

    #[test]
    fn cells_of_csv_are_quoted_and_no_formulas() {
        let rows = [Row::Step(step())];
        let text = String::from_utf8(csv(Some(Table::Conversions), &rows, "f").unwrap()).unwrap();
        let cursor = cursor::of_step(&StepPlace::of(&step()));
        assert_eq!(
            text,
            format!(
                "unit,unit_attribute,step,id,at,value,currency,order_id,attributes,stage,rule,flag,cursor\n\
                 u-1,user.id,order_paid,'=1+1,2026-11-24T08:00:00.123Z,45900,CNY,\"a,\"\"b\"\"\nc\",\
                 \"{{\"\"payment_method\"\":\"\"wechat\"\"}}\",,,,{cursor}\n"
            )
        );
    }

    #[test]
    fn whatever_looks_like_a_formula_is_marked_and_nothing_else() {
        for (text, expected) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("\n=1", "'\n=1"),
            ("＝1", "'＝1"),
            ("'quoted", "''quoted"),
            ("u=1", "u=1"),
            ("", ""),
            ("灰度", "灰度"),
        ] {
            assert_eq!(defused(text), expected, "{text:?}");
        }
    }

    #[test]
    fn objects_have_their_fields_in_order_and_json_as_it_is() {
        let rows = [Row::Step(step()), Row::Step(TimedStep { attributes: Some("{".into()), ..step() })];
        let text = String::from_utf8(ndjson(&rows, "f").unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0]
                .starts_with(r#"{"unit":"u-1","unit_attribute":"user.id","step":"order_paid","id":"=1+1","#)
        );
        assert!(
            lines[0].contains(r#""attributes":{"payment_method":"wechat"},"stage":null,"#),
            "{}",
            lines[0]
        );
        assert!(lines[1].contains(r#""attributes":null"#), "what is damaged is nothing: {}", lines[1]);
        assert_eq!(lines.len(), 2);
        let list: serde_json::Value = serde_json::from_str(&objects(&rows, "f").unwrap()).unwrap();
        assert_eq!((list[0]["value"].as_i64(), list[0].get("cursor")), (Some(45_900), None));
    }
}
