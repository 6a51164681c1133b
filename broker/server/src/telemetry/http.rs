//! The HTTP listener: `/metrics`, `/healthz`, `/readyz`.
//!
//! Must not know: how what it shows came about.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::config::HostPort;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the broker can do its work; empty is well.
#[derive(Debug)]
pub(crate) struct Health(RwLock<Vec<String>>);

impl Health {
    /// Not ready yet.
    pub(crate) fn starting() -> Arc<Self> {
        Arc::new(Self(RwLock::new(vec!["starting".to_owned()])))
    }

    /// Says what is wrong, from here on.
    pub(crate) fn set(&self, troubles: Vec<String>) {
        *self.0.write() = troubles;
    }

    pub(crate) fn troubles(&self) -> Vec<String> {
        self.0.read().clone()
    }
}

/// The address for metrics cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (metrics.listener): {source}")]
pub struct HttpError {
    address: HostPort,
    source: std::io::Error,
}

/// The listening socket, not served yet.
#[derive(Debug)]
pub(crate) struct HttpServer {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

#[derive(Clone)]
struct Shown {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl HttpServer {
    pub(crate) async fn bind(address: &HostPort) -> Result<Self, HttpError> {
        let error = |source| HttpError { address: address.clone(), source };
        let listener = TcpListener::bind((address.host.as_str(), address.port)).await.map_err(error)?;
        let bound = listener.local_addr().map_err(error)?;
        Ok(Self { listener, address: bound })
    }

    pub(crate) async fn serve(self, metrics: Arc<Metrics>, health: Arc<Health>, shutdown: CancellationToken) {
        let router = Router::new()
            .route("/metrics", get(show_metrics))
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(show_readiness))
            .with_state(Shown { metrics, health });
        let served = axum::serve(self.listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "metrics are no longer served");
        }
    }
}

async fn show_metrics(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shown.metrics.encode())
}

async fn show_readiness(State(shown): State<Shown>) -> (StatusCode, String) {
    let troubles = shown.health.troubles();
    if troubles.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n")
}
