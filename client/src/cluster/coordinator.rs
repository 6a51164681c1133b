//! Which broker coordinates which group.
//!
//! Must not know: what coordinators are asked.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::FindCoordinatorRequest;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Metadata, Unknown};
use crate::error::{RequestError, check};
use crate::network::{Connection, Lane};

/// Version 4 is the first that asks for several keys at once.
const BY_LIST_FROM: i16 = 4;
const VERSIONS: std::ops::RangeInclusive<i16> = 0..=5;

/// Why a group's coordinator is not known.
#[derive(Clone, Debug)]
pub(crate) enum FindError {
    Request(RequestError),
    Refused(ErrorCode),
}

impl From<RequestError> for FindError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

/// The coordinators that were found.
pub(crate) struct Coordinators {
    metadata: Arc<Metadata>,
    of_groups: Mutex<HashMap<Arc<str>, BrokerId>>,
}

impl Coordinators {
    pub(crate) fn new(metadata: Arc<Metadata>) -> Self {
        Self { metadata, of_groups: Mutex::default() }
    }

    /// A connection to the group's coordinator.
    ///
    /// Cancel-safe.
    pub(crate) async fn connect(
        &self,
        group: &Arc<str>,
        lane: Lane,
        timeout: std::time::Duration,
    ) -> Result<Connection, FindError> {
        let known = self.of_groups.lock().get(group).copied();
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.find(group, timeout).await?;
                self.of_groups.lock().insert(Arc::clone(group), id);
                id
            }
        };
        Ok(self.metadata.connect(id, lane).await?)
    }

    /// The coordinator as it was found last.
    pub(crate) fn known(&self, group: &str) -> Option<BrokerId> {
        self.of_groups.lock().get(group).copied()
    }

    /// What was found is wrong, or does not answer.
    pub(crate) fn forget(&self, group: &str) {
        self.of_groups.lock().remove(group);
    }

    async fn find(&self, group: &Arc<str>, timeout: std::time::Duration) -> Result<BrokerId, FindError> {
        let connection = self.metadata.connect_any(Lane::Control).await?;
        let version = connection.version_of::<FindCoordinatorRequest>(VERSIONS)?;
        let request = if version >= BY_LIST_FROM {
            FindCoordinatorRequest { coordinator_keys: vec![(&**group).into()], ..FindCoordinatorRequest::default() }
        } else {
            FindCoordinatorRequest { key: (&**group).into(), ..FindCoordinatorRequest::default() }
        };
        let answer = connection.call(version, &request, timeout).await?;
        let (code, id) = match answer.coordinators.first() {
            Some(found) => (found.error_code, found.node_id),
            None => (answer.error_code, answer.node_id),
        };
        check(code).map_err(FindError::Refused)?;
        let id = BrokerId(id);
        if !self.metadata.view().brokers.contains_key(&id) {
            self.metadata.refresh(&[], Unknown::Refuse, Instant::now()).await?;
        }
        Ok(id)
    }
}
