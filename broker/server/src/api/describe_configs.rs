//! DescribeConfigs, versions 1 to 4: the configs of topics, each with value, source, synonyms, type and documentation.
//!
//! - All configs are told, set or not; or those that are asked for, unknown names left out.
//! - Synonyms and documentation only when asked for.
//! - Resources other than topics are not served yet: INVALID_REQUEST.

use std::sync::Arc;

use cairn_metadata::configs::{Described, Synonymous, describe_all};
use cairn_metadata::names;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use cairn_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use cairn_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

/// The number of topics among the kinds of resources.
pub(super) const TOPIC: i8 = 2;

pub(super) fn handle(node: &Arc<Node>, _call: &Call, request: DescribeConfigsRequest) -> Outcome<DescribeConfigsResponse> {
    let DescribeConfigsRequest { resources, include_synonyms, include_documentation } = request;
    let details = Details { synonyms: include_synonyms, documentation: include_documentation };
    let results = resources.iter().map(|resource| match describe(node, resource) {
        Ok(configs) => DescribeConfigsResult {
            error_message: None,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: configs.into_iter().map(|config| show(config, details)).collect(),
            ..DescribeConfigsResult::default()
        },
        Err(refusal) => DescribeConfigsResult {
            error_code: refusal.error.code(),
            error_message: Some(refusal.message),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..DescribeConfigsResult::default()
        },
    });
    Outcome::Now(DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() })
}

/// What is told beside the values.
#[derive(Clone, Copy)]
struct Details {
    synonyms: bool,
    documentation: bool,
}

fn describe(node: &Node, resource: &DescribeConfigsResource) -> Result<Vec<Described>, Refusal> {
    let name = &*resource.resource_name;
    if resource.resource_type != TOPIC {
        return Err(not_a_topic(resource.resource_type));
    }
    names::check_topic_name(name).map_err(|error| Refusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    let image = node.image();
    let topic = image.topic_by_name(name).ok_or_else(|| Refusal::unknown_topic(name))?;
    let mut all = describe_all(&topic.configs, &node.topic_defaults);
    if let Some(keys) = &resource.configuration_keys {
        all.retain(|described| keys.iter().any(|key| &**key == described.key.name));
    }
    Ok(all)
}

/// Configs of brokers and groups are not served yet.
pub(super) fn not_a_topic(resource_type: i8) -> Refusal {
    let message = format!("configs of resource type {resource_type} are not served, only those of topics ({TOPIC})");
    Refusal::new(ErrorCode::InvalidRequest, message)
}

fn show(described: Described, details: Details) -> DescribeConfigsResourceResult {
    let synonym = |synonym: Synonymous| DescribeConfigsSynonym {
        name: synonym.name.into(),
        value: Some(synonym.value),
        source: synonym.source.wire(),
    };
    DescribeConfigsResourceResult {
        name: described.key.name.into(),
        value: Some(described.value),
        read_only: false,
        config_source: described.source.wire(),
        is_sensitive: false,
        synonyms: if details.synonyms { described.synonyms.into_iter().map(synonym).collect() } else { Vec::new() },
        config_type: described.key.kind.wire(),
        documentation: details.documentation.then(|| described.key.doc.into()),
    }
}
