//! What a request names more than once is answered once, so that a short request cannot have a long answer made of repeats.
//!
//! Must not know: any single API.

use std::collections::HashSet;
use std::hash::Hash;

/// Leaves the first of those that have the same key.
pub(crate) fn once<T, K: Hash + Eq>(mut items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    if items.len() > 1 {
        let mut seen = HashSet::with_capacity(items.len());
        items.retain(|item| seen.insert(key(item)));
    }
    items
}
