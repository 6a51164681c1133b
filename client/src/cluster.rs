//! What is known of the cluster: its brokers, its topics, who leads what, who coordinates which group.
//!
//! Must not know: records, offsets.

mod coordinator;
mod metadata;
mod renewal;
mod view;

pub(crate) use coordinator::{CoordinatorOf, Coordinators, FindError};
pub(crate) use metadata::{Metadata, Unknown};
pub(crate) use renewal::Renewal;
pub(crate) use view::{PartitionInfo, TopicInfo, View};
