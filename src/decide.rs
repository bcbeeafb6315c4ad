//! From a snapshot and a context to an answer: evaluates, counts, seals the token.

pub mod badges;
pub mod signed;

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::engine::asks::{Fetched, Wanted};
use crate::engine::compile::CompiledFlag;
use crate::engine::context::{Context, Element, Operand};
use crate::engine::decision::Decision;
use crate::engine::evaluate::evaluate;
use crate::engine::explain::Silent;
use crate::engine::number::Number;
use crate::engine::snapshot::Snapshot;
use crate::live::{Live, Published};
use crate::token::{Exposure, Sealer};

/// Longest captured value in bytes.
pub const CAPTURED_BYTES_MAX: usize = 64;
/// What stands for a captured attribute that was not sent.
pub const NOT_SENT: &str = "(none)";

/// What deciding `flags` for `context` needs of audiences that are not in memory. Where all are, which the caller
/// sees by [`Snapshot::reads_through`], there is nothing to wait for.
pub async fn fetch<'f>(
    live: &Live,
    snapshot: &Snapshot,
    flags: impl IntoIterator<Item = &'f Arc<CompiledFlag>>,
    context: &Context<'_>,
) -> Fetched {
    let mut wanted = Wanted::default();
    for flag in flags {
        wanted.add(snapshot, flag, context);
    }
    if wanted.is_empty() { Fetched::default() } else { live.read_through().fetch(snapshot, wanted).await }
}

/// Decides one flag and counts the decision.
#[must_use]
pub fn one<'s>(
    published: &'s Published,
    flag: &'s CompiledFlag,
    context: &Context<'_>,
    fetched: &Fetched,
) -> Decision<'s> {
    let decision = uncounted(&published.snapshot, flag, context, fetched);
    published.count(&decision);
    decision
}

/// Decides one flag without counting: for checks, not for shoppers.
#[must_use]
pub fn uncounted<'s>(
    snapshot: &Snapshot,
    flag: &'s CompiledFlag,
    context: &Context<'_>,
    fetched: &Fetched,
) -> Decision<'s> {
    evaluate(snapshot, flag, context, fetched, &mut Silent)
}

/// What a token says of `decision` on `day`; `None` where nothing is measured: no arm, no unit or no open stage.
#[must_use]
pub fn exposure<'d>(
    snapshot: &Snapshot,
    decision: &Decision<'d>,
    context: &'d Context<'_>,
    day: i64,
) -> Option<Exposure<'d>> {
    let served = decision.result.ok()?;
    let (arm, stage) = (served.arm?, decision.flag.stage?);
    let unit = context.unit(decision.flag.unit())?;
    Some(Exposure {
        environment: snapshot.environment_number(),
        day,
        flag: Cow::Borrowed(decision.flag.key.as_str()),
        stage,
        rule: Cow::Borrowed(decision.rule()?.id.as_str()),
        arm,
        variant: Cow::Borrowed(decision.variant()?.key.as_str()),
        unit_attribute: Cow::Borrowed(&decision.flag.unit_attribute),
        unit: Cow::Borrowed(unit),
        bucket: Some(decision.flag.bucket(unit).ppm()),
        captured: captured(decision.flag, context),
    })
}

/// Appends the token of `decision`, of the day of `sealer`, to `out`; `false` and nothing appended where there is none.
#[must_use]
pub fn seal(
    snapshot: &Snapshot,
    decision: &Decision<'_>,
    context: &Context<'_>,
    sealer: Option<&Sealer<'_>>,
    out: &mut Vec<u8>,
) -> bool {
    let Some(sealer) = sealer else { return false };
    exposure(snapshot, decision, context, sealer.day()).is_some_and(|exposure| sealer.seal(&exposure, out))
}

/// The attributes that the flag keeps with an exposure, as text.
#[must_use]
pub fn captured<'d>(
    flag: &'d CompiledFlag,
    context: &'d Context<'_>,
) -> SmallVec<[(Cow<'d, str>, Cow<'d, str>); 4]> {
    flag.capture()
        .iter()
        .map(|(slot, name)| (Cow::Borrowed(&**name), text_of(context.attribute(*slot))))
        .collect()
}

/// A value as kept: texts as sent, others as JSON text, cut at 64 bytes on a character.
fn text_of(operand: Option<Operand<'_>>) -> Cow<'_, str> {
    match operand {
        None => Cow::Borrowed(NOT_SENT),
        Some(Operand::Text(text)) => Cow::Borrowed(cut(text)),
        Some(Operand::Boolean(value)) => Cow::Borrowed(if value { "true" } else { "false" }),
        Some(Operand::Number(number)) => Cow::Owned(json_of(number).to_string()),
        Some(Operand::List(elements)) => {
            let list: serde_json::Value = elements
                .iter()
                .map(|element| match element {
                    Element::Text(text) => serde_json::Value::from(&**text),
                    Element::Number(number) => json_of(*number),
                    Element::Boolean(value) => (*value).into(),
                    Element::Other => serde_json::Value::Null,
                })
                .collect();
            Cow::Owned(cut(&list.to_string()).to_owned())
        }
    }
}

fn json_of(number: Number) -> serde_json::Value {
    match number {
        Number::Whole(value) => value.into(),
        Number::Real(value) => value.into(),
    }
}

/// The longest beginning of at most 64 bytes that ends on a character.
#[must_use]
pub fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(CAPTURED_BYTES_MAX)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_values_are_cut_on_a_character() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"灰".repeat(30)), "灰".repeat(21));
        assert_eq!(cut(&"x".repeat(65)).len(), 64);
        assert_eq!(text_of(None), NOT_SENT);
        assert_eq!(text_of(Some(Operand::Number(Number::from_f64(1.5)))), "1.5");
        assert_eq!(text_of(Some(Operand::Boolean(true))), "true");
        let list = [Element::Text("a".into()), Element::Other];
        assert_eq!(text_of(Some(Operand::List(&list))), "[\"a\",null]");
    }
}
