//! AlterConfigs, versions 0 to 2: has exactly the named configs set on topics, on this broker or on all brokers (the empty name).
//! Tools that are older than IncrementalAlterConfigs use it.
//!
//! - What is set and not named is deleted. All of one resource is changed, or nothing of it.
//! - A resource that stands in the request twice, or a config twice in a resource, is refused with INVALID_REQUEST; so are
//!   loggers, a config without a value, and broker configs that cannot be set while a broker runs.
//! - Validate-only does all checks and changes nothing.

use std::collections::HashSet;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::alter_configs_request::AlterConfigsResource;
use cairn_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use cairn_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::resources::{Mode, Resource, check_once};

pub(super) fn handle(node: &Arc<Node>, _call: &Call, request: AlterConfigsRequest) -> Outcome<AlterConfigsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let mode = Mode::from(request.validate_only);
        let mut seen = HashSet::new();
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in &request.resources {
            let altered = if seen.insert((resource.resource_type, &*resource.resource_name)) {
                replace(&node, resource, mode).await
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
        AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }
    })
}

async fn replace(node: &Node, wanted: &AlterConfigsResource, mode: Mode) -> Result<(), Refusal> {
    let resource = Resource::parse(node, wanted.resource_type, &wanted.resource_name)?;
    check_once(wanted.configs.iter().map(|config| &*config.name))?;
    let mut set = Vec::with_capacity(wanted.configs.len());
    for config in &wanted.configs {
        let Some(value) = config.value.as_deref() else {
            let message = format!("Null value not supported for : {}", config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        };
        set.push((&*config.name, value));
    }
    resource.replace(node, &set, mode).await
}
