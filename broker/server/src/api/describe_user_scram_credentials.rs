//! DescribeUserScramCredentials, version 0: which SCRAM credentials users have. There is no SASL yet, so nobody has any; Kafka's tools
//! ask all the same when they describe the quotas of users.
//!
//! - Without names all users that have some: none. A user that is named: RESOURCE_NOT_FOUND; one that is named twice:
//!   DUPLICATE_RESOURCE.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use cairn_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};

use super::refusal::cut;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    _node: &Arc<Node>,
    _call: &Call,
    request: DescribeUserScramCredentialsRequest,
) -> Outcome<DescribeUserScramCredentialsResponse> {
    let mut named: BTreeMap<Box<str>, usize> = BTreeMap::new();
    for user in request.users.into_iter().flatten() {
        *named.entry(user.name).or_default() += 1;
    }
    let result = |(user, times): (Box<str>, usize)| {
        let (error, message) = if times > 1 {
            let twice = "Cannot describe SCRAM credentials for the same user twice in a single request";
            (ErrorCode::DuplicateResource, format!("{twice}: {user}"))
        } else {
            let none = "Attempt to describe a user credential that does not exist";
            (ErrorCode::ResourceNotFound, format!("{none}: {user}"))
        };
        DescribeUserScramCredentialsResult {
            user,
            error_code: error.code(),
            error_message: Some(cut(message)),
            credential_infos: Vec::new(),
        }
    };
    Outcome::Now(DescribeUserScramCredentialsResponse {
        error_message: None,
        results: named.into_iter().map(result).collect(),
        ..DescribeUserScramCredentialsResponse::default()
    })
}
