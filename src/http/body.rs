//! Bodies: read raw, within a size and a time, never inflated.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, error::PayloadError};
use futures_util::future::{Either, LocalBoxFuture};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};

use super::problem::{Code, Problem};

/// Longest silence inside a body.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Longest time that a whole body may take.
const BODY_MAX: Duration = Duration::from_secs(30);
/// Slowest upload on average, in bytes a second, after [`GRACE_SECONDS`].
const UPLOAD_RATE_MIN: usize = 64_000;
/// Seconds that an upload may take whatever its rate.
const GRACE_SECONDS: usize = 10;
/// What is read of a body that is refused anyway, so that its connection lives on.
const DRAINED_BYTES_MAX: usize = 256 << 10;
/// Longest time spent on that.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// A body of this size of which nothing is sent: what answers HEAD. A stream behind it has ended.
pub struct HeadOnly(pub BodySize);

impl MessageBody for HeadOnly {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

/// Marks a request whose caller is refused: nothing that its body would earn may be told instead.
pub struct Refused;

/// A JSON body of at most `LIMIT` bytes, unread.
pub struct JsonBody<const LIMIT: usize>(pub Bytes);

impl<const LIMIT: usize> FromRequest for JsonBody<LIMIT> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = whole(req, payload, &["application/json"], LIMIT);
        async move { body.await.map(Self) }.boxed_local()
    }
}

/// Reads the JSON body of a call that does not pass the router.
///
/// # Errors
/// As those of [`JsonBody`].
pub(super) fn json(
    headers: &HeaderMap,
    payload: Payload,
    limit: usize,
) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    match refuse_type(headers, &["application/json"]) {
        Err(problem) => Either::Left(drained(problem, payload).map(Err)),
        Ok(()) => Either::Right(read(payload, limit, announced_bytes(headers))),
    }
}

/// Reads a body of one of `types`; nothing of one whose call is refused already.
fn whole(
    req: &HttpRequest,
    payload: &mut Payload,
    types: &[&str],
    limit: usize,
) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let refused = req.extensions().contains::<Refused>();
    let refusal = if refused { None } else { refuse_type(req.headers(), types).err() };
    let (announced, payload) = (announced_bytes(req.headers()), payload.take());
    async move {
        match refusal {
            _ if refused => Ok(Bytes::new()),
            Some(problem) => Err(drained(problem, payload).await),
            None => read(payload, limit, announced).await,
        }
    }
}

/// A JSON Merge Patch (RFC 7396) of at most `LIMIT` bytes, unread; plain JSON is taken for one too.
pub struct PatchBody<const LIMIT: usize>(pub Bytes);

impl<const LIMIT: usize> FromRequest for PatchBody<LIMIT> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = whole(req, payload, &["application/merge-patch+json", "application/json"], LIMIT);
        async move { body.await.map(Self) }.boxed_local()
    }
}

/// A body that is read chunk by chunk.
pub struct Upload {
    payload: Payload,
    /// Time spent waiting for the sender: what we took ourselves is not its fault.
    waited: Duration,
    bytes: usize,
}

impl FromRequest for Upload {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(_req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        std::future::ready(Ok(Self { payload: payload.take(), waited: Duration::ZERO, bytes: 0 }))
    }
}

impl Upload {
    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// `body_timeout` after ten silent seconds, `body_incomplete` if the sender went away.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        let began = Instant::now();
        let chunk = next(&mut self.payload).await?;
        self.waited += began.elapsed();
        match chunk {
            Some(Ok(bytes)) => {
                self.bytes += bytes.len();
                let seconds = usize::try_from(self.waited.as_secs()).unwrap_or(usize::MAX);
                if seconds > GRACE_SECONDS && self.bytes / seconds < UPLOAD_RATE_MIN {
                    return Err(Problem::new(Code::BodyTimeout, "the upload comes too slowly").closing());
                }
                Ok(Some(bytes))
            }
            Some(Err(error)) => Err(broken(&error)),
            None => Ok(None),
        }
    }

    /// Refuses the upload, and reads the rest of a small one.
    pub async fn refuse(self, problem: Problem) -> Problem {
        drained(problem, self.payload).await
    }
}

/// `Content-Length`, if there is one.
fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media type of the request must be one of `allowed`; none at all is taken, since simple clients send none.
///
/// # Errors
/// `unsupported_media_type`.
fn refuse_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    // As nearly all write it.
    if allowed.iter().any(|allowed| value.as_bytes() == allowed.as_bytes()) {
        return Ok(());
    }
    let media = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if allowed.iter().any(|allowed| media.eq_ignore_ascii_case(allowed)) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, format!("the body is {} here", allowed.join(" or "))))
}

/// A piece of a body, or its end.
type Chunk = Option<Result<Bytes, PayloadError>>;

async fn next(payload: &mut Payload) -> Result<Chunk, Problem> {
    if let Some(chunk) = at_hand(payload).await {
        return Ok(chunk);
    }
    Box::pin(timeout(SILENCE_MAX, payload.next()))
        .await
        .map_err(|_error| Problem::new(Code::BodyTimeout, "the body stopped coming for 10 seconds").closing())
}

/// What need not be waited for, and so needs no timer. What came with the head lies in the server's own buffer until it
/// asks us again: we see to it that we are asked.
async fn at_hand(payload: &mut Payload) -> Option<Chunk> {
    let mut asked = false;
    poll_fn(|context| match payload.poll_next_unpin(context) {
        Poll::Ready(chunk) => Poll::Ready(Some(chunk)),
        Poll::Pending if std::mem::replace(&mut asked, true) => Poll::Ready(None),
        Poll::Pending => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

fn broken(error: &PayloadError) -> Problem {
    Problem::new(Code::BodyIncomplete, format!("the body cannot be read: {error}")).closing()
}

async fn read(mut payload: Payload, limit: usize, announced: Option<usize>) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge, format!("the body has at most {limit} bytes here"));
    if announced.is_some_and(|announced| announced > limit) {
        return Err(drained(too_large(), payload).await);
    }
    let Some(first) = next(&mut payload).await? else { return Ok(Bytes::new()) };
    let first = first.map_err(|error| broken(&error))?;
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let rest = Box::pin(timeout(BODY_MAX, async {
        let mut body = BytesMut::from(&*first);
        while let Some(chunk) = next(&mut payload).await? {
            let chunk = chunk.map_err(|error| broken(&error))?;
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }));
    let read = rest
        .await
        .map_err(|_error| Problem::new(Code::BodyTimeout, "the body took over 30 seconds").closing())?;
    match read {
        Err(problem) if problem.code == Code::BodyTooLarge => Err(drained(problem, payload).await),
        read => read.and_then(|body| if body.len() > limit { Err(too_large()) } else { Ok(body) }),
    }
}

/// Reads what is left of a small body before its refusal: otherwise the server closes the connection, which
/// costs the client far more than the refusal. A large one closes it.
pub fn drained(problem: Problem, mut payload: Payload) -> LocalBoxFuture<'static, Problem> {
    // Boxed: every call would else carry room for its refusal.
    Box::pin(async move {
        let mut left = DRAINED_BYTES_MAX;
        loop {
            let Some(chunk) = at_hand(&mut payload).await else { break };
            match drain(chunk, &mut left) {
                None => {}
                Some(true) => return problem,
                Some(false) => return problem.closing(),
            }
        }
        let rest = async {
            loop {
                if let Some(drained) = drain(payload.next().await, &mut left) {
                    return drained;
                }
            }
        };
        match timeout(DRAIN_MAX, rest).await {
            Ok(true) => problem,
            Ok(false) | Err(_) => problem.closing(),
        }
    })
}

/// Takes a piece of a refused body: whether it has ended, or is too large to go on; `None`: it goes on.
fn drain(chunk: Chunk, left: &mut usize) -> Option<bool> {
    let Some(Ok(chunk)) = chunk else { return Some(true) };
    match left.checked_sub(chunk.len()) {
        None => Some(false),
        Some(fewer) => {
            *left = fewer;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures_util::stream::pending;

    use super::*;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_waits_for_a_body_sees_to_it_that_it_is_asked_again() {
        // A sender that never says anything wakes nobody.
        let mut payload = Payload::Stream { payload: pending().boxed_local() };
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = woken.clone().into();
        let (mut context, mut at_hand) = (Context::from_waker(&waker), pin!(at_hand(&mut payload)));
        assert!(at_hand.as_mut().poll(&mut context).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(matches!(at_hand.poll(&mut context), Poll::Ready(None)), "what is waited for gets its timer");
    }
}
