//! Folders of the memory disk: what they show now, what is durable, and the changes between.
//!
//! Must not know: what is in files, paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Survival;
use super::file::{Inode, Usage};

/// A folder's place in [`Folders`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FolderId(usize);

/// What a name in a folder stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Arc<Inode>),
    Folder(FolderId),
}

/// One change of a folder, which survives a crash whole or not at all.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put { name: String, node: Node },
    Remove { name: String },
    Moved { from: String, to: String, node: Node },
}

impl Change {
    pub(super) fn put(name: &str, node: Node) -> Self {
        Self::Put { name: name.to_owned(), node }
    }

    pub(super) fn remove(name: &str) -> Self {
        Self::Remove { name: name.to_owned() }
    }

    pub(super) fn moved(from: &str, to: &str, node: Node) -> Self {
        Self::Moved { from: from.to_owned(), to: to.to_owned(), node }
    }

    fn apply(self, entries: &mut BTreeMap<String, Node>) {
        match self {
            Self::Put { name, node } => drop(entries.insert(name, node)),
            Self::Remove { name } => drop(entries.remove(&name)),
            Self::Moved { from, to, node } => {
                entries.remove(&from);
                entries.insert(to, node);
            }
        }
    }
}

/// One folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) live: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// What leads from `durable` to `live`, in order.
    unsynced: Vec<Change>,
}

impl Folder {
    pub(super) fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.live);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.live);
        self.unsynced.clear();
    }
}

/// All folders, also those that are no longer reachable: a crash may bring them back.
#[derive(Debug)]
pub(super) struct Folders(Vec<Folder>);

impl Folders {
    pub(super) const ROOT: FolderId = FolderId(0);

    pub(super) fn new() -> Self {
        Self(vec![Folder::default()])
    }

    pub(super) fn add(&mut self) -> FolderId {
        self.0.push(Folder::default());
        FolderId(self.0.len() - 1)
    }

    pub(super) fn get(&self, id: FolderId) -> &Folder {
        &self.0[id.0]
    }

    pub(super) fn get_mut(&mut self, id: FolderId) -> &mut Folder {
        &mut self.0[id.0]
    }

    /// Gives back the space of all files under `id`.
    pub(super) fn unlink_all(&self, id: FolderId) {
        for node in self.get(id).live.values() {
            match node {
                Node::File(inode) => inode.unlink(),
                Node::Folder(inner) => self.unlink_all(*inner),
            }
        }
    }

    /// The folders as they are after a crash, with new inodes that `usage` counts.
    pub(super) fn survive(&self, survival: &mut Survival, usage: &Arc<Usage>) -> Self {
        let kept: Vec<usize> = self.0.iter().map(|folder| survival.prefix(folder.unsynced.len())).collect();
        let mut after: Vec<BTreeMap<String, Node>> = self.0.iter().map(|folder| folder.durable.clone()).collect();
        for ((folder, kept), entries) in self.0.iter().zip(&kept).zip(&mut after) {
            for change in &folder.unsynced[..*kept] {
                change.clone().apply(entries);
            }
        }
        let mut survivors = Self::new();
        survivors.adopt(&after, (Self::ROOT, Self::ROOT), survival, usage);
        survivors
    }

    /// Copies what is under the folder `ids.0` of before into the folder `ids.1` of `self`.
    fn adopt(
        &mut self,
        after: &[BTreeMap<String, Node>],
        ids: (FolderId, FolderId),
        survival: &mut Survival,
        usage: &Arc<Usage>,
    ) {
        for (name, node) in &after[ids.0.0] {
            let node = match node {
                Node::File(inode) => Node::File(Arc::new(inode.survive(survival, usage))),
                Node::Folder(old) => {
                    let new = self.add();
                    self.adopt(after, (*old, new), survival, usage);
                    Node::Folder(new)
                }
            };
            self.get_mut(ids.1).change(Change::put(name, node));
        }
        self.get_mut(ids.1).sync();
    }
}
