//! Log dirs that are there and cannot be used: a file in their place, a file system that is mounted read-only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_protocol::error_code::ErrorCode;

use crate::log_dirs::{Dirs, STORAGE_ERROR, described, fill, filled_but, read};
use crate::records::{batch, make_topic, produce, produced};

#[tokio::test]
async fn a_file_in_the_place_of_a_dir_is_a_dir_that_is_offline() {
    let dirs = Dirs::new(&["a", "b"]);
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    let lost = described(&mut client, "t").await["b"].1.clone();
    broker.shutdown().await;
    fs::rename(dirs.path("b"), dirs.path("aside")).unwrap();
    fs::write(dirs.path("b"), b"not a folder").unwrap();

    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &lost));
    assert_eq!(described(&mut client, "t").await["b"], (STORAGE_ERROR, Vec::new()));
    broker.shutdown().await;
    assert_eq!(fs::read(dirs.path("b")).unwrap(), b"not a folder");

    fs::remove_file(dirs.path("b")).unwrap();
    fs::rename(dirs.path("aside"), dirs.path("b")).unwrap();
    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &[]));
    broker.shutdown().await;
}

/// A file system in memory; dropping it unmounts it.
struct Mounted(PathBuf);

impl Mounted {
    /// None where this process may not mount.
    fn at(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let path = path.to_owned();
        mount(&["-t", "tmpfs", "-o", "size=512m", "none"], &path).then_some(Self(path))
    }

    fn remount(&self, how: &str) {
        assert!(mount(&["-o", &format!("remount,{how}")], &self.0), "{how}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn mount(options: &[&str], path: &Path) -> bool {
    Command::new("mount").args(options).arg(path).output().is_ok_and(|done| done.status.success())
}

#[tokio::test]
async fn a_dir_that_is_mounted_read_only_is_offline_until_it_can_be_written() {
    let dirs = Dirs::new(&["a", "b"]);
    let Some(mounted) = Mounted::at(&dirs.path("b")) else {
        println!("SKIPPED: this process may not mount a file system");
        return;
    };
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    let lost = described(&mut client, "t").await["b"].1.clone();
    assert_eq!(lost.len(), 2);
    broker.shutdown().await;

    mounted.remount("ro");
    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &lost));
    assert_eq!(described(&mut client, "t").await["b"], (STORAGE_ERROR, Vec::new()));
    let refused = produced(client.call(9, &produce("t", lost[0], -1, batch(&["x"]))).await);
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code());
    make_topic(&mut client, "u").await;
    fill(&mut client, "u").await;
    assert_eq!(described(&mut client, "u").await["a"].1.len(), 4);
    broker.shutdown().await;

    mounted.remount("rw");
    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &[]));
    assert_eq!(read(&mut client, "u").await, filled_but("u", &[]));
    broker.shutdown().await;
}
