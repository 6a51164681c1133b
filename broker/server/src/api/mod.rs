//! The APIs that are served: one file each, whose header says its versions and behaviours.
//!
//! An API is served in all the versions that Apache Kafka 4.3 advertises for it, or left out.
//!
//! Must not know: frames, sockets.

use std::sync::Arc;

use cairn_protocol::{ApiKey, Reader};

use crate::dispatch::{Call, serve};
use crate::net::Answer;
use crate::node::Node;

pub(crate) mod addresses;
pub(crate) mod authorized;
mod led;
pub(crate) mod once;
pub(crate) mod refusal;

/// Where an answer tells for how long its client shall wait, if it does.
macro_rules! throttle_time {
    () => {
        |response| Some(&mut response.throttle_time_ms)
    };
    (untold) => {
        |_| None
    };
}

macro_rules! apis {
    ($($key:ident => $module:ident $(, throttle $untold:ident)?);+ $(;)?) => {
        $(mod $module;)+

        /// The APIs that ApiVersions shows, by key.
        pub(crate) const SERVED: &[ApiKey] = &[$(ApiKey::$key),+];

        /// Has the API handle the request.
        pub(crate) fn dispatch(node: &Arc<Node>, call: Call, reader: Reader) -> Answer {
            if !is_served(call.api, call.version) {
                return refuse(node, &call);
            }
            match call.api {
                $(ApiKey::$key => serve(node, call, reader, $module::handle, throttle_time!($($untold)?)),)+
                _ => refuse(node, &call),
            }
        }
    };
}

apis! {
    Produce => produce;
    Fetch => fetch;
    ListOffsets => list_offsets;
    Metadata => metadata;
    OffsetCommit => offset_commit;
    OffsetFetch => offset_fetch;
    FindCoordinator => find_coordinator;
    JoinGroup => join_group;
    Heartbeat => heartbeat;
    LeaveGroup => leave_group;
    SyncGroup => sync_group;
    DescribeGroups => describe_groups;
    ListGroups => list_groups;
    ApiVersions => api_versions;
    CreateTopics => create_topics;
    DeleteTopics => delete_topics;
    DeleteRecords => delete_records;
    InitProducerId => init_producer_id;
    OffsetForLeaderEpoch => offset_for_leader_epoch;
    DescribeConfigs => describe_configs;
    AlterConfigs => alter_configs;
    AlterReplicaLogDirs => alter_replica_log_dirs;
    DescribeLogDirs => describe_log_dirs;
    CreatePartitions => create_partitions;
    DeleteGroups => delete_groups;
    ElectLeaders => elect_leaders;
    IncrementalAlterConfigs => incremental_alter_configs;
    AlterPartitionReassignments => alter_partition_reassignments;
    ListPartitionReassignments => list_partition_reassignments;
    OffsetDelete => offset_delete;
    DescribeClientQuotas => describe_client_quotas;
    AlterClientQuotas => alter_client_quotas;
    DescribeUserScramCredentials => describe_user_scram_credentials;
    DescribeQuorum => describe_quorum, throttle untold;
    DescribeCluster => describe_cluster;
    DescribeProducers => describe_producers;
    UnregisterBroker => unregister_broker;
    ConsumerGroupHeartbeat => consumer_group_heartbeat;
    ConsumerGroupDescribe => consumer_group_describe;
    ListConfigResources => list_config_resources;
    DescribeTopicPartitions => describe_topic_partitions;
}

/// Whether requests of this version are handled. Produce shows versions from 0 on, and has them from 3 on.
fn is_served(api: ApiKey, version: i16) -> bool {
    api.versions().contains(&version) && api.advertised_versions().contains(&version)
}

/// A version that is not known is answered for ApiVersions alone (KIP-511); for the others, as in Kafka, the connection
/// ends, and the broker's log says why.
fn refuse(node: &Arc<Node>, call: &Call) -> Answer {
    if call.api == ApiKey::ApiVersions {
        return api_versions::unsupported(node, call).map_or_else(Answer::Close, |pieces| Answer::Now(pieces.into()));
    }
    let shown = call.api.advertised_versions();
    if !SERVED.contains(&call.api) {
        return Answer::Close(format!("{} is not served", call.api).into());
    }
    let (first, last) = (shown.start(), shown.end());
    Answer::Close(format!("{} version {} is not served, only {first} to {last}", call.api, call.version).into())
}
