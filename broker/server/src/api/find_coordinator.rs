//! FindCoordinator, versions 0 to 6: which broker keeps a group's offsets. Several groups at once from version 4 on.
//!
//! - A group belongs to one partition of `__consumer_offsets`; its leader coordinates. The topic is made when it is first
//!   needed. A partition whose log dir is lost has no leader: COORDINATOR_NOT_AVAILABLE.
//! - Transactions are not served yet: TRANSACTIONAL_ID_AUTHORIZATION_FAILED with a message, which clients take as final.
//! - Share groups (6) are not served yet either: INVALID_REQUEST, as in a Kafka that has them switched off.

use std::sync::Arc;

use cairn_metadata::names::CONSUMER_OFFSETS_TOPIC;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::find_coordinator_response::Coordinator;
use cairn_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::addresses;
use super::led::led;
use super::once::once;
use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::topics;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: FindCoordinatorRequest) -> Outcome<FindCoordinatorResponse> {
    let FindCoordinatorRequest { key, key_type, coordinator_keys } = request;
    let keys = if call.version >= 4 { once(coordinator_keys, Box::clone) } else { vec![key] };
    if key_type != GROUP || node.image().topic_by_name(CONSUMER_OFFSETS_TOPIC).is_some() {
        return Outcome::Now(answer(node, call, key_type, keys));
    }
    let (node, call) = (Arc::clone(node), call.clone());
    Outcome::alone(async move {
        if let Err(error) = topics::make_missing(&node, CONSUMER_OFFSETS_TOPIC).await {
            tracing::warn!(%error, topic = CONSUMER_OFFSETS_TOPIC, "topic was not made");
        }
        answer(&node, &call, key_type, keys)
    })
}

fn answer(node: &Node, call: &Call, key_type: i8, keys: Vec<Box<str>>) -> FindCoordinatorResponse {
    let coordinators = keys.into_iter().map(|key| match find(node, call, key_type, &key) {
        Ok((node_id, address)) => Coordinator {
            key,
            node_id,
            host: address.host,
            port: i32::from(address.port),
            error_code: ErrorCode::None.code(),
            error_message: None,
        },
        Err(refusal) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: refusal.error.code(),
            error_message: Some(refusal.message),
            host: Box::default(),
        },
    });
    let mut coordinators: Vec<Coordinator> = coordinators.collect();
    if call.version >= 4 {
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let Coordinator { node_id, host, port, error_code, error_message, .. } = coordinators.remove(0);
    FindCoordinatorResponse {
        error_code,
        error_message,
        node_id,
        host,
        port,
        ..FindCoordinatorResponse::default()
    }
}

fn find(node: &Node, call: &Call, key_type: i8, key: &str) -> Result<(i32, addresses::Address), Refusal> {
    match key_type {
        GROUP => {}
        TRANSACTION => {
            let error = ErrorCode::TransactionalIdAuthorizationFailed;
            return Err(Refusal::new(error, "transactions are not served by this broker yet"));
        }
        other => {
            let message = format!("coordinators of key type {other} are not served by this broker");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
    }
    let unavailable = || Refusal::new(ErrorCode::CoordinatorNotAvailable, "the group's coordinator is not available");
    let image = node.image();
    let topic = image.topic_by_name(CONSUMER_OFFSETS_TOPIC).ok_or_else(unavailable)?;
    let index = cairn_groups::partition_of(key, topic.partition_count());
    let partition = topic.partition(index).ok_or_else(unavailable)?;
    let led = led(node, &image, topic.id, (index, partition));
    let leader = led.leader.and_then(|id| image.broker(id)).ok_or_else(unavailable)?;
    let address = addresses::of(node, call, leader).ok_or_else(unavailable)?;
    Ok((leader.id.0, address))
}
