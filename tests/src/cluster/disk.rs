//! A broker's own disk: an ext4 in a file, which can be full, and can fail as a whole.
//!
//! It must not know brokers.

use std::fs::{File, create_dir};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::process::geteuid;

use crate::process::run;

/// Takes the metadata log, the brokers' reserve and some segments of each partition.
const DISK_BYTES: u64 = 1 << 30;
/// What makes it full.
const BALLAST: &str = "ballast";
/// What is left of a full disk; a file system needs some room to say that it has none.
const LEFT_BYTES: u64 = 1 << 20;
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from then on everything is an I/O error, and what was not synced is gone.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys; \
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// What is missing here for brokers to have disks of their own, or none.
pub fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("mounting needs root".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".to_owned());
    }
    let tried = run(Command::new("mkfs.ext4").arg("-V"), b"");
    tried.err().map(|error| format!("mkfs.ext4 (e2fsprogs) is missing: {error}"))
}

/// A mounted disk; dropping it unmounts.
#[derive(Debug)]
pub(super) struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// Makes an empty one in a folder, and mounts it there.
    pub(super) fn make(within: &Path) -> anyhow::Result<Disk> {
        let disk = Disk { image: within.join("disk.img"), folder: within.join("disk") };
        File::create(&disk.image)?.set_len(DISK_BYTES)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&disk.image), b"")?;
        create_dir(&disk.folder)?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.folder), b"")?;
        Ok(())
    }

    /// Another file takes all room that there is.
    pub(super) fn fill(&self) -> anyhow::Result<()> {
        let room = statvfs(&self.folder)?;
        let free = (room.f_bavail * room.f_frsize).saturating_sub(LEFT_BYTES);
        ensure!(free > 0, "the disk is full already");
        let ballast = File::create(self.folder.join(BALLAST))?;
        fallocate(&ballast, FallocateFlags::empty(), 0, free).context("fill the disk")
    }

    /// That file is gone.
    pub(super) fn make_room(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.folder.join(BALLAST))?)
    }

    /// Everything that is asked of it fails from now on; what was not synced is lost.
    pub(super) fn fail(&self) -> anyhow::Result<()> {
        run(Command::new("python3").args(["-c", SHUT_DOWN]).arg(&self.folder), b"")?;
        ensure!(File::create(self.folder.join("tried")).is_err(), "the disk goes on");
        Ok(())
    }

    /// It works again, with what it has. Nobody may use it meanwhile.
    pub(super) fn mend(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.folder), b"")?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Left mounted, the temporary folder cannot be removed, and says so.
        drop(run(Command::new("umount").arg(&self.folder), b""));
    }
}
