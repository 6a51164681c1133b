//! A table on a compacted topic that is killed in the middle, and comes back from its checkpoint and the log after it:
//! `cargo run -p cairn-client --example table -- localhost:9092`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use cairn_client::{Client, NewTopic};

const KEYS: i32 = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let bootstrap = words.next().unwrap_or_else(|| "localhost:9092".to_owned());
    let client = Client::new(&bootstrap)?;
    if let (Some(topic), Some(file)) = (words.next(), words.next()) {
        return write_until_killed(&client, &topic, &file).await;
    }
    let topic = format!("example-table-{}", std::process::id());
    let file = std::env::temp_dir().join(&topic);
    client.admin().create_topic(&NewTopic::new(&topic).partitions(2).config("cleanup.policy", "compact")).await?;

    // The same program in a process of its own, which says when it has written everything, and is killed.
    let mut command = Command::new(std::env::current_exe()?);
    let mut writer = command.args([&bootstrap, &topic]).arg(&file).stdout(Stdio::piped()).spawn()?;
    let output = writer.stdout.take().ok_or("it has an output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if line == "written" {
            break;
        }
    }
    writer.kill()?;
    writer.wait()?;
    println!("killed");

    // All of the table in ten lines: open, look, change, close.
    let table = client.table(topic.as_str()).checkpoint(&file).open().await?;
    let restored = table.restored();
    println!("{} keys of the checkpoint, {} records replayed", restored.from_checkpoint, restored.replayed);
    println!("key-7 = {:?}, key-{} = {:?}", table.get("key-7"), KEYS - 1, table.get(format!("key-{}", KEYS - 1)));
    table.put("key-7", "a third value").await?;
    println!("key-7 = {:?}, {} keys", table.get("key-7"), table.len());
    table.close().await?;

    client.admin().delete_topic(&topic).await?;
    std::fs::remove_file(&file)?;
    Ok(())
}

/// A checkpoint, then some more that only the log has.
async fn write_until_killed(client: &Client, topic: &str, file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let table = client.table(topic).checkpoint(file).open().await?;
    for key in 0..KEYS {
        table.put(format!("key-{key}"), "the first value").await?;
    }
    table.checkpoint().await?;
    for key in 0..10 {
        table.put(format!("key-{key}"), "the second value").await?;
    }
    table.remove(format!("key-{}", KEYS - 1)).await?;
    println!("written");
    std::future::pending().await
}
