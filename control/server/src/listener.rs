//! Connections to both ports, with TLS or without. A handshake that is slow or fails costs nobody else anything.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Time for a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes at a time; who comes when all are taken waits to be accepted.
const HANDSHAKES: usize = 256;
/// Pause after the system had no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// A connection.
pub(crate) struct Stream {
    io: Io,
    local: SocketAddr,
    peer: SocketAddr,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A port whose connections are ready to be spoken on.
pub(crate) struct Listener {
    local: SocketAddr,
    ready: mpsc::Receiver<Stream>,
    _accepting: tokio_util::task::AbortOnDropHandle<()>,
}

impl Listener {
    /// Begins to accept.
    pub(crate) fn start(listener: TcpListener, local: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let (sender, ready) = mpsc::channel(HANDSHAKES);
        let accepting = tokio::spawn(accept(listener, local, tls, sender));
        Self { local, ready, _accepting: tokio_util::task::AbortOnDropHandle::new(accepting) }
    }

    /// As tonic takes them.
    pub(crate) fn into_incoming(self) -> impl futures::Stream<Item = io::Result<Stream>> {
        futures::stream::unfold(self, |mut this| async move {
            let stream = this.ready.recv().await?;
            Some((Ok(stream), this))
        })
    }
}

async fn accept(listener: TcpListener, local: SocketAddr, tls: Option<TlsAcceptor>, ready: mpsc::Sender<Stream>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut shaking = JoinSet::new();
    loop {
        while shaking.try_join_next().is_some() {}
        let (io, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // A connection that broke in the queue is its own affair; files that ran out are everybody's.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
                    tracing::error!(%local, "no connection can be accepted: {error}");
                    tokio::time::sleep(NO_ROOM).await;
                }
                continue;
            }
        };
        // Small answers do not wait for more; where it cannot be set they merely are slower.
        let _ = io.set_nodelay(true);
        let Some(tls) = &tls else {
            if ready.send(Stream { io: Io::Plain(io), local, peer }).await.is_err() {
                return;
            }
            continue;
        };
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let (tls, ready) = (tls.clone(), ready.clone());
        shaking.spawn(async move {
            let _permit = permit;
            match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(io)).await {
                // Nobody takes it where the server is stopping.
                Ok(Ok(io)) => drop(ready.send(Stream { io: Io::Tls(Box::new(io)), local, peer }).await),
                Ok(Err(error)) => tracing::debug!(%peer, "a TLS handshake failed: {error}"),
                Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        });
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.ready.recv().await {
            Some(stream) => {
                let peer = stream.peer;
                (stream, peer)
            }
            // Whoever accepts has ended; whoever serves will be told to.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Listener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected for Stream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: Some(self.local), remote_addr: Some(self.peer) }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
