//! IncrementalAlterConfigs, versions 0 and 1: sets, deletes, appends to and subtracts from single configs of topics, of this
//! broker, of all brokers (the empty name) and of this broker's loggers (KIP-339).
//!
//! - All changes of one resource are made, or none of them; they are in force when the answer comes.
//! - A resource that stands in the request twice, or a config twice in a resource, is refused with INVALID_REQUEST.
//! - Append and subtract are for lists; they begin from the value in force, those of brokers from what is set.
//! - Broker configs that cannot be set while a broker runs are refused with INVALID_REQUEST; those that Kafka has and that mean
//!   nothing here are kept and told.
//! - Deleting what is not there is no error. Validate-only does all checks and changes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use cairn_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use cairn_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::resources::{Change, Mode, Operation, Resource, check_once};

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> Outcome<IncrementalAlterConfigsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let mode = Mode::from(request.validate_only);
        let mut seen = HashSet::new();
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in &request.resources {
            let altered = if seen.insert((resource.resource_type, &*resource.resource_name)) {
                alter(&node, resource, mode).await
            } else {
                Err(Refusal::new(ErrorCode::InvalidRequest, "the resource stands in the request more than once"))
            };
            responses.push(AlterConfigsResourceResponse {
                error_code: altered.as_ref().err().map_or(ErrorCode::None, |refusal| refusal.error).code(),
                error_message: altered.err().map(|refusal| refusal.message),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
            });
        }
        IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
    })
}

async fn alter(node: &Node, wanted: &AlterConfigsResource, mode: Mode) -> Result<(), Refusal> {
    let resource = Resource::parse(node, wanted.resource_type, &wanted.resource_name)?;
    check_once(wanted.configs.iter().map(|config| &*config.name))?;
    let mut changes = Vec::with_capacity(wanted.configs.len());
    for config in &wanted.configs {
        let operation = Operation::parse(&config.name, config.config_operation, config.value.as_deref())?;
        changes.push(Change { name: &config.name, operation });
    }
    resource.alter(node, &changes, mode).await
}
