//! Lines of a file or of stdin, read by a thread of its own: reading a pipe blocks, and nothing else shall.
//!
//! Must not know: records.

use std::io::{self, Read};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// How many pieces may be read ahead.
const AHEAD_MAX: usize = 16;
/// A longer line is an error, not a reason to take all memory. No broker takes such a record by default.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The lines of one read, with their ends. An error is the last thing that comes.
pub(crate) type Piece = io::Result<Vec<Bytes>>;

/// Begins to read. The thread ends with the input, or soon after the receiver is dropped; one that waits for a terminal stays until
/// the process ends.
pub(crate) fn lines(source: impl Read + Send + 'static) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(AHEAD_MAX);
    std::thread::spawn(move || {
        let mut splitter = Splitter { source, kept: BytesMut::new() };
        while let Some(piece) = splitter.next_piece().transpose() {
            let is_last = piece.is_err();
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

struct Splitter<R> {
    source: R,
    /// The beginning of a line whose end has not come.
    kept: BytesMut,
}

impl<R: Read> Splitter<R> {
    /// The next lines; `None` at the end. Lines are slices of what was read.
    fn next_piece(&mut self) -> io::Result<Option<Vec<Bytes>>> {
        loop {
            let old = self.kept.len();
            self.kept.resize(old + READ_BYTES, 0);
            let read = match self.source.read(&mut self.kept[old..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.kept.truncate(old);
                    continue;
                }
                other => other?,
            };
            self.kept.truncate(old + read);
            if read == 0 {
                let last = self.kept.split().freeze();
                return Ok((!last.is_empty()).then(|| vec![last]));
            }
            let Some(end) = self.kept[old..].iter().rposition(|byte| *byte == b'\n') else {
                if self.kept.len() > LINE_BYTES_MAX {
                    return Err(io::Error::other(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
                }
                continue;
            };
            let mut whole = self.kept.split_to(old + end + 1).freeze();
            let mut lines = Vec::new();
            while let Some(end) = whole.iter().position(|byte| *byte == b'\n') {
                lines.push(whole.slice(..=end));
                whole.advance(end + 1);
            }
            return Ok(Some(lines));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `step` bytes a read.
    struct Slow<'a> {
        text: &'a [u8],
        step: usize,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.step.min(self.text.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.text[..count]);
            self.text = &self.text[count..];
            Ok(count)
        }
    }

    #[test]
    fn lines_come_whole_however_the_input_is_cut() {
        let long = "x".repeat(3 * READ_BYTES);
        let text = format!("first\n\nthird\r\n{long}\nlast without an end");
        for step in [1, 2, 5, READ_BYTES, usize::MAX] {
            let mut splitter = Splitter { source: Slow { text: text.as_bytes(), step }, kept: BytesMut::new() };
            let mut lines = Vec::new();
            while let Some(piece) = splitter.next_piece().expect("no error") {
                lines.extend(piece);
            }
            let expected: Vec<&[u8]> = text.as_bytes().split_inclusive(|byte| *byte == b'\n').collect();
            assert_eq!(lines, expected, "in steps of {step}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut splitter = Splitter { source: io::repeat(b'x'), kept: BytesMut::new() };
        assert!(splitter.next_piece().is_err());
    }
}
