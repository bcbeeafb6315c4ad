//! Which goods may carry an entry's badge: each item decided as if it were the whole order.

use std::sync::Arc;

use super::uncounted;
use crate::engine::asks::Fetched;
use crate::engine::compile::CompiledFlag;
use crate::engine::context::{ContextError, Parsed};
use crate::engine::decision::DecisionError;
use crate::engine::snapshot::Snapshot;

/// One item and the entries that it may carry.
#[derive(Debug, PartialEq, Eq)]
pub struct Badge<'s> {
    /// The item's id.
    pub id: String,
    /// Keys of the entries, in the placement's order.
    pub entries: Vec<&'s str>,
}

/// The badges of a page of goods.
#[derive(Debug, PartialEq, Eq)]
pub struct Badges<'s> {
    /// One for each item, in the order sent.
    pub goods: Vec<Badge<'s>>,
    /// Entries that could not be decided for some item, since an audience cannot be read: they are on none of these.
    pub unavailable: Vec<&'s str>,
}

/// Decides every entry of the placement for each item alone. Not counted, no token: nobody was shown anything yet.
///
/// # Errors
/// [`ContextError::OutOfRange`] where an item's price x quantity is over 2^53-1.
pub fn badges<'s>(
    snapshot: &'s Snapshot,
    mut parsed: Parsed<'_>,
    fetched: &Fetched,
) -> Result<Badges<'s>, ContextError> {
    let placement = parsed.placement.take().unwrap_or_default();
    let entries: Vec<&'s Arc<CompiledFlag>> = snapshot.entries(&placement).collect();
    let context = &mut parsed.context;
    let mut badges = Badges { goods: Vec::new(), unavailable: Vec::new() };
    for item in context.take_goods() {
        let id = item.id().to_owned();
        context.set_only_item(item)?;
        let mut visible = Vec::new();
        for flag in &entries {
            let decision = uncounted(snapshot, flag, context, fetched);
            let key = flag.key.as_str();
            if decision.is_visible() {
                visible.push(key);
            } else if decision.result == Err(DecisionError::AudienceUnavailable)
                && !badges.unavailable.contains(&key)
            {
                badges.unavailable.push(key);
            }
        }
        badges.goods.push(Badge { id, entries: visible });
    }
    Ok(badges)
}
