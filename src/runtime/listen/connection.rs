//! A connection that ends when its peer does not read what is sent to it.
//!
//! A peer that does not read fills the kernel's buffers, and then whoever writes waits. From there on it has to take
//! `PACE_BYTES` within the time it is given, again and again: who reads a byte a minute holds no place either.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// So much has to go through in the time, which is less than any network makes.
const PACE_BYTES: usize = 64 << 10;

/// A stream whose peer has to keep pace.
pub(super) struct Connection<S> {
    stream: S,
    within: Duration,
    /// Since it was waited for the peer: when that ends, and what the peer has taken.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Connection<S> {
    pub(super) fn new(stream: S, within: Duration) -> Self {
        Self { stream, within, waiting: None }
    }

    fn paced(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = &polled {
            self.waiting = match (self.waiting.take(), written) {
                (Some((until, taken)), Ok(more)) if taken + more < PACE_BYTES => Some((until, taken + more)),
                _ => None,
            };
            return polled;
        }
        let within = self.within;
        let (until, _) = self.waiting.get_or_insert_with(|| (Box::pin(tokio::time::sleep(within)), 0));
        match until.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buf);
        if polled.is_ready() {
            // It asks for something else: what it was sent before is with it.
            self.waiting = None;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, buf);
        self.paced(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, bufs);
        self.paced(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (ours, _theirs) = duplex(1000);
        let mut connection = Connection::new(ours, Duration::from_millis(20));
        let error = connection.write_all(&[0; 2000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// Writes as much as the other end has room for.
    fn fill(connection: &mut Connection<DuplexStream>) {
        let mut context = Context::from_waker(Waker::noop());
        while Pin::new(&mut *connection).poll_write(&mut context, &[0; 100]).is_ready() {}
    }

    fn take(stream: &mut DuplexStream, bytes: usize) {
        let (mut buf, mut context) = (vec![0; bytes], Context::from_waker(Waker::noop()));
        let mut buf = ReadBuf::new(&mut buf);
        assert!(Pin::new(stream).poll_read(&mut context, &mut buf).is_ready() && buf.filled().len() == bytes);
    }

    #[tokio::test]
    async fn drops_do_not_make_the_time_longer_and_keeping_pace_does() {
        // Not held up after so many calls, as a task would be.
        tokio::task::unconstrained(drops_and_pace()).await;
    }

    async fn drops_and_pace() {
        let (ours, mut theirs) = duplex(1000);
        let mut connection = Connection::new(ours, Duration::from_secs(3600));
        fill(&mut connection);
        let until = |connection: &Connection<_>| connection.waiting.as_ref().map(|(until, _)| until.deadline());
        let first = until(&connection).expect("it is waited for");
        let mut taken = 0;
        while taken + 100 < PACE_BYTES {
            take(&mut theirs, 100);
            fill(&mut connection);
            taken += 100;
            assert_eq!(until(&connection), Some(first), "{taken}");
        }
        take(&mut theirs, 100);
        fill(&mut connection);
        assert!(until(&connection).unwrap() > first);
    }

    #[tokio::test]
    async fn who_asks_again_has_what_it_was_sent() {
        let (ours, mut theirs) = duplex(1000);
        let mut connection = Connection::new(ours, Duration::from_secs(3600));
        fill(&mut connection);
        theirs.write_all(b"more").await.unwrap();
        take_from(&mut connection);
        assert!(connection.waiting.is_none());
    }

    fn take_from(connection: &mut Connection<DuplexStream>) {
        let mut buf = [0; 4];
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(connection).poll_read(&mut context, &mut ReadBuf::new(&mut buf)).is_ready());
    }
}
