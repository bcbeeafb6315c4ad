//! Streams in the document.

use super::call::{Call, text};
use crate::access::role::Decide;
use crate::http::problem::Code;

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
    ]
}
