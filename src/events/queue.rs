//! The bounded line in front of the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::check::Rows;
use crate::store::StoreError;
use crate::telemetry::metrics::Metrics;

/// Why events were not taken.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// As many wait as may.
    #[error("too many events wait to be stored")]
    Full,
    /// The writer has ended: the service is stopping.
    #[error("the service is stopping")]
    Stopping,
    /// The commit failed; nothing of the call is stored.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It added a row, or moved an exposure to an earlier time.
    Accepted,
    /// It changed nothing.
    Duplicate,
}

/// The accepted events of one call.
pub(super) struct Job {
    pub(super) events: Vec<Rows>,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<Vec<Fate>, Arc<StoreError>>>,
}

/// How much waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) events: AtomicUsize,
    pub(super) bytes: AtomicUsize,
}

/// The line's front door.
#[derive(Debug, Clone)]
pub struct Queue {
    sender: mpsc::UnboundedSender<Job>,
    waiting: Arc<Waiting>,
    events_max: usize,
    bytes_max: usize,
}

impl Queue {
    /// A line that holds at most `events_max` events of `bytes_max` bytes, and its end for the writer.
    #[must_use]
    pub(super) fn new(
        events_max: usize,
        bytes_max: usize,
    ) -> (Self, mpsc::UnboundedReceiver<Job>, Arc<Waiting>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        (Self { sender, waiting: waiting.clone(), events_max, bytes_max }, receiver, waiting)
    }

    /// Shows how much waits, and how much may.
    pub fn show(&self, metrics: &Metrics) {
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let waiting = |number: &AtomicUsize| whole(number.load(Ordering::Acquire));
        for (gauge, number) in [
            (&metrics.event_queue, waiting(&self.waiting.events)),
            (&metrics.event_queue_bytes, waiting(&self.waiting.bytes)),
            (&metrics.event_queue_limit_events, whole(self.events_max)),
            (&metrics.event_queue_limit_bytes, whole(self.bytes_max)),
        ] {
            gauge.only().set(number);
        }
    }

    /// Waits until `events`, which came in `bytes` bytes, are durable; tells what became of each.
    ///
    /// # Errors
    /// [`QueueError`]: none of them may count as stored.
    pub async fn append(&self, events: Vec<Rows>, bytes: usize) -> Result<Vec<Fate>, QueueError> {
        let count = events.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        if self.waiting.events.fetch_add(count, Ordering::AcqRel) + count > self.events_max {
            self.waiting.events.fetch_sub(count, Ordering::AcqRel);
            return Err(QueueError::Full);
        }
        if self.waiting.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes > self.bytes_max {
            self.waiting.events.fetch_sub(count, Ordering::AcqRel);
            self.waiting.bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(QueueError::Full);
        }
        self.sender.send(Job { events, bytes, answer }).map_err(|_error| QueueError::Stopping)?;
        Ok(answered.await.map_err(|_error| QueueError::Stopping)??)
    }

    /// Waits until everything that waits now is durable, or was refused.
    ///
    /// # Errors
    /// [`QueueError`] if that cannot be known.
    pub async fn flush(&self) -> Result<(), QueueError> {
        let (answer, answered) = oneshot::channel();
        // One line, one writer: what is answered to the last in it is true of all before.
        let last = Job { events: Vec::new(), bytes: 0, answer };
        self.sender.send(last).map_err(|_error| QueueError::Stopping)?;
        answered.await.map_err(|_error| QueueError::Stopping)??;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flush_ends_when_everything_before_it_is_answered() {
        let (queue, mut jobs, _) = Queue::new(10, 10);
        let rows = || Rows::Steps(smallvec::SmallVec::new());
        let (stored, flushed) = tokio::join!(queue.append(vec![rows(), rows()], 1), async {
            let (flushed, ()) = tokio::join!(queue.flush(), async {
                let (first, last) = (jobs.recv().await.unwrap(), jobs.recv().await.unwrap());
                assert_eq!((first.events.len(), last.events.len()), (2, 0), "in the order of their coming");
                first.answer.send(Ok(vec![Fate::Accepted, Fate::Duplicate])).unwrap();
                last.answer.send(Ok(Vec::new())).unwrap();
            });
            flushed
        });
        assert_eq!(stored.unwrap(), [Fate::Accepted, Fate::Duplicate]);
        flushed.unwrap();
        let (failed, ()) = tokio::join!(queue.flush(), async { drop(jobs.recv().await) });
        assert!(matches!(failed, Err(QueueError::Stopping)), "what became of them is not known");
        drop(jobs);
        assert!(matches!(queue.flush().await, Err(QueueError::Stopping)));
    }
}
