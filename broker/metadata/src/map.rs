//! A map that is cheap to copy and to change one entry of: images share all shards that did not change.
//!
//! Must not know: what it holds.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cairn_protocol::ids::TopicId;

/// With 100,000 entries a change copies about 400 of them and this many pointers: a few microseconds.
const SHARDS: usize = 256;

/// What picks an entry's shard. Equal keys, also a key and its borrowed form, must give the same bytes.
pub trait ShardKey: Ord {
    /// The bytes that are hashed.
    fn shard_bytes(&self) -> &[u8];
}

impl ShardKey for str {
    fn shard_bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl ShardKey for Arc<str> {
    fn shard_bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl ShardKey for TopicId {
    fn shard_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A persistent map: `clone` copies one pointer, `insert` and `remove` copy one shard.
pub struct SharedMap<K, V> {
    shards: Arc<[Arc<BTreeMap<K, V>>]>,
    len: usize,
}

impl<K, V> SharedMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, in no order that means anything, but always the same for the same entries.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// All values, in the order of [`Self::iter`].
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: ShardKey + Clone, V: Clone> SharedMap<K, V> {
    /// The value of `key`.
    pub fn get<Q: ShardKey + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards[shard_of(key)].get(key)
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: ShardKey + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The values that are not the same in `old` and here, as (old, new). Looks only into shards that the two do not
    /// share, so that following a map costs as much as what changed in it.
    pub(crate) fn differences<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = (Option<&'a V>, Option<&'a V>)>
    where
        V: PartialEq,
    {
        let shards = old.shards.iter().zip(self.shards.iter()).filter(|(old, new)| !Arc::ptr_eq(old, new));
        shards.flat_map(|(old, new)| {
            let gone = old.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(_, value)| (Some(value), None));
            let here = new.iter().map(|(key, value)| (old.get(key), Some(value)));
            gone.chain(here.filter(|(before, after)| before != after))
        })
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let shard = shard_of(&key);
        let old = self.shard_mut(shard).insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove<Q: ShardKey + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = self.shard_mut(shard_of(key)).remove(key);
        self.len -= usize::from(old.is_some());
        old
    }

    fn shard_mut(&mut self, shard: usize) -> &mut BTreeMap<K, V> {
        // Copies the list of shards, and then the one shard, only while an older image shares them.
        Arc::make_mut(&mut Arc::make_mut(&mut self.shards)[shard])
    }
}

/// FNV-1a: the same on every machine, so that the order of `iter` is too. Names that are chosen to collide only make
/// changes of their own shard slower.
fn shard_of<Q: ShardKey + ?Sized>(key: &Q) -> usize {
    let hash = key
        .shard_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // The last bytes of a name reach the high bits of FNV-1a only by one multiplication: fold them together.
    usize::from((hash ^ (hash >> 32)).to_le_bytes()[0] ^ (hash >> 16).to_le_bytes()[0])
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        let empty = Arc::new(BTreeMap::new());
        Self { shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect(), len: 0 }
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { shards: Arc::clone(&self.shards), len: self.len }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        // What two images share is equal without looking into it.
        self.len == other.len
            && (Arc::ptr_eq(&self.shards, &other.shards)
                || self.shards.iter().zip(other.shards.iter()).all(|(a, b)| Arc::ptr_eq(a, b) || a == b))
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut map: SharedMap<Arc<str>, u32> = SharedMap::default();
        for i in 0..1000 {
            assert_eq!(map.insert(format!("topic-{i}").into(), i), None);
        }
        let before = map.clone();
        assert_eq!(map.insert("topic-7".into(), 77), Some(7));
        assert_eq!(map.remove("topic-8"), Some(8));
        assert_eq!(map.remove("topic-8"), None);
        assert_eq!((map.len(), before.len()), (999, 1000));
        assert_eq!((map.get("topic-7"), before.get("topic-7")), (Some(&77), Some(&7)));
        assert_eq!((map.get("topic-8"), before.get("topic-8")), (None, Some(&8)));
        assert_ne!(map, before);
        let mut differences: Vec<_> = map.differences(&before).collect();
        differences.sort_unstable();
        assert_eq!(differences, [(Some(&7), Some(&77)), (Some(&8), None)]);
        map.insert("topic-7".into(), 7);
        map.insert("topic-8".into(), 8);
        assert_eq!(map, before);
        assert_eq!(map.differences(&before).count(), 0);
        assert_eq!(map.iter().count(), 1000);
    }

    #[test]
    fn a_change_copies_one_shard() {
        let mut map: SharedMap<Arc<str>, u32> = SharedMap::default();
        for i in 0..10_000 {
            map.insert(format!("topic-{i}").into(), i);
        }
        let before = map.clone();
        map.insert("one-more".into(), 0);
        let copied = map.shards.iter().zip(before.shards.iter()).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(copied, 1);
        let largest = map.shards.iter().map(|shard| shard.len()).max();
        assert!(largest < Some(100), "shards are uneven: {largest:?}");
    }
}
