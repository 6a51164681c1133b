//! What the broker tells about itself: metrics, and health over HTTP.
//!
//! Must not know: what requests mean.

mod flight;
mod http;
mod metrics;
mod observed;
mod replication;
mod times;

pub use http::HttpError;
pub(crate) use http::{Health, HttpServer};
pub(crate) use metrics::{Held, Metrics, RequestTimes};
pub(crate) use observed::{GroupDetail, Lag, Loading, Observe, Observed, ObservedGroup, ObservedMember, Traffic};
pub(crate) use replication::Standings;
