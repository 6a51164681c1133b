//! For each key the offset of its newest record, in memory that is bounded beforehand.
//!
//! Keys are not kept but 128 bits of a hash of each, by a key that differs between processes: nobody who chooses record keys can
//! make two of them meet, and by chance it does not happen. 24 bytes an entry.
//!
//! Must not know: batches, segments.

use std::hash::{BuildHasher, Hasher, RandomState};

use cairn_protocol::ids::Offset;

use crate::num::as_usize;

/// Bytes of one slot.
pub(crate) const SLOT_BYTES: u64 = 24;

/// Two halves of the hash, then the offset plus one; all zeros is a free slot.
type Slot = [u64; 3];

/// The map has no room for a further key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug)]
pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    used: usize,
    used_max: usize,
    hashers: [RandomState; 2],
}

impl OffsetMap {
    /// A map in at most `bytes` of memory, of which it fills at most `load_percent`, and not larger than `keys` need.
    pub(crate) fn new(bytes: u64, load_percent: u8, keys: u64) -> Self {
        let percent = u64::from(load_percent.clamp(1, 100));
        // One slot stays free, or a search for what is not there would not end.
        let needed = keys.saturating_mul(100).div_ceil(percent).saturating_add(1);
        let slots = (bytes / SLOT_BYTES).min(needed).max(2);
        let used_max = (slots * percent / 100).clamp(1, slots - 1);
        Self {
            slots: vec![[0; 3]; as_usize(slots)],
            used: 0,
            used_max: as_usize(used_max),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    /// How many keys it holds.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Notes a record, which is newer than all that were noted before.
    pub(crate) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let hash = self.hash(key);
        let at = self.find(hash);
        if self.slots[at][2] == 0 {
            if self.used == self.used_max {
                return Err(Full);
            }
            self.used += 1;
        }
        self.slots[at] = [hash[0], hash[1], offset.0.cast_unsigned() + 1];
        Ok(())
    }

    /// The offset of the newest record with this key, if any was noted.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Offset> {
        let [_, _, offset] = self.slots[self.find(self.hash(key))];
        offset.checked_sub(1).map(|offset| Offset(offset.cast_signed()))
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [0, 1].map(|half: usize| {
            let mut hasher = self.hashers[half].build_hasher();
            hasher.write(key);
            hasher.finish()
        })
    }

    /// The slot of this hash, or the free one where it would be.
    fn find(&self, hash: [u64; 2]) -> usize {
        let len = self.slots.len();
        let mut at = as_usize(hash[0] % crate::num::as_u64(len));
        loop {
            let [first, second, offset] = self.slots[at];
            if offset == 0 || [first, second] == hash {
                return at;
            }
            at = if at + 1 == len { 0 } else { at + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> [u8; 4] {
        number.to_be_bytes()
    }

    #[test]
    fn the_newest_offset_of_each_key() {
        let mut map = OffsetMap::new(1 << 20, 90, 1000);
        for round in 0..3i64 {
            for number in 0..1000u32 {
                map.put(&key(number), Offset(round * 1000 + i64::from(number))).unwrap();
            }
        }
        assert_eq!(map.len(), 1000);
        for number in 0..1000u32 {
            assert_eq!(map.get(&key(number)), Some(Offset(2000 + i64::from(number))));
        }
        assert_eq!(map.get(b""), None);
        assert_eq!(map.get(&key(1000)), None);
        map.put(b"", Offset(0)).unwrap();
        assert_eq!(map.get(b""), Some(Offset(0)));
    }

    #[test]
    fn a_full_map_still_takes_the_keys_that_it_has() {
        let mut map = OffsetMap::new(10 * SLOT_BYTES, 50, u64::MAX);
        for number in 0..5u32 {
            map.put(&key(number), Offset(i64::from(number))).unwrap();
        }
        assert_eq!(map.put(&key(5), Offset(5)), Err(Full));
        assert_eq!(map.put(&key(3), Offset(6)), Ok(()));
        assert_eq!((map.get(&key(3)), map.get(&key(5))), (Some(Offset(6)), None));
    }

    #[test]
    fn it_is_no_larger_than_allowed_and_needed() {
        assert_eq!(OffsetMap::new(100 * SLOT_BYTES, 90, 1_000_000).slots.len(), 100);
        assert_eq!(OffsetMap::new(1 << 40, 90, 9).slots.len(), 11);
        let mut smallest = OffsetMap::new(0, 90, 0);
        assert_eq!(smallest.slots.len(), 2);
        smallest.put(b"a", Offset(1)).unwrap();
        assert_eq!(smallest.put(b"b", Offset(2)), Err(Full));
    }
}
