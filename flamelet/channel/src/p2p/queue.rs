//! What waits to be sent to one peer: bounded, the small before the large.
//!
//! Acknowledgements and heartbeats overtake chunks, so that a transfer does not delay those of the other direction and an
//! end on a thin link does not look dead behind its own chunks. What does not fit any more is dropped rather than waited
//! for: a wait would hold up every other peer of a broadcast, and the core sends again what was not acknowledged. It
//! seldom comes to that, because the core has no more than a window on its way to each end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use futures::task::AtomicWaker;
use tokio::sync::Notify;
use tonic::Status;

use super::wire::{Parcel, parcel};

/// Payloads up to this size go first.
const URGENT: usize = 2048;
/// Parcels that may wait to go first: a loss among them is made good by the next heartbeat or acknowledgement.
const MOST_URGENT: usize = 4096;

/// A peer's queue.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    waker: AtomicWaker,
    emptied: Notify,
}

#[derive(Debug)]
struct Inner {
    urgent: VecDeque<Parcel>,
    bulk: VecDeque<Parcel>,
    /// Payload bytes in `bulk`, and what they may be.
    bytes: usize,
    bound: usize,
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    /// After what is queued.
    Finish,
    /// Now; a listener says why.
    Cut(Option<Status>),
}

impl Queue {
    pub(super) fn new(bound: usize) -> Arc<Self> {
        let (urgent, bulk) = (VecDeque::new(), VecDeque::new());
        let inner = Mutex::new(Inner { urgent, bulk, bytes: 0, bound, end: None });
        Arc::new(Self { inner, waker: AtomicWaker::new(), emptied: Notify::new() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was queued.
    pub(super) fn push(&self, body: parcel::Body) -> bool {
        let size = if let parcel::Body::Packet(packet) = &body { packet.payload.len() } else { 0 };
        let newest = matches!(body, parcel::Body::Subscriptions(_));
        let parcel = Parcel { body: Some(body) };
        let mut inner = self.inner();
        let queued = if inner.end.is_some() {
            false
        } else if size <= URGENT {
            if newest {
                inner.urgent.retain(|waiting| !matches!(waiting.body, Some(parcel::Body::Subscriptions(_))));
            }
            let room = newest || inner.urgent.len() < MOST_URGENT;
            if room {
                inner.urgent.push_back(parcel);
            }
            room
        } else {
            // An empty queue takes anything.
            let room = inner.bulk.is_empty() || inner.bytes.saturating_add(size) <= inner.bound;
            if room {
                inner.bytes += size;
                inner.bulk.push_back(parcel);
            }
            room
        };
        drop(inner);
        self.waker.wake();
        queued
    }

    /// Ends the stream after what is queued.
    pub(super) fn finish(&self) {
        self.inner().end.get_or_insert(End::Finish);
        self.waker.wake();
    }

    /// Ends the stream now.
    pub(super) fn cut(&self, why: Option<Status>) {
        let mut inner = self.inner();
        inner.urgent.clear();
        inner.bulk.clear();
        inner.bytes = 0;
        if !matches!(inner.end, Some(End::Cut(_))) {
            inner.end = Some(End::Cut(why));
        }
        drop(inner);
        self.waker.wake();
        self.emptied.notify_waiters();
    }

    /// Waits until everything has been taken, or will not be any more.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let inner = self.inner();
        inner.urgent.is_empty() && inner.bulk.is_empty()
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<Result<Parcel, Status>>> {
        self.waker.register(context.waker());
        let mut inner = self.inner();
        if let Some(End::Cut(why)) = &mut inner.end {
            return Poll::Ready(why.take().map(Err));
        }
        let next = inner.urgent.pop_front().or_else(|| inner.bulk.pop_front());
        if let Some(Parcel { body: Some(parcel::Body::Packet(packet)) }) = &next
            && packet.payload.len() > URGENT
        {
            inner.bytes = inner.bytes.saturating_sub(packet.payload.len());
        }
        let empty = inner.urgent.is_empty() && inner.bulk.is_empty();
        let finished = inner.end.is_some();
        drop(inner);
        if empty {
            self.emptied.notify_waiters();
        }
        match next {
            Some(parcel) => Poll::Ready(Some(Ok(parcel))),
            None if finished => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// A queue as the stream that a dialler sends.
pub(super) struct Dialled(pub(super) Arc<Queue>);

/// A queue as the stream that a listener sends.
pub(super) struct Accepted(pub(super) Arc<Queue>);

impl Stream for Dialled {
    type Item = Parcel;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Parcel>> {
        self.0.poll(context).map(|next| next.and_then(Result::ok))
    }
}

impl Stream for Accepted {
    type Item = Result<Parcel, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll(context)
    }
}

// Dropped by the connection: nothing that is queued can go any more.
impl Drop for Dialled {
    fn drop(&mut self) {
        self.0.cut(None);
    }
}

impl Drop for Accepted {
    fn drop(&mut self) {
        self.0.cut(None);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::StreamExt;

    use super::super::wire::{Packet, Subscriptions};
    use super::*;

    fn packet(topic: &str, len: usize) -> parcel::Body {
        parcel::Body::Packet(Packet { topic: topic.into(), payload: Bytes::from(vec![0; len]) })
    }

    fn subscriptions(filter: &str) -> parcel::Body {
        parcel::Body::Subscriptions(Subscriptions { filters: vec![filter.into()] })
    }

    async fn topics(queue: Arc<Queue>) -> Vec<String> {
        let name = |parcel: Parcel| match parcel.body {
            Some(parcel::Body::Packet(packet)) => packet.topic,
            Some(parcel::Body::Subscriptions(subscriptions)) => subscriptions.filters.concat(),
            other => format!("{other:?}"),
        };
        Dialled(queue).map(name).collect().await
    }

    #[tokio::test]
    async fn the_small_overtakes_the_large_and_what_does_not_fit_is_dropped() {
        let queue = Queue::new(10_000);
        assert!(queue.push(packet("large 1", 6_000)));
        assert!(!queue.push(packet("large 2", 6_000)));
        assert!(queue.push(packet("large 3", 4_000)));
        assert!(queue.push(subscriptions("old")));
        assert!(queue.push(packet("small", 10)));
        assert!(queue.push(subscriptions("new")));
        queue.finish();
        assert!(!queue.push(packet("late", 10)));
        assert_eq!(topics(Arc::clone(&queue)).await, ["small", "new", "large 1", "large 3"]);
        queue.emptied().await;
    }

    #[tokio::test]
    async fn an_empty_queue_takes_any_packet_and_a_cut_one_nothing() {
        let queue = Queue::new(10);
        assert!(queue.push(packet("over the bound", 60_000)));
        queue.cut(Some(Status::not_found("nobody")));
        assert!(!queue.push(packet("late", 10)) && queue.is_empty());
        let mut stream = Accepted(queue);
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), tonic::Code::NotFound);
        assert!(stream.next().await.is_none());
    }
}
