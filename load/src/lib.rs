//! Load on a Kafka cluster at a schedule, and what it cost: throughput, latencies from when records were due, processor time.
//!
//! `cairn bench` and the benches run it. One [`run`] makes a topic, loads it as a [`Plan`] says, and deletes it.
//!
//! Must not know: which broker it meets, how results are shown.

mod control;
mod latency;
mod outcome;
mod plan;
mod processor;
mod reader;
mod run;
mod schedule;
mod sender;

pub use control::Control;
pub use latency::{Latencies, LatencySummary};
pub use outcome::{Lane, LaneReport, Outcome, Second};
pub use plan::{Plan, PlanError, Rate, Workload};
pub use processor::processor_time;
pub use reader::ReadError;
pub use run::{LoadError, run};
pub use schedule::Schedule;
