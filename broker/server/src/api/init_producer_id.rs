//! InitProducerId, versions 0 to 5: an id for an idempotent producer (KIP-98), unique in the cluster for ever.
//!
//! - A producer without a transactional id always gets a new id with epoch 0, also when it names the one that it has.
//! - Transactions are not served yet: a transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which
//!   every client takes as final; a retriable code would make it hang until its own timeout.
//! - While the metadata cannot be changed: COORDINATOR_LOAD_IN_PROGRESS, as in Kafka, and the producer asks again. COORDINATOR_NOT_AVAILABLE
//!   would have it look for the coordinator of a transactional id that it does not have: kafka-python does so without end.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _call: &Call, request: InitProducerIdRequest) -> Outcome<InitProducerIdResponse> {
    let InitProducerIdRequest { transactional_id, .. } = request;
    if transactional_id.is_some() {
        return Outcome::Now(refused(ErrorCode::TransactionalIdAuthorizationFailed));
    }
    let node = Arc::clone(node);
    Outcome::alone(async move {
        match node.producer_ids.next(&node.cluster, node.id).await {
            Ok(id) => InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..InitProducerIdResponse::default() },
            Err(error) => {
                tracing::warn!(%error, "no producer ids to give");
                refused(ErrorCode::CoordinatorLoadInProgress)
            }
        }
    })
}

fn refused(error: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    }
}
