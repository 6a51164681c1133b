//! IncrementalAlterConfigs, versions 0 and 1: sets, deletes, appends to and subtracts from single configs of topics (KIP-339).
//!
//! - All changes of one topic are made, or none of them.
//! - A resource that stands in the request twice, or a config twice in a resource, is refused with INVALID_REQUEST.
//! - Append and subtract are for lists; they begin from the value in force.
//! - Validate-only does all checks and changes nothing. Resources other than topics are not served yet.

use std::collections::HashSet;
use std::sync::Arc;

use cairn_metadata::configs::{self, ConfigKind, effective};
use cairn_metadata::{Command, ConfigChange, Topic};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use cairn_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::describe_configs::{TOPIC, not_a_topic};
use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> Outcome<IncrementalAlterConfigsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let mut seen = HashSet::new();
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in &request.resources {
            let altered = if seen.insert((resource.resource_type, &*resource.resource_name)) {
                alter(&node, resource, request.validate_only).await
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

async fn alter(node: &Node, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    if resource.resource_type != TOPIC {
        return Err(not_a_topic(resource.resource_type));
    }
    let image = node.image();
    let name = &*resource.resource_name;
    let topic = image.topic_by_name(name).ok_or_else(|| Refusal::unknown_topic(name))?;
    let mut seen = HashSet::new();
    let mut changes = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        if !seen.insert(&*config.name) {
            let message = format!("config '{}' stands in the request more than once", config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        changes.push(change(node, topic, config)?);
    }
    if !validate_only && !changes.is_empty() {
        node.cluster.propose(Command::SetTopicConfigs { id: topic.id, changes }).await?;
    }
    Ok(())
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// What one operation comes to: a value to keep, or none to delete.
fn change(node: &Node, topic: &Topic, config: &AlterableConfig) -> Result<ConfigChange, Refusal> {
    let name = config.name.clone();
    let unknown = || configs::ConfigError::Unknown { name: name.clone() };
    let key = configs::find(&name).ok_or_else(unknown)?;
    if config.config_operation == DELETE {
        return Ok(ConfigChange { name, value: None });
    }
    let Some(given) = config.value.as_deref() else {
        return Err(Refusal::new(ErrorCode::InvalidConfig, format!("config '{name}' has no value")));
    };
    let value = match config.config_operation {
        SET => key.check(given)?,
        APPEND | SUBTRACT if key.kind != ConfigKind::List => {
            let message = format!("config '{name}' is no list: nothing can be appended to or subtracted from it");
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        }
        APPEND => {
            let present = effective(key, &topic.configs, &node.topic_defaults);
            let added = words(given).filter(|word| words(&present).all(|known| known != *word));
            key.check(&words(&present).chain(added).collect::<Vec<_>>().join(","))?
        }
        SUBTRACT => {
            let present = effective(key, &topic.configs, &node.topic_defaults);
            let left = words(&present).filter(|word| words(given).all(|gone| gone != *word));
            key.check(&left.collect::<Vec<_>>().join(","))?
        }
        other => return Err(Refusal::new(ErrorCode::InvalidRequest, format!("unknown config operation {other}"))),
    };
    Ok(ConfigChange { name, value: Some(value) })
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}
