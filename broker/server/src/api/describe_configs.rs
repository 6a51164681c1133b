//! DescribeConfigs, versions 1 to 4: configs of topics, of groups, of this broker, of all brokers (the empty name) and of this
//! broker's loggers, each with value, source, synonyms, type and documentation.
//!
//! - All configs are told, set or not; or those that are asked for, unknown names left out. Of all brokers only what is set.
//! - A config is read-only when it cannot be set while the broker runs. None is sensitive yet.
//! - Synonyms and documentation only when asked for.
//! - A resource that is named more than once is answered once, as it stands first.
//! - Other brokers and other kinds of resources: INVALID_REQUEST.

use std::sync::Arc;

use cairn_metadata::configs::Synonymous;
use cairn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use cairn_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use cairn_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::once::once;
use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::resources::{Resource, Told};

pub(super) fn handle(node: &Arc<Node>, _call: &Call, request: DescribeConfigsRequest) -> Outcome<DescribeConfigsResponse> {
    let DescribeConfigsRequest { resources, include_synonyms, include_documentation } = request;
    let details = Details { synonyms: include_synonyms, documentation: include_documentation };
    let resources = once(resources, |resource| (resource.resource_type, resource.resource_name.clone()));
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

fn describe(node: &Node, wanted: &DescribeConfigsResource) -> Result<Vec<Told>, Refusal> {
    let mut all = Resource::parse(node, wanted.resource_type, &wanted.resource_name)?.describe(node)?;
    // Also an empty list means all.
    if let Some(keys) = wanted.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        all.retain(|told| keys.contains(&told.name));
    }
    Ok(all)
}

fn show(told: Told, details: Details) -> DescribeConfigsResourceResult {
    let synonym = |synonym: Synonymous| DescribeConfigsSynonym {
        name: synonym.name.into(),
        value: Some(synonym.value),
        source: synonym.source.wire(),
    };
    DescribeConfigsResourceResult {
        name: told.name,
        value: told.value,
        read_only: told.read_only,
        config_source: told.source.wire(),
        is_sensitive: false,
        synonyms: if details.synonyms { told.synonyms.into_iter().map(synonym).collect() } else { Vec::new() },
        config_type: told.kind.map_or(0, cairn_metadata::configs::ConfigKind::wire),
        documentation: told.doc.filter(|_| details.documentation).map(Into::into),
    }
}
