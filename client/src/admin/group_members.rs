//! Members that leave their group because somebody else says so (KIP-345).
//!
//! Must not know: how a member leaves by itself.

use std::sync::Arc;

use cairn_protocol::messages::LeaveGroupRequest;
use cairn_protocol::messages::leave_group_request::MemberIdentity;

use super::error::checked;
use super::groups::called;
use super::{Admin, AdminError};

/// Several members can be named from version 3 on.
const VERSIONS: std::ops::RangeInclusive<i16> = 3..=5;
const REASON: &str = "an administrator has removed it";

/// Whom to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemovedMember {
    /// The member of this id.
    Id(Box<str>),
    /// The static member of this instance, whatever its id is now.
    Instance(Box<str>),
}

impl Admin {
    /// Removes members from a classic group, which divides their partitions among the others. Who is alive joins again.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When there is no such group or member (`UNKNOWN_MEMBER_ID`); others may be removed.
    pub async fn remove_members(&self, group: &str, members: &[RemovedMember]) -> Result<(), AdminError> {
        let name: Arc<str> = group.into();
        self.retry_at_coordinator(&name, || async {
            let request = LeaveGroupRequest {
                group_id: group.into(),
                members: members.iter().map(RemovedMember::identity).collect(),
                ..LeaveGroupRequest::default()
            };
            let answer = self.ask_coordinator(&name, VERSIONS, |_| request).await?;
            checked(&called(group), answer.error_code, None)?;
            for member in &answer.members {
                let of = member.group_instance_id.as_deref().unwrap_or(&member.member_id);
                checked(&format!("member {of} of {}", called(group)), member.error_code, None)?;
            }
            Ok(())
        })
        .await
    }
}

impl RemovedMember {
    fn identity(&self) -> MemberIdentity {
        let (member_id, group_instance_id) = match self {
            Self::Id(id) => (id.clone(), None),
            Self::Instance(instance) => (Box::default(), Some(instance.clone())),
        };
        MemberIdentity { member_id, group_instance_id, reason: Some(REASON.into()) }
    }
}
