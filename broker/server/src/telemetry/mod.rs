//! What the broker tells about itself: metrics, and health over HTTP.
//!
//! Must not know: what requests mean.

mod http;
mod metrics;

pub use http::HttpError;
pub(crate) use http::{Health, HttpServer};
pub(crate) use metrics::Metrics;
