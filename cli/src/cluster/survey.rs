//! What a cluster tells of itself, gathered in a few requests.
//!
//! Must not know: what is wrong with it.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use cairn_client::{
    Admin, AdminError, ClusterDescription, OngoingReassignment, RequestError, TopicDescription, TopicPartition,
};

const MIN_IN_SYNC: &str = "min.insync.replicas";

/// A cluster at one moment.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    pub(super) cluster: ClusterDescription,
    pub(super) topics: Vec<TopicDescription>,
    /// `min.insync.replicas` of each topic.
    pub(super) min_in_sync: HashMap<Box<str>, usize>,
    pub(super) moves: BTreeMap<TopicPartition, OngoingReassignment>,
}

/// Asks for all of it.
pub(super) async fn survey(admin: &Admin) -> Result<Survey> {
    let cluster = admin.describe_cluster().await.context("cannot describe the cluster")?;
    let topics = admin.describe_all_topics().await.context("cannot describe topics")?;
    let names: Vec<Box<str>> = topics.iter().map(|topic| topic.name.clone()).collect();
    let told = admin.describe_config_of_topics(&names, MIN_IN_SYNC).await;
    let told = told.context("cannot read the topics' configuration")?;
    let min_in_sync = told.into_iter().filter_map(|(topic, value)| Some((topic, value.parse().ok()?))).collect();
    let moves = match admin.list_partition_reassignments().await {
        // Who does not serve it has none.
        Err(AdminError::Request(RequestError::Unsupported { .. })) => BTreeMap::new(),
        moves => moves.context("cannot list reassignments")?,
    };
    Ok(Survey { cluster, topics, min_in_sync, moves })
}
