//! The same batch under another compression, for topics that want one whatever their producers chose.
//!
//! Must not know: which compression a topic wants.

use super::{
    BatchHeader, BatchView, CompressError, Compression, DecompressError, DecompressLimits, HEADER_BYTES,
    LENGTH_OVERHEAD, compress, decompress,
};

/// Why a batch could not be compressed anew.
#[derive(Debug, thiserror::Error)]
pub enum RecompressError {
    /// Its records cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// They cannot be compressed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The result does not fit into the format's 32-bit length.
    #[error("batch is too large")]
    TooLarge,
}

impl BatchView<'_> {
    /// The batch with its records compressed by `codec`, and everything else as it is. A `level` of none is Kafka's default.
    pub fn recompressed(
        &self,
        codec: Compression,
        level: Option<i32>,
        limits: &DecompressLimits,
    ) -> Result<Vec<u8>, RecompressError> {
        let mut batch = vec![0; HEADER_BYTES];
        match self.compression() {
            Compression::None => compress(codec, level, self.record_bytes(), &mut batch)?,
            present => compress(codec, level, &decompress(present, self.record_bytes(), limits)?, &mut batch)?,
        }
        let header = BatchHeader {
            length: i32::try_from(batch.len() - LENGTH_OVERHEAD).map_err(|_| RecompressError::TooLarge)?,
            attributes: self.header().attributes.with_compression(codec),
            ..*self.header()
        };
        let (head, records) = batch.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&header.encode_with_crc(records));
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{BatchBuilder, BatchProducer, NewRecord};
    use super::*;
    use crate::ids::{ProducerEpoch, ProducerId, Timestamp};

    fn batch(codec: Compression) -> Bytes {
        let mut builder = BatchBuilder::new().with_compression(codec, None).unwrap();
        let headers: [(&str, Option<&[u8]>); 2] = [("h", Some(b"1")), ("n", None)];
        for number in 0..50 {
            let value = format!("value {number} value value value");
            let record = NewRecord {
                timestamp: Timestamp(1_000 + number),
                key: (number % 2 == 0).then_some(b"key".as_slice()),
                value: (number % 3 != 0).then_some(value.as_bytes()),
                headers: &headers,
            };
            builder.append(&record).unwrap();
        }
        let producer = BatchProducer { id: ProducerId(7), epoch: ProducerEpoch(3), base_sequence: 11 };
        builder.finish(Some(producer)).unwrap()
    }

    #[test]
    fn only_the_compression_changes() {
        let limits = DecompressLimits::default();
        let plain = batch(Compression::None);
        for from in Compression::ALL {
            let bytes = batch(from);
            let view = BatchView::parse(&bytes).unwrap();
            for to in Compression::ALL {
                let again = Bytes::from(view.recompressed(to, None, &limits).unwrap());
                let again_view = BatchView::parse(&again).unwrap();
                again_view.verify_crc().unwrap();
                assert_eq!(again_view.compression(), to, "{from} to {to}");
                let records = again_view.records(&again, &limits).unwrap();
                assert_eq!(&records.as_bytes()[..], &plain[HEADER_BYTES..], "{from} to {to}");
                let (before, after) = (view.header(), again_view.header());
                let same =
                    BatchHeader { length: before.length, attributes: before.attributes, crc: before.crc, ..*after };
                assert_eq!(same, *before, "{from} to {to}");
            }
        }
    }

    #[test]
    fn levels_and_limits_hold() {
        let bytes = batch(Compression::Zstd);
        let view = BatchView::parse(&bytes).unwrap();
        let limits = DecompressLimits::default();
        assert!(matches!(view.recompressed(Compression::Gzip, Some(10), &limits), Err(RecompressError::Compress(_))));
        let best = view.recompressed(Compression::Gzip, Some(9), &limits).unwrap();
        let fast = view.recompressed(Compression::Gzip, Some(1), &limits).unwrap();
        assert!(best.len() <= fast.len());
        let few = DecompressLimits { output_bytes: 100, ..limits };
        assert!(matches!(view.recompressed(Compression::None, None, &few), Err(RecompressError::Decompress(_))));
    }
}
