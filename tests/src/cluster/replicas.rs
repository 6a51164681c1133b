//! Compares what the replicas of partitions have on disk, byte by byte.
//!
//! Replicas may begin a new segment at other offsets than each other, so what is compared is their segments one behind the other, each up to
//! where the next one begins: what a truncation has left behind that is dead (docs/formats/segment.md). It must not know which broker
//! wrote them: the names and the batches are Kafka's.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Compares all replicas of a topic's partitions, each partition's in folders of its own, none of them in use; gives how many bytes one
/// replica of each has.
pub fn same_bytes(topic: &str, partitions: &[Vec<PathBuf>]) -> anyhow::Result<usize> {
    let mut total = 0;
    for (partition, folders) in partitions.iter().enumerate() {
        let (first, others) = folders.split_first().context("no folder")?;
        let name = format!("{topic}-{partition}");
        let bytes = log(&first.join(&name))?;
        ensure!(!bytes.is_empty(), "{name} is empty in {}", first.display());
        for folder in others {
            let other = log(&folder.join(&name))?;
            if let Some(at) = first_difference(&bytes, &other) {
                bail!(
                    "{name} has {} bytes in {} and {} in {}, and they differ at position {at}, in the batches at {:?} and {:?}",
                    bytes.len(),
                    first.display(),
                    other.len(),
                    folder.display(),
                    batch_at(&bytes, at),
                    batch_at(&other, at)
                );
            }
        }
        total += bytes.len();
    }
    Ok(total)
}

/// A partition's segments, one behind the other.
fn log(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut segments = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let base = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse::<i64>().ok());
            segments.insert(base.with_context(|| path.display().to_string())?, path);
        }
    }
    let mut bytes = Vec::new();
    let ends = segments.keys().skip(1).map(Some).chain([None]);
    for (path, end) in segments.values().zip(ends) {
        let segment = fs::read(path)?;
        let length = end.map_or(segment.len(), |&end| length_before(&segment, end));
        bytes.extend_from_slice(&segment[..length]);
    }
    Ok(bytes)
}

/// The bytes of the batches before an offset.
fn length_before(segment: &[u8], end: i64) -> usize {
    let mut length = 0;
    while let Some((offset, whole)) = front(&segment[length..])
        && offset < end
        && whole <= segment.len() - length
    {
        length += whole;
    }
    length
}

/// The first position at which two logs are not the same; the end of one is a difference.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    differs.or(Some(one.len().min(other.len())))
}

/// The base offset of the batch that holds a position.
fn batch_at(bytes: &[u8], position: usize) -> Option<i64> {
    let mut at = 0;
    loop {
        let (offset, whole) = front(bytes.get(at..)?)?;
        at += whole;
        if position < at {
            return Some(offset);
        }
    }
}

/// The base offset and the size of the batch that bytes begin with; none for zeros and the end.
fn front(bytes: &[u8]) -> Option<(i64, usize)> {
    /// Base offset and length, which counts what is behind it.
    const FRONT: usize = 12;
    let offset = i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    let length = usize::try_from(u32::from_be_bytes(bytes.get(8..FRONT)?.try_into().ok()?)).ok()?;
    (length > 0).then_some((offset, length + FRONT))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// As much of a batch as is looked at.
    fn batch(offset: i64, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap_or(0);
        [&offset.to_be_bytes()[..], &length.to_be_bytes(), content].concat()
    }

    /// Compares replicas of `t-0`, each given as its segments and their base offsets.
    fn compare(replicas: &[Vec<(i64, Vec<u8>)>]) -> anyhow::Result<usize> {
        let folder = TempDir::new()?;
        let mut folders = Vec::new();
        for (number, segments) in replicas.iter().enumerate() {
            let replica = folder.path().join(number.to_string());
            fs::create_dir_all(replica.join("t-0"))?;
            for (base, bytes) in segments {
                fs::write(replica.join(format!("t-0/{base:020}.log")), bytes)?;
                fs::write(replica.join(format!("t-0/{base:020}.index")), number.to_string())?;
            }
            folders.push(replica);
        }
        same_bytes("t", &[folders])
    }

    #[test]
    fn segments_may_begin_elsewhere() {
        let (a, b, c) = (batch(0, b"abc"), batch(1, b"d"), batch(2, b"ef"));
        let one = vec![(0, [&a[..], &b].concat()), (2, c.clone())];
        let other = vec![(0, a.clone()), (1, [&b[..], &c].concat())];
        assert_eq!(compare(&[one, other]).ok(), Some(a.len() + b.len() + c.len()));
    }

    #[test]
    fn what_a_truncation_left_behind_is_dead() {
        let (a, b, dead) = (batch(0, b"abc"), batch(1, b"d"), batch(1, b"longer"));
        let one = vec![(0, [&a[..], &b].concat())];
        let cut = vec![(0, [&a[..], &dead, &[0; 100]].concat()), (1, b.clone())];
        assert_eq!(compare(&[one.clone(), cut]).ok(), Some(a.len() + b.len()));
        // At the end of the log nothing is.
        let longer = vec![(0, [&a[..], &b, &[0; 100]].concat())];
        assert!(compare(&[one.clone(), longer]).is_err());
        // And what is lost in the middle shows.
        assert!(compare(&[one, vec![(0, vec![0; 100]), (1, b)]]).is_err());
    }

    #[test]
    fn a_difference_is_told_with_its_batch() {
        let (a, b, other) = (batch(0, b"abc"), batch(5, b"de"), batch(5, b"dx"));
        let first = vec![(0, [&a[..], &b].concat())];
        let differs = vec![(0, a.clone()), (5, other)];
        let told = compare(&[first.clone(), first.clone(), differs]).unwrap_err().to_string();
        assert!(told.contains("differ at position 28, in the batches at Some(5) and Some(5)"), "{told}");
        let told = compare(&[first, vec![(0, a)]]).unwrap_err().to_string();
        assert!(told.contains("differ at position 15, in the batches at Some(5) and None"), "{told}");
    }

    #[test]
    fn nothing_is_not_the_same_as_nothing() {
        assert!(compare(&[vec![(0, vec![])], vec![(0, vec![])]]).is_err());
    }
}
