//! Server-sent events: open pages hear of a change at once. `/v1/stream` for any page, `/ofrep/v1/sse` for OpenFeature
//! clients.

pub mod places;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::access::StreamAccess;
use super::problem::Problem;
use super::service::Service;
use crate::access::Actor;
use crate::live::feed::{Dialect, Listener};
use places::Place;

/// How often a comment says that the connection lives.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");
/// The shortest wait before a page connects again, in milliseconds, and how much more it may be told to wait.
const RETRY_MS: u64 = 1_000;
const RETRY_JITTER_MS: u64 = 4_000;

/// `GET /v1/stream`
pub async fn changes(
    access: StreamAccess,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    open(access, &req, &service, Dialect::Change)
}

/// `GET /ofrep/v1/sse`
pub async fn ofrep(
    access: StreamAccess,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    open(access, &req, &service, Dialect::Ofrep)
}

fn open(
    access: StreamAccess,
    req: &HttpRequest,
    service: &Data<Service>,
    dialect: Dialect,
) -> Result<HttpResponse, Problem> {
    let StreamAccess::Granted { actor, environment } = access else {
        // The one answer after which an `EventSource` does not come back.
        return Ok(HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish());
    };
    environment.published().ok_or_else(super::not_ready)?;
    let place = service.streams.take(&actor.id)?;
    let mut listener = environment.feed.listen();
    let known = req.headers().get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let present = listener.present(dialect, known, service.clock.now_ms()).unwrap_or_default();
    let retry_ms = RETRY_MS + place.part_of(RETRY_JITTER_MS);
    let greeting = [format!("retry: {retry_ms}\n\n").as_bytes(), &present].concat();
    let stream = Stream {
        greeting: Some(greeting.into()),
        dialect,
        listener,
        next_beat: Instant::now() + HEARTBEAT_EVERY,
        ended: service.streams.ended(),
        keys: service.keys.replacements(),
        actor,
        service: service.clone(),
        _place: place,
    };
    let chunks = unfold(stream, |mut stream| async move {
        stream.chunk().await.map(|chunk| (Ok::<_, Infallible>(chunk), stream))
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies of one make hold answers back to send them in larger pieces.
        .insert_header(("x-accel-buffering", "no"))
        // Nothing follows on this connection, so a stop need not wait for it to fall idle.
        .force_close()
        .streaming(chunks))
}

/// One open stream. It is asked for its next chunk only when the one before is on its way, so that nothing queues.
struct Stream {
    greeting: Option<Bytes>,
    dialect: Dialect,
    listener: Listener,
    next_beat: Instant,
    ended: watch::Receiver<bool>,
    keys: watch::Receiver<()>,
    actor: Arc<Actor>,
    service: Data<Service>,
    _place: Place,
}

impl Stream {
    /// The next bytes; `None` when the stream ends: the service stops, or the key is revoked or has expired.
    async fn chunk(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        loop {
            self.keys.mark_unchanged();
            let now_ms = self.service.clock.now_ms();
            if *self.ended.borrow() || self.service.keys.holder(&self.actor.id, now_ms).is_none() {
                return None;
            }
            let wake = self.key_ends(now_ms).map_or(self.next_beat, |ends| ends.min(self.next_beat));
            tokio::select! {
                biased;
                _ = self.ended.changed() => return None,
                changed = self.keys.changed() => if changed.is_err() { return None },
                bytes = self.listener.news(self.dialect) => return Some(bytes),
                () = sleep_until(wake) => if Instant::now() >= self.next_beat {
                    self.next_beat = Instant::now() + HEARTBEAT_EVERY;
                    return Some(HEARTBEAT);
                },
            }
        }
    }

    /// When the key expires, if it does.
    fn key_ends(&self, now_ms: i64) -> Option<Instant> {
        let left_ms = self.actor.expires_at?.saturating_sub(now_ms);
        // A wait of a year and one that never ends are the same here.
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or_default());
        Some(Instant::now() + left.min(HEARTBEAT_EVERY * 2))
    }
}
