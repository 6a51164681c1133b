//! ApiVersions, versions 0 to 4: which APIs are served, and which features are finalized.
//!
//! - A version that is not known gets the body of version 0 with UNSUPPORTED_VERSION and the range of ApiVersions itself, so
//!   that the client can ask again (KIP-511).
//! - The client's software name and version (3 and later) must be Kafka's: letters, digits, `-` and `.`; else
//!   INVALID_REQUEST.
//! - Features are announced from the day that they work: `group.version`, whose level 1 is the consumer protocol of groups
//!   (KIP-848), is finalized. A supported range that begins at 0 is told from version 4 on only, as in Kafka (KAFKA-17011).

use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use cairn_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::SERVED;
use crate::dispatch::{Call, Outcome, encode};
use crate::node::Node;

/// The first version whose supported features may begin at 0.
const RANGES_FROM_0: i16 = 4;
/// The feature that says which protocols of groups there are.
const GROUP_VERSION: &str = "group.version";
/// Its level with the consumer protocol.
const CONSUMER_PROTOCOL: i16 = 1;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: ApiVersionsRequest) -> Outcome<ApiVersionsResponse> {
    let ApiVersionsRequest { client_software_name, client_software_version } = request;
    let named = is_software(&client_software_name) && is_software(&client_software_version);
    if call.version >= 3 && !named {
        return Outcome::Now(refusal(ErrorCode::InvalidRequest, Vec::new()));
    }
    let supported = SupportedFeatureKey { name: GROUP_VERSION.into(), min_version: 0, max_version: CONSUMER_PROTOCOL };
    let finalized = FinalizedFeatureKey {
        name: GROUP_VERSION.into(),
        max_version_level: CONSUMER_PROTOCOL,
        min_version_level: CONSUMER_PROTOCOL,
    };
    Outcome::Now(ApiVersionsResponse {
        api_keys: SERVED.iter().map(|key| shown(*key)).collect(),
        supported_features: if call.version >= RANGES_FROM_0 { vec![supported] } else { Vec::new() },
        finalized_features_epoch: i64::try_from(node.image().version()).unwrap_or(i64::MAX),
        finalized_features: vec![finalized],
        ..ApiVersionsResponse::default()
    })
}

/// The answer to a version that is not known.
pub(super) fn unsupported(node: &Node, call: &Call) -> Result<Vec<Bytes>, Box<str>> {
    node.metrics.error(call.api, ErrorCode::UnsupportedVersion);
    encode(call, 0, &refusal(ErrorCode::UnsupportedVersion, vec![shown(ApiKey::ApiVersions)]))
}

fn refusal(error: ErrorCode, api_keys: Vec<ApiVersion>) -> ApiVersionsResponse {
    ApiVersionsResponse { error_code: error.code(), api_keys, ..ApiVersionsResponse::default() }
}

fn shown(key: ApiKey) -> ApiVersion {
    let versions = key.advertised_versions();
    ApiVersion { api_key: key.code(), min_version: *versions.start(), max_version: *versions.end() }
}

/// Kafka's rule: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.iter().copied().all(inner) && outer(bytes.first()) && outer(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kafkas_rule() {
        for legal in ["librdkafka", "v1.2.3-rc", "a", "apache-kafka-java"] {
            assert!(is_software(legal), "{legal}");
        }
        for illegal in ["", "-a", "a-", "a b", "a_b", "a\u{e9}"] {
            assert!(!is_software(illegal), "{illegal}");
        }
    }
}
