//! What differs between two snapshots, and the bytes that say so: encoded once, shared by all streams.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::Swap;
use crate::clock::SECOND_MS;
use crate::engine::compile::CompiledFlag;
use crate::engine::index::AudienceIndex;
use crate::engine::snapshot::Snapshot;

/// Most flags that an event names; where more changed it names none, which means all.
const FLAGS_NAMED_MAX: usize = 100;

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Keys of the flags that may decide otherwise now; none: all may.
    pub(super) flags: Vec<Arc<str>>,
    /// Whether a flag that was open is shut.
    pub(super) shuts: bool,
    /// Whether the same number decides as it did: an audience was only moved between memory and database.
    pub(super) nothing: bool,
}

/// What a swap changed: flags with another form, those whose audiences have other ids, and those that require one of
/// these.
pub(super) fn changed(swap: &Swap<'_>) -> Changed {
    let Some(old) = swap.old else { return Changed::default() };
    let new = swap.new;
    // What did not change is shared, so that comparing addresses is enough.
    let was = |flag: &Arc<CompiledFlag>| old.flags().get(flag.index.at());
    let same = |flag: &Arc<CompiledFlag>| was(flag).is_some_and(|was| Arc::ptr_eq(was, flag));
    let audiences = changed_audiences(old, new);
    let asks = |flag: &CompiledFlag| {
        !audiences.is_empty() && flag.audiences().iter().any(|audience| audiences.contains(audience))
    };
    let mut touched: Vec<bool> = new.flags().iter().map(|flag| !same(flag) || asks(flag)).collect();
    let shuts = new.flags().iter().any(|flag| !flag.is_open() && was(flag).is_some_and(|was| was.is_open()));
    if !swap.same_settings {
        return Changed { flags: Vec::new(), shuts, nothing: false };
    }
    spread_to_dependants(new, &mut touched);
    let flags = new.sorted().filter(|flag| touched.get(flag.index.at()) == Some(&true));
    let flags: Vec<Arc<str>> = flags.map(|flag| flag.key.as_str().into()).collect();
    let nothing = old.number() == new.number() && !touched.contains(&true);
    Changed { flags: if flags.len() > FLAGS_NAMED_MAX { Vec::new() } else { flags }, shuts, nothing }
}

fn changed_audiences(old: &Snapshot, new: &Snapshot) -> Vec<AudienceIndex> {
    // Whether in memory or in the database, an audience of the same version has the same ids; one that can be read
    // again decides otherwise.
    let seen = |snapshot: &Snapshot, index| {
        let audience = snapshot.audience(index);
        audience.map(|audience| (audience.version, audience.ids.is_some() || audience.read_through))
    };
    let same = |index: AudienceIndex| seen(old, index) == seen(new, index);
    let all = new.audiences().iter().filter_map(|audience| new.audience_index(audience.key.as_str()));
    all.filter(|index| !same(*index)).collect()
}

/// Marks the flags that require a marked one. Chains are short, since their depth is limited where they are written.
fn spread_to_dependants(snapshot: &Snapshot, touched: &mut [bool]) {
    loop {
        let requires = |flag: &CompiledFlag| {
            let required = flag.document.iter().flat_map(|document| &document.prerequisites);
            required
                .filter_map(|prerequisite| snapshot.find(prerequisite.flag.as_str()))
                .any(|required| touched.get(required.index.at()) == Some(&true))
        };
        let unmarked = snapshot.flags().iter().filter(|flag| touched.get(flag.index.at()) == Some(&false));
        let more: Vec<usize> = unmarked.filter(|flag| requires(flag)).map(|flag| flag.index.at()).collect();
        if more.is_empty() {
            return;
        }
        for at in more {
            if let Some(place) = touched.get_mut(at) {
                *place = true;
            }
        }
    }
}

/// The event of `/v1/stream`. No flags: all may have changed.
pub(super) fn change(environment: &str, number: i64, flags: &[Arc<str>]) -> Bytes {
    let flags: Vec<&str> = flags.iter().map(|flag| &**flag).collect();
    let data = json!({"environment": environment, "snapshot": number, "flags": flags});
    format!("event: change\nid: {number}\ndata: {data}\n\n").into()
}

/// The event of OFREP's stream.
pub(super) fn refetch(number: i64, now_ms: i64) -> Bytes {
    let modified = (now_ms / SECOND_MS).max(0);
    let data = json!({"type": "refetchEvaluation", "etag": number.to_string(), "lastModified": modified});
    format!("event: message\nid: {number}\ndata: {data}\n\n").into()
}
