//! The broker's exit codes, provoked through the binary: 2 configuration, 3 data directory in use, 4 storage failed.
//!
//! Those that need a disk of their own mount one, as root; elsewhere they say `SKIP:` and why, which CI takes for a failure.

mod support;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Served, cairn, run, terminate};

/// Starts a broker that has to refuse, and gives what it said about it.
fn refused(data: &Path, words: &[&str], code: i32) -> String {
    let mut command = cairn();
    command.args(["broker", "--listen", "127.0.0.1:0", "--data"]).arg(data).args(words);
    let output = command.assert().code(code).get_output().clone();
    assert_eq!(output.stdout, b"", "a broker that does not serve says nothing on its standard output");
    let said = String::from_utf8(output.stderr).expect("text");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: "), "{said}");
    last.to_owned()
}

/// A data directory with some records, of a broker that was stopped.
fn filled(data: &Path) {
    let mut served = Served::start(data, &["--set", "offsets.topic.num.partitions=1"]);
    let address = served.ready.split_whitespace().find_map(|word| word.strip_prefix("kafka=")).expect("an address");
    cairn().args(["produce", "t", "--bootstrap", address]).write_stdin("one\ntwo\n").assert().success();
    terminate(served.child.id());
    assert!(served.child.wait().expect("ends").success());
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("there");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_wrong_configuration_is_two_and_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("broker.toml");
    std::fs::write(&file, "\"num.partitons\" = 3\n").expect("written");
    let file = file.to_str().expect("text");
    for (words, named) in [
        (["--set", "num.partitions=many"], &["num.partitions", "many", "1"][..]),
        (["--set", "log.durability=perhaps"], &["log.durability", "perhaps", "replicated", "synced"]),
        (["--config", file], &["num.partitons", "num.partitions"]),
        (["--config", "/no/such/file"], &["/no/such/file"]),
    ] {
        let said = refused(&folder.path().join("data"), &words, 2);
        assert!(named.iter().all(|name| said.contains(name)), "{words:?}: {said}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}

#[test]
fn a_data_directory_in_use_is_three_and_its_owner_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = Served::start(folder.path(), &[]);
    let said = refused(folder.path(), &[], 3);
    assert!(said.contains("in use") && said.contains(folder.path().to_str().expect("text")), "{said}");
    let address = first.ready.split_whitespace().find_map(|word| word.strip_prefix("kafka=")).expect("an address");
    cairn().args(["topic", "list", "--bootstrap", address]).assert().success();
}

/// What tells whose the data is, and what the cluster had decided, is not guessed.
#[test]
fn damage_that_only_a_person_can_judge_is_four() {
    type Damage = (&'static str, fn(&Path), &'static str);
    let damages: [Damage; 5] = [
        ("the identity is damaged", |data| flip(&data.join("identity"), 12), "identity"),
        (
            "the metadata log is damaged below what was committed",
            |data| flip(&data.join("__cluster_metadata-0/00000000000000000000.log"), 70),
            "corrupt",
        ),
        (
            "the metadata log is gone",
            |data| std::fs::remove_dir_all(data.join("__cluster_metadata-0")).expect("removed"),
            "is gone",
        ),
        ("the vote is gone", |data| std::fs::remove_file(data.join("metadata/quorum-state")).expect("gone"), "vote"),
        (
            "a file is where the folder should be",
            |data| {
                std::fs::remove_dir_all(data).expect("removed");
                std::fs::write(data, b"a file").expect("written");
            },
            "cannot create",
        ),
    ];
    for (what, damage, named) in damages {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        filled(&data);
        damage(&data);
        for _ in 0..2 {
            let said = refused(&data, &[], 4);
            assert!(said.contains(named), "{what}: {said}");
        }
    }
}

/// A partition that is damaged below its recovery point is offline, and the broker serves the others.
#[test]
fn damage_of_one_partition_is_no_exit_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    filled(folder.path());
    flip(&folder.path().join("t-0/00000000000000000000.log"), 20);
    let served = Served::start(folder.path(), &[]);
    let address = served.ready.split_whitespace().find_map(|word| word.strip_prefix("kafka=")).expect("an address");
    cairn().args(["produce", "other", "--bootstrap", address]).write_stdin("three\n").assert().success();
    let listed = run(cairn().args(["consume", "other", "--exit-at-end", "--bootstrap", address]));
    assert_eq!(listed, "three\n");
}

/// A mounted file system, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(folder: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&folder).expect("a folder");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder).output();
        let refused = match output {
            Ok(output) if output.status.success() => return Some(Self(folder)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        // Past the capture of the test's output, so that it is seen in a run that passes.
        let _ = writeln!(io::stderr(), "SKIP: mount: {refused}");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().expect("mount runs");
        assert!(status.success(), "{options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = Command::new("umount").arg("--lazy").arg(&self.0).status() {
            eprintln!("unmount {}: {error}", self.0.display());
        }
    }
}

/// A disk without room for what a broker needs to begin with, and one that cannot be written, are four; with room, or
/// writable again, it starts on the same data.
#[test]
fn a_disk_that_cannot_be_written_is_four() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(mount) = Mount::tmpfs(folder.path().join("disk"), "size=8k") else { return };
    let data = mount.0.join("data");
    std::fs::write(mount.0.join("ballast"), [1; 8192]).expect("fits");
    let said = refused(&data, &[], 4);
    assert!(said.contains("No space left"), "{said}");
    std::fs::remove_file(mount.0.join("ballast")).expect("removed");
    mount.remount("size=64m");
    filled(&data);

    mount.remount("ro,size=64m");
    let said = refused(&data, &[], 4);
    assert!(said.contains("Read-only"), "{said}");
    mount.remount("rw,size=64m");
    let served = Served::start(&data, &[]);
    let address = served.ready.split_whitespace().find_map(|word| word.strip_prefix("kafka=")).expect("an address");
    assert_eq!(run(cairn().args(["consume", "t", "--exit-at-end", "--bootstrap", address])), "one\ntwo\n");
}
