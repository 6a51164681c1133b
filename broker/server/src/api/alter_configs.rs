//! AlterConfigs, versions 0 to 2: has exactly the named configs set on topics, groups, this broker or all brokers (the empty name).
//! Tools that are older than IncrementalAlterConfigs use it.
//!
//! - What is set and not named is deleted, but for what the cluster's own topics cannot be without. All of one resource is
//!   changed, or nothing of it.
//! - Each resource that stands in the request twice, or a config twice in a resource, is refused with INVALID_REQUEST; so are
//!   loggers, a config without a value, and broker configs that cannot be set while a broker runs.
//! - Validate-only does all checks and changes nothing.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::alter_configs_request::AlterConfigsResource;
use cairn_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use cairn_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::resources::{Altered, Mode, Wanted, Wish, alter_each};

pub(super) fn handle(node: &Arc<Node>, _call: &Call, request: AlterConfigsRequest) -> Outcome<AlterConfigsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let wanted = request.resources.iter().map(|resource| Wanted {
            kind: resource.resource_type,
            name: &resource.resource_name,
            wish: wish(resource),
        });
        let altered = alter_each(&node, wanted.collect(), Mode::from(request.validate_only)).await;
        AlterConfigsResponse { responses: altered.into_iter().map(answer).collect(), ..AlterConfigsResponse::default() }
    })
}

fn wish(wanted: &AlterConfigsResource) -> Result<Wish<'_>, Refusal> {
    let mut set = Vec::with_capacity(wanted.configs.len());
    for config in &wanted.configs {
        let Some(value) = config.value.as_deref() else {
            let message = format!("Null value not supported for : {}", config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        };
        set.push((&*config.name, value));
    }
    Ok(Wish::Replace(set))
}

fn answer(altered: Altered) -> AlterConfigsResourceResponse {
    let Altered { kind, name, error, message } = altered;
    AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message: message,
        resource_type: kind,
        resource_name: name,
    }
}
