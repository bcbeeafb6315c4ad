//! Cursors: a row's place in the order of its table, as text for a URL. The next release reads them too, so a field
//! that is added goes behind the others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{ExposurePlace, StepPlace};

/// A text that is no cursor, or one of another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no cursor of this table")]
pub struct CursorError;

/// After an exposure.
pub(super) fn of_exposure(place: &ExposurePlace) -> String {
    written(&(place.at, &place.unit, place.stage, &place.rule))
}

/// After a step.
pub(super) fn of_step(place: &StepPlace) -> String {
    written(&(place.at, &place.unit, &place.unit_attribute, &place.step, &place.id))
}

/// The exposure that a cursor stands after.
///
/// # Errors
/// [`CursorError`]
pub(super) fn exposure(text: &str) -> Result<ExposurePlace, CursorError> {
    let (at, unit, stage, rule) = read(text)?;
    Ok(ExposurePlace { at, unit, stage, rule })
}

/// The step that a cursor stands after.
///
/// # Errors
/// [`CursorError`]
pub(super) fn step(text: &str) -> Result<StepPlace, CursorError> {
    let (at, unit, unit_attribute, step, id) = read(text)?;
    Ok(StepPlace { at, unit, unit_attribute, step, id })
}

fn written(place: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, CursorError> {
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_error| CursorError)?;
    // No database can compare with U+0000 in a text.
    if json.windows(6).any(|part| part == b"\\u0000") {
        return Err(CursorError);
    }
    serde_json::from_slice(&json).map_err(|_error| CursorError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_belongs_to_one_table() {
        let shown = ExposurePlace { at: -1, unit: "灰\"度/+,\n".into(), stage: 2, rule: "ramp".into() };
        let text = of_exposure(&shown);
        assert_eq!(exposure(&text), Ok(shown));
        assert_eq!(step(&text), Err(CursorError));
        let stepped = StepPlace {
            at: 7,
            unit: "u".into(),
            unit_attribute: "k".into(),
            step: "s".into(),
            id: "i".into(),
        };
        let text = of_step(&stepped);
        assert_eq!(step(&text), Ok(stepped));
        assert_eq!(exposure(&text), Err(CursorError));
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
    }

    #[test]
    fn other_texts_are_none() {
        let nul = URL_SAFE_NO_PAD.encode(r#"[1,"\u0000",1,"r"]"#);
        for text in ["", "x", "1234", "\u{7070}", &URL_SAFE_NO_PAD.encode("[1]"), &nul] {
            assert_eq!(exposure(text), Err(CursorError), "{text}");
        }
    }
}
