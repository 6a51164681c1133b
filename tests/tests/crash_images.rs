//! Power cuts: a `synced` log on an ext4 of its own, whose disk is copied while the process appends. The copy is what a machine finds
//! that lost its memory at that moment: everything that was acknowledged before it has to be there.
//!
//! `CAIRN_CRASH_IMAGES` is how many images (default 100). Needs root and a loop device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use cairn_storage::log::Durability;
use cairn_tests::dice::Dice;
use cairn_tests::process::run;
use cairn_tests::report::{say, skip};
use cairn_tests::stored::{Appender, Told, open, verify};
use rustix::process::geteuid;

const IMAGES: u64 = 100;
const DISK_BYTES: u64 = 96 << 20;
/// Acknowledgements between two images.
const LIFE: std::ops::Range<u64> = 1..60;
/// The kernel may write while the disk is copied; such a copy is no moment in time, and is made again.
const COPIES_MAX: usize = 50;

/// A mounted loop device; dropping it unmounts.
struct Mount {
    folder: PathBuf,
}

impl Mount {
    fn new(image: &Path, folder: PathBuf) -> anyhow::Result<Mount> {
        std::fs::create_dir_all(&folder)?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&folder), b"")?;
        Ok(Mount { folder })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Left mounted, the temporary folder cannot be removed, and says so.
        drop(run(Command::new("umount").arg(&self.folder), b""));
    }
}

#[test]
fn synced_survives_power_cuts() -> anyhow::Result<()> {
    let images =
        std::env::var("CAIRN_CRASH_IMAGES").map_or(Ok(IMAGES), |text| text.parse()).context("CAIRN_CRASH_IMAGES")?;
    if let Some(missing) = missing() {
        skip("crash_images", &missing);
        return Ok(());
    }
    let mut dice = Dice::from_environment("crash_images");
    let program = Path::new(env!("CARGO_BIN_EXE_appender"));
    let folder = tempfile::TempDir::with_prefix("cairn-crash-")?;
    let disk = folder.path().join("disk.img");
    File::create(&disk)?.set_len(DISK_BYTES)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk), b"")?;
    let live = Mount::new(&disk, folder.path().join("live"))?;

    let data = live.folder.join("data");
    let mut appender = Appender::start(program, &data, Durability::Synced, &mut dice, Told::default())?;
    let mut records = 0;
    for number in 0..images {
        appender.hear(dice.among(LIFE)).with_context(|| format!("before image {number}"))?;
        let image = folder.path().join("crash.img");
        let told = appender.pause()?;
        copy_of_a_moment(&disk, &image)?;
        appender.resume()?;

        let crashed = Mount::new(&image, folder.path().join("crashed"))?;
        let (_dir, log) =
            open(&crashed.folder.join("data"), Durability::Synced).with_context(|| format!("image {number}"))?;
        records += verify(&log, told).with_context(|| format!("image {number}"))?;
    }
    appender.kill9()?;
    say(&format!("crash_images: {images} images, {records} records verified, lost=0"));
    Ok(())
}

fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("mounting needs root".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".to_owned());
    }
    run(Command::new("mkfs.ext4").arg("-V"), b"")
        .err()
        .map(|error| format!("mkfs.ext4 (e2fsprogs) is missing: {error}"))
}

/// Copies the disk, while its process stands still, at a moment when the kernel writes nothing to it.
fn copy_of_a_moment(disk: &Path, image: &Path) -> anyhow::Result<()> {
    for _ in 0..COPIES_MAX {
        run(Command::new("cp").arg("--sparse=always").arg(disk).arg(image), b"")?;
        if same(disk, image)? {
            return Ok(());
        }
    }
    bail!("the disk changed during each of {COPIES_MAX} copies")
}

fn same(disk: &Path, image: &Path) -> anyhow::Result<bool> {
    let status = Command::new("cmp").arg("--silent").arg(disk).arg(image).status().context("run cmp")?;
    ensure!(status.code().is_some_and(|code| code < 2), "cmp: {status}");
    Ok(status.success())
}
