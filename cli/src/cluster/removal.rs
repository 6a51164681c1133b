//! `cairn cluster remove`: a broker that is gone for good is no part of the cluster any more.
//!
//! Must not know: what the cluster does about it.

use anyhow::Context as _;
use cairn_client::{Admin, BrokerId};

use crate::args::ClusterRemoveArgs;
use crate::connect::client;
use crate::exit::{Failure, Outcome};
use crate::output::Output;

pub(super) async fn remove(args: ClusterRemoveArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    let broker = BrokerId(args.broker);
    if !args.keep_replicas {
        let kept = replicas_on(&admin, broker).await?;
        if kept > 0 {
            return Err(Failure::failed(format!(
                "broker {broker} has {kept} replicas still: move them (cairn cluster drain --broker {broker}), or give \
                 --keep-replicas and have another broker take its id"
            )));
        }
    }
    admin.unregister_broker(broker).await.context("cannot remove the broker")?;
    let mut output = Output::stdout();
    output.line(format!("broker {broker} was removed").as_bytes())?;
    output.flush()
}

async fn replicas_on(admin: &Admin, broker: BrokerId) -> anyhow::Result<usize> {
    let topics = admin.describe_all_topics().await.context("cannot describe topics")?;
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.filter(|partition| partition.replicas.contains(&broker)).count())
}
