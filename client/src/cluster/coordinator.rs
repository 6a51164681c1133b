//! Which broker coordinates which group, and which transactional id.
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

/// What is coordinated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CoordinatorOf {
    Group,
    Transaction,
}

impl CoordinatorOf {
    fn code(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::Transaction => 1,
        }
    }

    /// Transactions came with version 1.
    fn versions(self) -> std::ops::RangeInclusive<i16> {
        match self {
            Self::Group => VERSIONS,
            Self::Transaction => 1..=*VERSIONS.end(),
        }
    }
}

/// Why a coordinator is not known.
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
    found: Mutex<HashMap<(CoordinatorOf, Arc<str>), BrokerId>>,
}

impl Coordinators {
    pub(crate) fn new(metadata: Arc<Metadata>) -> Self {
        Self { metadata, found: Mutex::default() }
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
        self.connect_of(CoordinatorOf::Group, group, lane, timeout).await
    }

    /// A connection to the coordinator.
    ///
    /// Cancel-safe.
    pub(crate) async fn connect_of(
        &self,
        of: CoordinatorOf,
        name: &Arc<str>,
        lane: Lane,
        timeout: std::time::Duration,
    ) -> Result<Connection, FindError> {
        let key = (of, Arc::clone(name));
        let known = self.found.lock().get(&key).copied();
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.find(of, name, timeout).await?;
                self.found.lock().insert(key, id);
                id
            }
        };
        Ok(self.metadata.connect(id, lane).await?)
    }

    /// The group's coordinator as it was found last.
    pub(crate) fn known(&self, group: &Arc<str>) -> Option<BrokerId> {
        self.found.lock().get(&(CoordinatorOf::Group, Arc::clone(group))).copied()
    }

    /// What was found of a group is wrong, or does not answer.
    pub(crate) fn forget(&self, group: &Arc<str>) {
        self.forget_of(CoordinatorOf::Group, group);
    }

    /// What was found is wrong, or does not answer.
    pub(crate) fn forget_of(&self, of: CoordinatorOf, name: &Arc<str>) {
        self.found.lock().remove(&(of, Arc::clone(name)));
    }

    async fn find(
        &self,
        of: CoordinatorOf,
        name: &Arc<str>,
        timeout: std::time::Duration,
    ) -> Result<BrokerId, FindError> {
        let connection = self.metadata.connect_any(Lane::Control).await?;
        let version = connection.version_of::<FindCoordinatorRequest>(of.versions())?;
        let key_type = of.code();
        let request = if version >= BY_LIST_FROM {
            let coordinator_keys = vec![(&**name).into()];
            FindCoordinatorRequest { key_type, coordinator_keys, ..FindCoordinatorRequest::default() }
        } else {
            FindCoordinatorRequest { key_type, key: (&**name).into(), ..FindCoordinatorRequest::default() }
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
