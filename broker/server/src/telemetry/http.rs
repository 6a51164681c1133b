//! The HTTP listener: `/metrics`, `/healthz`, `/readyz`, and what groups do as JSON under `/groups`.
//!
//! Must not know: how what it shows came about.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::RwLock;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::flight::Rebalance;
use super::observed::{GroupDetail, Loading, ObservedGroup};
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
            .route("/groups", get(list_groups))
            .route("/groups/{*name}", get(show_group))
            .with_state(Shown { metrics, health });
        let served = axum::serve(self.listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "metrics are no longer served");
        }
    }
}

/// All groups.
#[derive(Serialize)]
struct GroupList<'a> {
    /// Some groups are still being read, and missing.
    loading: bool,
    groups: Vec<GroupLine<'a>>,
}

/// A group, in short.
#[derive(Serialize)]
struct GroupLine<'a> {
    #[serde(flatten)]
    group: &'a ObservedGroup,
    lag_records: i64,
    lag_seconds: Option<f64>,
}

/// A group, with all that is remembered of it.
#[derive(Serialize)]
struct GroupStory {
    name: String,
    /// None: it is gone, and only its rebalances are remembered.
    now: Option<GroupDetail>,
    /// The oldest first.
    rebalances: Vec<Rebalance>,
}

async fn list_groups(State(shown): State<Shown>) -> Response {
    shown.metrics.observatory.refresh().await;
    let observed = shown.metrics.observatory.latest();
    let line = |group| {
        let (lag_records, lag_seconds) = ObservedGroup::lag(group);
        GroupLine { group, lag_records, lag_seconds }
    };
    json(
        StatusCode::OK,
        &GroupList { loading: observed.is_loading, groups: observed.groups.iter().map(line).collect() },
    )
}

async fn show_group(State(shown): State<Shown>, Path(name): Path<String>) -> Response {
    let now = match shown.metrics.observatory.group(name.clone()).await {
        Ok(now) => now,
        Err(Loading) => {
            return json(StatusCode::SERVICE_UNAVAILABLE, &Trouble { error: "the group is still being read" });
        }
    };
    let rebalances = shown.metrics.recorder.rebalances(&name);
    if now.is_none() && rebalances.is_empty() {
        return json(StatusCode::NOT_FOUND, &Trouble { error: "there is no such group" });
    }
    json(StatusCode::OK, &GroupStory { name, now, rebalances })
}

/// Why there is no answer.
#[derive(Serialize)]
struct Trouble {
    error: &'static str,
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_string(body).expect("what is told has names and numbers only");
    (status, [(header::CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

async fn show_metrics(State(shown): State<Shown>) -> impl IntoResponse {
    shown.metrics.observatory.refresh().await;
    ([(header::CONTENT_TYPE, OPEN_METRICS)], shown.metrics.encode())
}

async fn show_readiness(State(shown): State<Shown>) -> (StatusCode, String) {
    let troubles = shown.health.troubles();
    if troubles.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n")
}
