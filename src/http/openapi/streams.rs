//! Streams in the document, and how far a change has come.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::json;
use utoipa::ToSchema;

use super::call::{Call, text, whole};
use crate::access::role::{Decide, Read};
use crate::http::problem::Code;

/// How far a change has come.
#[derive(ToSchema)]
pub(super) struct Propagation {
    /// The version of the flag.
    pub(super) version: i64,
    /// The snapshot number that it took; `null` for a change so old that it is not known any more.
    #[schema(required = true)]
    pub(super) snapshot: Option<i64>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub(super) changed_at: String,
    /// The instances that decide by it.
    pub(super) nodes: Vec<ConfirmedNode>,
    /// Those that live and do not yet.
    pub(super) waiting: Vec<String>,
    /// Open pages that were told of it, over all instances.
    #[schema(minimum = 0)]
    pub(super) pages_told: i64,
    /// When a unit was last exposed to the flag; `null`: never.
    #[schema(required = true, format = DateTime)]
    pub(super) last_exposure_at: Option<String>,
}

/// An instance that decides by a change.
#[derive(ToSchema)]
pub(super) struct ConfirmedNode {
    /// Its name: another after each start.
    pub(super) node: String,
    /// Since when; `null` where that is not known any more.
    #[schema(required = true, format = DateTime)]
    pub(super) confirmed_at: Option<String>,
    /// Milliseconds from the change, by the clocks of two machines.
    #[schema(required = true, minimum = 0)]
    pub(super) ms: Option<i64>,
}

fn stream(path: &str, id: &'static str, summary: &'static str) -> Call {
    Call::get(path, id, summary)
        .access::<Decide>()
        .query(
            "token",
            "Instead of a key, for an `EventSource`, which cannot send headers: from `eventStreams` of OFREP's answer.",
            text().build(),
        )
        .header("Last-Event-ID", "The number that is known already: nothing is sent until it changes.", text().build())
        .refuses(&[Code::TooManyStreams])
        .answers_nothing(204, "The token is good no more: do not come back.")
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    vec![
        stream("/v1/stream", "streamChanges", "Hear of changes")
            .says("Server-sent events: `change` with the number and the changed flags; none named: fetch all.")
            .answers_text(
                "text/event-stream",
                "It does not end. A comment line every 15 seconds says that the connection lives.",
                "retry: 1000\n\nevent: change\nid: 42\ndata: {\"environment\":\"production\",\"flags\":[\"wechat-scan-pay\"],\"snapshot\":42}\n\n",
            ),
        stream("/ofrep/v1/sse", "ofrepStream", "Hear of changes (OFREP)")
            .says("The stream that OFREP's answers name in `eventStreams`, for OpenFeature's providers.")
            .answers_text(
                "text/event-stream",
                "It does not end. A comment line every 15 seconds says that the connection lives.",
                "retry: 1000\n\nevent: message\nid: 42\ndata: {\"etag\":\"42\",\"lastModified\":1795541005,\"type\":\"refetchEvaluation\"}\n\n",
            ),
        Call::get("/v1/environments/{environment}/flags/{key}/propagation", "getPropagation", "Who has a change?")
            .says("Which instances decide by a version, how many open pages were told, and when a unit was last exposed.")
            .access::<Read>()
            .query("version", "Which version; the newest where it is left out.", whole(0, i64::MAX))
            .stored()
            .answers::<Propagation>(
                200,
                "How far it has come.",
                json!({"version": 9, "snapshot": 42, "changed_at": "2026-11-24T17:18:51.534Z", "pages_told": 311,
                       "nodes": [{"node": "shop-7-k3v5q2mz", "confirmed_at": "2026-11-24T17:18:51.543Z", "ms": 9}],
                       "waiting": [], "last_exposure_at": "2026-11-24T17:18:50.002Z"}),
            ),
    ]
}
