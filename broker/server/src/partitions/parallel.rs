//! The same work for many partitions, a few at a time: most of it waits for the disk.
//!
//! Must not know: what the work is.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How many threads wait for the disk at a time.
const THREADS_MAX: usize = 8;

/// Does `work` with each item; the results are in the order of the items. Blocks.
pub(super) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = THREADS_MAX.min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let run = || {
        while let Some((at, item)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).map(|item| (at, item))
        } {
            let result = work(item);
            results.lock()[at] = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
    results.into_inner().into_iter().map(|result| result.expect("each item was worked on")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, 2, 100] {
            let items: Vec<usize> = (0..count).collect();
            let expected: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(super::each(&items, |item| item * 2), expected);
        }
    }
}
