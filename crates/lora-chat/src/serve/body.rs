//! Bodies: what is read of a request, within limits, and what is written of an answer.
use super::queue::Part;
use super::refusal::Refusal;
use super::reply::Chunks;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

/// Largest body of a request.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// How much of a larger one is read and thrown away, so that whoever sends it comes to hear the answer.
const MOST_DROPPED: usize = 16 << 20;

/// How long a body may take to come.
const COMING: Duration = Duration::from_secs(20);

/// The body of a request.
pub(crate) async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    match timeout(COMING, collected(body)).await {
        Ok(read) => read,
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {} seconds", COMING.as_secs()),
        )),
    }
}

async fn collected(mut body: Incoming) -> Result<Bytes, Refusal> {
    let mut read = Vec::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let message = format!("the body can't be read: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, message)
        })?;
        let Ok(data) = frame.into_data() else {
            continue; // trailers
        };
        seen += data.len();
        if seen <= MOST_BYTES {
            read.extend_from_slice(&data);
        } else if seen > MOST_DROPPED {
            break;
        }
    }
    match seen <= MOST_BYTES {
        true => Ok(read.into()),
        false => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {MOST_BYTES} bytes"),
        )),
    }
}

/// Someone who waits for an answer; once dropped, nobody does.
pub(crate) struct Waiter {
    pub(crate) parts: UnboundedReceiver<Part>,
    pub(crate) gone: Arc<AtomicBool>,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// What is written back.
pub(crate) enum Written {
    Whole(Option<Bytes>),
    Stream {
        chunks: Chunks,
        waiter: Waiter,
        first: Option<Bytes>,
    },
}

impl Written {
    pub(crate) fn stream(chunks: Chunks, waiter: Waiter) -> Self {
        Self::Stream {
            first: Some(chunks.start().into()),
            chunks,
            waiter,
        }
    }
}

impl Body for Written {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Stream { first, .. } if first.is_some() => first.take(),
            Self::Stream { chunks, .. } if chunks.is_over() => None,
            Self::Stream { chunks, waiter, .. } => match waiter.parts.poll_recv(context) {
                Poll::Ready(part) => Some(chunks.events(part).into()),
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream { chunks, first, .. } => first.is_none() && chunks.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}
