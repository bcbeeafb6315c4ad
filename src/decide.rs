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
use crate::engine::evaluate::{evaluate, evaluate_among};
use crate::engine::explain::Silent;
use crate::engine::memo::Memo;
use crate::engine::number::Number;
use crate::engine::snapshot::Snapshot;
use crate::live::{Live, Published};
use crate::token::Sealer;
use crate::token::batch::{Batch, Sealed};

/// Longest captured value in bytes.
pub const CAPTURED_BYTES_MAX: usize = 64;
/// So many flags of an answer are many: what they have in common is evaluated once.
const MANY: usize = 4;
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

/// The unit that a token of `decision` speaks of; `None` where nothing is measured: no arm, no unit or no open stage.
#[must_use]
pub fn measured<'c>(decision: &Decision<'_>, context: &'c Context<'_>) -> Option<&'c str> {
    decision.result.ok()?.arm?;
    decision.flag.stage?;
    context.unit(decision.flag.unit())
}

/// Decisions of one answer, in its order, with their tokens.
pub struct Answered<'s> {
    /// Beside each the place of its token.
    decisions: SmallVec<[(Decision<'s>, Option<usize>); 2]>,
    tokens: Sealed,
}

impl<'s> Answered<'s> {
    /// Each decision, and its token where something is measured.
    pub fn iter(&self) -> impl Iterator<Item = (&Decision<'s>, Option<&[u8]>)> {
        self.decisions.iter().map(|(decision, place)| (decision, place.and_then(|at| self.tokens.text(at))))
    }
}

/// Decides about `expected` flags, counts the decisions, and seals their tokens together: none without a `sealer`.
#[must_use]
pub fn all<'s>(
    published: &'s Published,
    flags: impl IntoIterator<Item = &'s Arc<CompiledFlag>>,
    expected: usize,
    context: &Context<'_>,
    fetched: &Fetched,
    sealer: Option<Sealer<'_>>,
) -> Answered<'s> {
    let mut batch = sealer.map(|sealer| Batch::new(sealer, expected));
    let mut decisions = SmallVec::with_capacity(expected);
    let memo = (expected >= MANY).then(Memo::default);
    for flag in flags {
        let decision = match &memo {
            None => uncounted(&published.snapshot, flag, context, fetched),
            Some(memo) => evaluate_among(&published.snapshot, flag, context, fetched, memo),
        };
        published.count(&decision);
        let place = batch.as_mut().and_then(|batch| state(published, &decision, context, batch));
        decisions.push((decision, place));
    }
    Answered { decisions, tokens: batch.map(Batch::seal).unwrap_or_default() }
}

/// Adds what a token says of `decision`; its place.
#[inline]
fn state(
    published: &Published,
    decision: &Decision<'_>,
    context: &Context<'_>,
    batch: &mut Batch<'_>,
) -> Option<usize> {
    let (flag, served) = (decision.flag, decision.result.ok()?);
    let unit = measured(decision, context)?;
    let decided = published.decided(decision)?;
    let bucket = served.bucket.unwrap_or_else(|| flag.bucket(unit));
    Some(batch.push(decided, unit, Some(bucket.ppm()), captured(flag, context)))
}

/// The attributes that the flag keeps with an exposure: their names, and their values as text.
pub fn captured<'d>(
    flag: &'d CompiledFlag,
    context: &'d Context<'_>,
) -> impl ExactSizeIterator<Item = (&'d str, Cow<'d, str>)> {
    flag.capture().iter().map(|(slot, name)| (&**name, text_of(context.attribute(*slot))))
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
