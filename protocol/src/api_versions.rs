//! Answers to ApiVersions: what is served, which features there are, and what to say to a version that is not known.
//!
//! Must not know: which APIs a broker serves (it passes them), connections.

use std::ops::RangeInclusive;

use crate::api::ApiKey;
use crate::error_code::ErrorCode;
use crate::messages::ApiVersionsResponse;
use crate::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};

/// One API as it is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedApi {
    /// The API.
    pub key: ApiKey,
    /// The versions that clients may use.
    pub versions: RangeInclusive<i16>,
}

impl ServedApi {
    /// An API at the versions that Apache Kafka 4.3 announces.
    #[must_use]
    pub fn as_kafka(key: ApiKey) -> Self {
        Self { key, versions: key.advertised_versions() }
    }
}

/// A feature that the broker can do at several levels (KIP-584).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    /// Kafka's name, as `group.version`.
    pub name: Box<str>,
    /// The levels.
    pub levels: RangeInclusive<i16>,
}

/// A feature's level that the cluster has settled on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalizedFeature {
    /// Kafka's name.
    pub name: Box<str>,
    /// The level.
    pub level: i16,
}

/// All features that are announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// What the broker can do.
    pub supported: Vec<SupportedFeature>,
    /// What is in force.
    pub finalized: Vec<FinalizedFeature>,
    /// The version of `finalized`, which goes up with each change; `None` while it is not known.
    pub finalized_epoch: Option<i64>,
}

impl Features {
    /// Nothing to announce.
    pub const NONE: Self = Self { supported: Vec::new(), finalized: Vec::new(), finalized_epoch: None };
}

/// The answer in a version that is served.
#[must_use]
pub fn answer(version: i16, served: &[ServedApi], features: &Features) -> ApiVersionsResponse {
    // Java clients before version 4 of the answer refuse a feature whose levels begin with 0 (KAFKA-17011).
    let is_readable = |feature: &&SupportedFeature| version >= 4 || *feature.levels.start() > 0;
    let supported = features.supported.iter().filter(is_readable).map(|feature| SupportedFeatureKey {
        name: feature.name.clone(),
        min_version: *feature.levels.start(),
        max_version: *feature.levels.end(),
    });
    let finalized = features.finalized.iter().map(|feature| FinalizedFeatureKey {
        name: feature.name.clone(),
        max_version_level: feature.level,
        min_version_level: feature.level,
    });
    ApiVersionsResponse {
        api_keys: served.iter().map(announced).collect(),
        supported_features: supported.collect(),
        finalized_features: finalized.collect(),
        finalized_features_epoch: features.finalized_epoch.unwrap_or(-1),
        ..ApiVersionsResponse::default()
    }
}

/// The body for a version that is not served: sent as version 0, it names the versions of ApiVersions alone, so that the
/// client asks again (KIP-511).
#[must_use]
pub fn unsupported(served: &[ServedApi]) -> ApiVersionsResponse {
    let own = served.iter().filter(|api| api.key == ApiKey::ApiVersions).map(announced);
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: own.collect(),
        ..ApiVersionsResponse::default()
    }
}

fn announced(api: &ServedApi) -> ApiVersion {
    ApiVersion { api_key: api.key.code(), min_version: *api.versions.start(), max_version: *api.versions.end() }
}

/// Whether a client's software may be called, or be of version, `text` (KIP-511): letters, digits, dots and dashes, with a letter or digit at
/// both ends. Another is answered with INVALID_REQUEST.
#[must_use]
pub fn is_valid_software_name(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Message;

    fn served() -> Vec<ServedApi> {
        vec![ServedApi::as_kafka(ApiKey::Produce), ServedApi::as_kafka(ApiKey::ApiVersions)]
    }

    #[test]
    fn what_is_served_is_announced() {
        let features = Features {
            supported: vec![
                SupportedFeature { name: "group.version".into(), levels: 0..=1 },
                SupportedFeature { name: "metadata.version".into(), levels: 7..=29 },
            ],
            finalized: vec![FinalizedFeature { name: "metadata.version".into(), level: 29 }],
            finalized_epoch: Some(4),
        };
        let names = |version| {
            let answer = answer(version, &served(), &features);
            assert!(answer.to_bytes(version).is_ok());
            let names = answer.supported_features.into_iter().map(|feature| feature.name.into_string());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(3), ["metadata.version"]);
        assert_eq!(names(4), ["group.version", "metadata.version"]);
        // A version without features says the rest.
        let old = answer(0, &served(), &features).to_bytes(0).unwrap();
        assert_eq!(old, &b"\0\0\0\0\0\x02\0\0\0\0\0\x0d\0\x12\0\0\0\x04"[..]);
    }

    #[test]
    fn an_unknown_version_is_told_the_known_ones() {
        let body = unsupported(&served());
        assert_eq!(body.to_bytes(0).unwrap(), &b"\0\x23\0\0\0\x01\0\x12\0\0\0\x04"[..]);
    }

    #[test]
    fn software_names() {
        for good in ["kcat", "apache-kafka-java", "4.3.1", "x", "3.9.0-SNAPSHOT"] {
            assert!(is_valid_software_name(good), "{good}");
        }
        for bad in ["", "-kcat", "kcat-", "ka cat", "kcat\0", "käse", "."] {
            assert!(!is_valid_software_name(bad), "{bad:?}");
        }
    }
}
