//! stdout as pipes want it: buffered, a closed reader told from a failure.
//!
//! Must not know: what is printed.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use crate::exit::Failure;

/// How much is kept back before it is written.
const BUFFER_BYTES: usize = 64 * 1024;

/// Standard output. A terminal gets every line at once; a pipe gets whole buffers, and the rest when [`flush`] is called.
///
/// [`flush`]: Output::flush
pub(crate) struct Output {
    out: BufWriter<Stdout>,
    terminal: bool,
}

impl Output {
    /// Of this process.
    #[must_use]
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, stdout), terminal }
    }

    /// Writes these bytes and a line end.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write(|out| {
            out.write_all(bytes)?;
            out.write_all(b"\n")
        })
    }

    /// Writes these bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.write(|out| out.write_all(bytes))
    }

    /// Writes one value as a line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        self.write(|out| {
            serde_json::to_writer(&mut *out, value)?;
            out.write_all(b"\n")
        })
    }

    /// Where others write to.
    pub(crate) fn writer(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Hands all that was kept back to the system.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::output)
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) -> Result<(), Failure> {
        write(&mut self.out).map_err(Failure::output)?;
        if self.terminal { self.flush() } else { Ok(()) }
    }
}
