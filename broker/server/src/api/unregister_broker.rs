//! UnregisterBroker, version 0: a broker is gone for good (KIP-500).
//!
//! - Unknown: BROKER_ID_NOT_REGISTERED. Partitions keep it among their replicas, as in Kafka: they are moved, or another broker takes its id.
//! - A broker that serves is refused with INVALID_REQUEST; Kafka drops its registration and leaves its process running. Here its vote on the
//!   metadata goes with it, and its data is not taken again.
//! - Who is not the controller asks it. Nobody is, or it was not done in time: REQUEST_TIMED_OUT, which clients ask again on.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::membership::{Unregistered, ask_to_unregister};
use crate::node::Node;

#[expect(clippy::needless_pass_by_value, reason = "all APIs take their request by value")]
pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: UnregisterBrokerRequest,
) -> Outcome<UnregisterBrokerResponse> {
    let (node, broker) = (Arc::clone(node), BrokerId(request.broker_id));
    Outcome::alone(async move {
        let told = ask_to_unregister(&node.cluster, node.peers.as_ref(), broker).await;
        let refused = outcome(broker, told).err();
        UnregisterBrokerResponse {
            error_code: refused.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
            error_message: refused.map(|refusal| refusal.message),
            ..UnregisterBrokerResponse::default()
        }
    })
}

fn outcome(broker: BrokerId, told: Option<Unregistered>) -> Result<(), Refusal> {
    let (error, what) = match told {
        Some(Unregistered::Done) => return Ok(()),
        Some(Unregistered::Unknown) => (ErrorCode::BrokerIdNotRegistered, format!("broker {broker} is not registered")),
        Some(Unregistered::Alive) => (ErrorCode::InvalidRequest, format!("broker {broker} serves: stop it first")),
        Some(Unregistered::NotController) | None => {
            (ErrorCode::RequestTimedOut, "no controller is there that decides it".to_owned())
        }
        Some(Unregistered::Failed(why)) => (ErrorCode::RequestTimedOut, why.into()),
    };
    Err(Refusal::new(error, what))
}
