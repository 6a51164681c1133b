//! IncrementalAlterConfigs, versions 0 and 1: sets, deletes, appends to and subtracts from single configs of topics, of
//! groups, of this broker, of all brokers (the empty name) and of this broker's loggers (KIP-339).
//!
//! - All changes of one resource are made, or none of them; they are in force when the answer comes.
//! - Each resource that stands in the request twice, or a config twice in a resource, is refused with INVALID_REQUEST.
//! - Append and subtract are for lists; they begin from the value in force, those of brokers from what is set.
//! - Broker configs that cannot be set while a broker runs are refused with INVALID_REQUEST; those that Kafka has and that mean
//!   nothing here are kept and told.
//! - Deleting what is not there is no error. Validate-only does all checks and changes nothing.
//! - What the cluster's own topics cannot be without is not taken from them.

use std::sync::Arc;

use cairn_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use cairn_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use cairn_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::resources::{Altered, Change, Mode, Operation, Wanted, Wish, alter_each};

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> Outcome<IncrementalAlterConfigsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let wanted = request.resources.iter().map(|resource| Wanted {
            kind: resource.resource_type,
            name: &resource.resource_name,
            wish: wish(resource),
        });
        let altered = alter_each(&node, wanted.collect(), Mode::from(request.validate_only)).await;
        let responses = altered.into_iter().map(answer).collect();
        IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
    })
}

fn wish(wanted: &AlterConfigsResource) -> Result<Wish<'_>, Refusal> {
    let mut changes = Vec::with_capacity(wanted.configs.len());
    for config in &wanted.configs {
        let operation = Operation::parse(&config.name, config.config_operation, config.value.as_deref())?;
        changes.push(Change { name: &config.name, operation });
    }
    Ok(Wish::Change(changes))
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
