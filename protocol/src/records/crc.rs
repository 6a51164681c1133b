//! CRC-32C (Castagnoli), the checksum of record batches.
//!
//! Must not know: where in a batch the checksum stands and what it covers.

/// The checksum of `bytes`.
pub(super) fn of(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The checksum of what `crc` covers, followed by `bytes`.
pub(super) fn extend(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}

/// Whether `bytes` have the checksum `crc`.
pub(super) fn matches(crc: u32, bytes: &[u8]) -> bool {
    of(bytes) == crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_standard() {
        assert_eq!(of(b"123456789"), 0xe306_9283);
        assert_eq!(extend(of(b"1234"), b"56789"), 0xe306_9283);
        assert!(matches(0xe306_9283, b"123456789"));
        assert!(!matches(0xe306_9283, b"123456780"));
    }
}
