//! DescribeCluster, versions 0 to 2: the cluster's id and the brokers with their addresses (KIP-700).
//!
//! - Endpoints of controllers (1 and later) belong to a listener of their own: asked for here, MISMATCHED_ENDPOINT_TYPE.
//! - Fenced brokers are shown from version 2 on, when asked for.

use std::sync::Arc;

use cairn_metadata::{Broker, Image};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use cairn_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::{addresses, authorized};
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

#[expect(clippy::needless_pass_by_value, reason = "all APIs take their request by value")]
pub(super) fn handle(node: &Arc<Node>, call: &Call, request: DescribeClusterRequest) -> Outcome<DescribeClusterResponse> {
    let DescribeClusterRequest { include_cluster_authorized_operations, endpoint_type, include_fenced_brokers } = request;
    if endpoint_type != BROKERS {
        let error = if endpoint_type == CONTROLLERS {
            ErrorCode::MismatchedEndpointType
        } else {
            ErrorCode::UnsupportedEndpointType
        };
        return Outcome::Now(DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(error.message().into()),
            endpoint_type,
            ..DescribeClusterResponse::default()
        });
    }
    let image = node.image();
    let operations = if include_cluster_authorized_operations { authorized::CLUSTER } else { authorized::NOT_ASKED };
    Outcome::Now(DescribeClusterResponse {
        error_message: None,
        endpoint_type,
        cluster_id: image.cluster_id().map(|id| id.to_string().into()).unwrap_or_default(),
        controller_id: node.cluster.controller().map_or(-1, |id| id.0),
        brokers: brokers(node, call, &image, include_fenced_brokers),
        cluster_authorized_operations: operations,
        ..DescribeClusterResponse::default()
    })
}

fn brokers(node: &Node, call: &Call, image: &Image, fenced_too: bool) -> Vec<DescribeClusterBroker> {
    let shown = |broker: &Broker| {
        let address = addresses::of(node, call, broker)?;
        Some(DescribeClusterBroker {
            broker_id: broker.id.0,
            host: address.host,
            port: i32::from(address.port),
            rack: broker.rack.clone(),
            is_fenced: broker.fenced && broker.id != node.id,
        })
    };
    let wanted = |broker: &&Broker| fenced_too || !broker.fenced || broker.id == node.id;
    image.brokers().filter(wanted).filter_map(shown).collect()
}
