//! Makes a topic, looks at it, changes it and deletes it: `cargo run --example admin -- localhost:9092`.

use cairn_client::{Client, ConfigChange, ConfigSource, NewTopic};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    let admin = Client::new(&bootstrap)?.admin();

    let cluster = admin.describe_cluster().await?;
    println!("cluster {} with {} broker(s)", cluster.id, cluster.brokers.len());

    let name = format!("example-admin-{}", std::process::id());
    admin.create_topic(&NewTopic::new(&name).partitions(2).config("retention.ms", "3600000")).await?;
    admin.create_partitions(&name, 4).await?;
    let change = ConfigChange::Set { key: "max.message.bytes".into(), value: "65536".into() };
    admin.alter_topic_configs(&name, &[change]).await?;

    let topic = admin.describe_topic(&name).await?;
    println!("{} ({}) has {} partitions", topic.name, topic.id, topic.partitions.len());
    for config in admin.describe_topic_configs(&name).await? {
        if config.source == ConfigSource::Topic {
            println!("  {}={}", config.name, config.value.as_deref().unwrap_or_default());
        }
    }
    admin.delete_topic(&name).await?;
    println!("deleted");
    Ok(())
}
