//! ListConfigResources, versions 0 and 1: what has configs that can be described, by kind (KIP-1142).
//!
//! - Topics, brokers and their loggers; of groups and client metrics those for which configs are set.
//! - Version 0 asks for client metrics alone; without kinds version 1 asks for all. A kind that is none: UNSUPPORTED_VERSION.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_metadata::{ConfigResource, Image};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::list_config_resources_response::ConfigResource as Listed;
use cairn_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::resources::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};

/// All kinds.
const KINDS: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

pub(super) fn handle(
    node: &Arc<Node>,
    call: &Call,
    request: ListConfigResourcesRequest,
) -> Outcome<ListConfigResourcesResponse> {
    let kinds: BTreeSet<i8> = match request.resource_types {
        _ if call.version == 0 => [CLIENT_METRICS].into(),
        kinds if kinds.is_empty() => KINDS.into(),
        kinds => kinds.into_iter().collect(),
    };
    if !kinds.iter().all(|kind| KINDS.contains(kind)) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return Outcome::Now(ListConfigResourcesResponse { error_code, ..ListConfigResourcesResponse::default() });
    }
    let image = node.image();
    let mut config_resources = Vec::new();
    for kind in kinds {
        let listed = |resource_name| Listed { resource_name, resource_type: kind };
        config_resources.extend(names(&image, kind).into_iter().map(listed));
    }
    Outcome::Now(ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() })
}

fn names(image: &Image, kind: i8) -> BTreeSet<Box<str>> {
    match kind {
        TOPIC => image.topics().map(|topic| (*topic.name).into()).collect(),
        BROKER | BROKER_LOGGER => image.brokers().map(|broker| broker.id.to_string().into()).collect(),
        kind => image
            .config_resources()
            .filter_map(|resource| match resource {
                ConfigResource::Group(name) if kind == GROUP => Some(name.clone()),
                ConfigResource::ClientMetrics(name) if kind == CLIENT_METRICS => Some(name.clone()),
                _ => None,
            })
            .collect(),
    }
}
