//! Gives out producer ids, from blocks that the cluster gives to this broker: no id is ever given twice, whatever crashes.
//!
//! Must not know: who asks for an id.

use cairn_metadata::{Answer, Command, ProducerIdBlock};
use cairn_protocol::ids::{BrokerId, ProducerId};
use tokio::sync::Mutex;

use crate::cluster::{Cluster, ProposeError};

/// What is left of the last block.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds {
    // A fair, asynchronous lock: who waits for a new block is to wait behind the one that fetches it.
    left: Mutex<Option<ProducerIdBlock>>,
}

impl ProducerIds {
    /// An id that nobody else has. Cancel-safe: at worst a block is fetched and not used.
    pub(crate) async fn next(&self, cluster: &Cluster, broker: BrokerId) -> Result<ProducerId, ProposeError> {
        let mut left = self.left.lock().await;
        let block = match left.take() {
            Some(block) => block,
            None => fetch(cluster, broker).await?,
        };
        let ProducerIdBlock { first, len } = block;
        *left = (len > 1).then_some(ProducerIdBlock { first: ProducerId(first.0 + 1), len: len - 1 });
        Ok(first)
    }
}

async fn fetch(cluster: &Cluster, broker: BrokerId) -> Result<ProducerIdBlock, ProposeError> {
    let epoch = cluster.image().broker(broker).map(|known| known.epoch).unwrap_or_default();
    match cluster.propose(Command::AllocateProducerIds { broker, epoch }).await? {
        Answer::ProducerIds(block) => Ok(block),
        other => unreachable!("an allocation is not answered by {other:?}"),
    }
}
