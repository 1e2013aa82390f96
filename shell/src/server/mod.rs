//! The network front: accepts connections and serves the protocol until told to stop.

mod error;
mod http;
mod model_config;
mod repository;
mod routes;

use crate::gateway::Gateway;
use crate::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Limits of the network front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerLimits {
    /// Most bytes in one request body, counted after decompression.
    pub max_body: usize,
    /// Longest time for a client to send a request's headers, and longest silence while it sends
    /// the body: a connection that stops half-way is not kept for ever. A connection without a
    /// request is closed after this time too.
    pub read_timeout: Duration,
    /// Longest time for a whole request body.
    pub body_timeout: Duration,
    /// Longest time that a stop waits for clients to take their last answers.
    pub close_timeout: Duration,
    /// Connections open at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Whether routes may be changed over HTTP.
    pub admin: bool,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_body: 64 << 20,
            read_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(300),
            close_timeout: Duration::from_secs(5),
            max_connections: 4096,
            admin: false,
        }
    }
}

/// A bound address, not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    limits: ServerLimits,
}

impl Server {
    /// Takes the address; port 0 lets the system choose one.
    ///
    /// # Errors
    /// The system's: in use, not permitted, not an address of this machine.
    pub async fn bind(address: SocketAddr, limits: ServerLimits) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, limits })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` completes, then drains: the service refuses new requests, the ones it
    /// holds are answered, and open connections are closed after their current answer.
    ///
    /// A client that closes its sending side after a request counts as gone.
    pub async fn serve(self, service: Arc<Service>, stop: impl Future<Output = ()>) {
        self.serve_routed(service, None, stop).await;
    }

    /// As [`serve`](Self::serve); with a gateway, requests go where its routes say.
    pub async fn serve_routed(
        self,
        service: Arc<Service>,
        gateway: Option<Arc<Gateway>>,
        stop: impl Future<Output = ()>,
    ) {
        let app = http::router(Arc::clone(&service), gateway, self.limits);
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.limits.read_timeout);
        let connections = GracefulShutdown::new();
        let mut tasks = tokio::task::JoinSet::new();
        let places = Arc::new(Semaphore::new(self.limits.max_connections));
        let accept = async || {
            // Never closed, so there is always a place in the end.
            let place = Arc::clone(&places).acquire_owned().await;
            self.listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let mut stop = std::pin::pin!(stop);
        loop {
            while tasks.try_join_next().is_some() {}
            let (stream, place) = tokio::select! {
                accepted = accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors or a connection gone before it was taken.
                        // Waiting a little lets some of them close.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = &mut stop => break,
            };
            // Without this, small answers wait for the client's delayed acknowledgement.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            let connection = builder
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
            let connection = connections.watch(connection);
            tasks.spawn(async move {
                let _place = place;
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection ended");
                }
            });
        }
        drop(self.listener);
        service.drain().await;
        // Every request is answered. Whoever has not taken its answer, or not finished its request,
        // by now holds up the stop for a moment only; dropping the tasks closes its connection.
        if tokio::time::timeout(self.limits.close_timeout, connections.shutdown()).await.is_err() {
            tracing::info!("closed connections that did not end by themselves");
        }
    }
}
