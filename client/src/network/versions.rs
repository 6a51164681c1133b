//! What one broker serves, as it told when the connection was made (KIP-35, KIP-511).
//!
//! Must not know: sockets, what the APIs do.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use cairn_protocol::messages::ApiVersionsResponse;
use cairn_protocol::{ApiKey, Request};

/// The ranges of one broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    served: HashMap<i16, RangeInclusive<i16>>,
}

impl Versions {
    pub(crate) fn from_response(response: &ApiVersionsResponse) -> Self {
        let served = response.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version));
        Self { served: served.collect() }
    }

    /// The latest version of `R` within `wanted` that both sides know, if there is one.
    pub(crate) fn choose<R: Request>(&self, wanted: RangeInclusive<i16>) -> Option<i16> {
        let served = self.served.get(&R::KEY.code())?;
        let first = *[R::VERSIONS.start(), served.start(), wanted.start()].into_iter().max()?;
        let last = *[R::VERSIONS.end(), served.end(), wanted.end()].into_iter().min()?;
        (first <= last).then_some(last)
    }

    /// For error messages: what is served of `api`.
    pub(crate) fn describe(&self, api: ApiKey) -> String {
        match self.served.get(&api.code()) {
            None => "it does not serve it at all".to_owned(),
            Some(range) => format!("it serves versions {} to {}", range.start(), range.end()),
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::messages::api_versions_response::ApiVersion;
    use cairn_protocol::messages::{FetchRequest, MetadataRequest};

    use super::*;

    #[test]
    fn the_latest_common_version_wins() {
        let api = |api_key, min_version, max_version| ApiVersion { api_key, min_version, max_version };
        let response =
            ApiVersionsResponse { api_keys: vec![api(1, 4, 18), api(3, 20, 30)], ..ApiVersionsResponse::default() };
        let versions = Versions::from_response(&response);
        assert_eq!(versions.choose::<FetchRequest>(0..=12), Some(12));
        assert_eq!(versions.choose::<FetchRequest>(0..=99), Some(18));
        assert_eq!(versions.choose::<FetchRequest>(0..=3), None);
        assert_eq!(versions.choose::<MetadataRequest>(0..=99), None);
        assert_eq!(versions.describe(ApiKey::Metadata), "it serves versions 20 to 30");
        assert_eq!(versions.describe(ApiKey::Produce), "it does not serve it at all");
    }
}
