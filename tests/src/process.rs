//! Runs a program with input, collects what it says, and never waits for it longer than allowed.
//!
//! It must not know which program.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

/// The longest that one call of a foreign tool may take before it counts as hung.
pub const TOOL_TIME_MAX: Duration = Duration::from_secs(120);

/// What a program said that ended well.
#[derive(Debug)]
pub struct Said {
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output as text.
    pub fn text(&self) -> anyhow::Result<&str> {
        Ok(std::str::from_utf8(&self.stdout)?)
    }
}

/// Runs `command` with `input` on its standard input; an exit code other than 0 is an error that quotes it.
pub fn run(command: &mut Command, input: &[u8]) -> anyhow::Result<Said> {
    run_within(TOOL_TIME_MAX, command, input)
}

/// The same for a program that may take longer than others.
pub fn run_within(time: Duration, command: &mut Command, input: &[u8]) -> anyhow::Result<Said> {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {line}"))?;
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        bail!("no pipes to {line}");
    };

    let input = input.to_vec();
    // A program that ends early closes its input; its exit code tells why.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let errors = thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(stderr.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let (done, end_of_output) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = stdout.read_to_end(&mut bytes).map(|_| bytes);
        // Nobody receives any more when the time was up.
        drop(done.send(result));
    });

    let output = end_of_output.recv_timeout(time);
    if output.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let stderr = errors.join().map_err(|_| anyhow!("reading stderr of {line}"))?;
    writer.join().map_err(|_| anyhow!("writing stdin of {line}"))?;
    let Ok(stdout) = output else {
        bail!("no end of {line} within {time:?}; it said: {}", tail(&stderr));
    };
    if !status.success() {
        bail!("{line}: {status}; it said: {}", tail(&stderr));
    }
    Ok(Said { stdout: stdout?, stderr })
}

/// The end of what a program said: there is why it failed.
fn tail(text: &str) -> &str {
    const QUOTED_MAX: usize = 700;
    let text = text.trim();
    let start = text.len().saturating_sub(QUOTED_MAX);
    let start = (start..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    &text[start..]
}
