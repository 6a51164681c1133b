//! Has a judge run in namespaces of its own, so that networks and mounts are seen by it and its children only, and are gone with them.
//!
//! It must not know what is judged.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use rustix::process::geteuid;

use crate::process::run;

/// Says that the process is enclosed already.
const SAID: &str = "CAIRN_ENCLOSED";

/// Whether the process has namespaces of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enclosed {
    /// It has.
    Yes,
    /// It cannot have them here; the text says what is missing.
    No(String),
}

/// Starts this program anew in namespaces of its own, with the same arguments, in place of the process; the one that is started finds
/// that it is enclosed. Has to be called before anything else: what needs a real network has to be there already.
///
/// `told` is what it finds in its environment.
pub fn enclose(told: &[(&str, &OsStr)]) -> anyhow::Result<Enclosed> {
    if std::env::var_os(SAID).is_some() {
        // Names of namespaces are files: these are for nobody else.
        run(Command::new("mount").args(["-t", "tmpfs", "hosts", "/run/netns"]), b"")?;
        run(Command::new("ip").args(["link", "set", "lo", "up"]), b"")?;
        return Ok(Enclosed::Yes);
    }
    if let Some(missing) = missing() {
        return Ok(Enclosed::No(missing));
    }
    std::fs::create_dir_all("/run/netns")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "--"]).arg(std::env::current_exe()?);
    let error = command.args(std::env::args_os().skip(1)).env(SAID, "1").envs(told.iter().copied()).exec();
    Err(error).context("start this program in namespaces of its own")
}

fn missing() -> Option<String> {
    if !geteuid().is_root() {
        return Some("a network of its own needs root".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun".to_owned());
    }
    if let Err(error) = run(Command::new("ip").arg("-V"), b"") {
        return Some(format!("ip (iproute2) is missing: {error}"));
    }
    let tried = run(Command::new("unshare").args(["--net", "--mount", "true"]), b"");
    tried.err().map(|error| format!("namespaces are not to be had: {error}"))
}
