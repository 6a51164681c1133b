//! The metadata quorum as brokers see it: a log that everybody sees in the same order, some later than others, and that takes
//! commands while a majority reaches its leader.
//!
//! Raft itself is trusted here: `broker/consensus` has tests of its own.
//!
//! Must not know: partitions, who reaches whom.

use std::sync::Arc;

use cairn_metadata::{Answer, Command, Image};

/// A leader that reaches no majority is followed by another after this time.
pub(crate) const ELECTION_MS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Quorum {
    images: Vec<Arc<Image>>,
    pub(crate) leader: Option<usize>,
    pub(crate) term: u64,
    /// When the leader reached a majority last.
    pub(crate) led_at: u64,
}

impl Quorum {
    pub(crate) fn new(rules: cairn_metadata::Rules) -> Self {
        let first = Image::default().with_rules(rules);
        Self { images: vec![Arc::new(first)], leader: None, term: 0, led_at: 0 }
    }

    /// The newest version.
    pub(crate) fn version(&self) -> usize {
        self.images.len() - 1
    }

    pub(crate) fn image(&self, version: usize) -> &Arc<Image> {
        &self.images[version]
    }

    pub(crate) fn newest(&self) -> &Arc<Image> {
        self.image(self.version())
    }

    /// Folds a command in. None where it was rejected.
    pub(crate) fn commit(&mut self, command: &Command) -> Option<Answer> {
        let index = u64::try_from(self.images.len()).expect("short");
        let applied = self.newest().apply(index, command).ok()?;
        self.images.push(Arc::new(applied.image));
        Some(applied.answer)
    }
}
