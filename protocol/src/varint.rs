//! Variable-length integers as Kafka writes them: unsigned LEB128 and its zigzag form, at most 5 or 10 bytes.
//!
//! Must not know: what the numbers mean.

/// Most bytes that a 32-bit number takes.
pub const MAX_BYTES_32: usize = 5;
/// Most bytes that a 64-bit number takes.
pub const MAX_BYTES_64: usize = 10;

/// Why no number could be taken from the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VarintError {
    /// The input ends within the number.
    #[error("input ends within a variable-length integer")]
    Truncated,
    /// The number has more bits than its type.
    #[error("variable-length integer is too long for its type")]
    Overlong,
}

/// Takes an unsigned 32-bit number off the front of `input`, which stays as it was on an error.
#[inline]
pub fn take_u32(input: &mut &[u8]) -> Result<u32, VarintError> {
    if let Some((value, rest)) = take_short(input) {
        *input = rest;
        return Ok(value);
    }
    let (value, rest) = take_long(input, MAX_BYTES_32)?;
    let value = u32::try_from(value).map_err(|_| VarintError::Overlong)?;
    *input = rest;
    Ok(value)
}

/// Takes an unsigned 64-bit number off the front of `input`, which stays as it was on an error.
#[inline]
pub fn take_u64(input: &mut &[u8]) -> Result<u64, VarintError> {
    if let Some((value, rest)) = take_short(input) {
        *input = rest;
        return Ok(u64::from(value));
    }
    let (value, rest) = take_long(input, MAX_BYTES_64)?;
    *input = rest;
    Ok(value)
}

/// Takes a zigzag 32-bit number (Kafka's varint) off the front of `input`, which stays as it was on an error.
#[inline]
pub fn take_i32(input: &mut &[u8]) -> Result<i32, VarintError> {
    take_u32(input).map(unzigzag_32)
}

/// Takes a zigzag 64-bit number (Kafka's varlong) off the front of `input`, which stays as it was on an error.
#[inline]
pub fn take_i64(input: &mut &[u8]) -> Result<i64, VarintError> {
    take_u64(input).map(unzigzag_64)
}

/// Numbers of one or two bytes: lengths up to 8 KiB and nearly all deltas, so worth being inlined everywhere.
#[inline]
fn take_short(input: &[u8]) -> Option<(u32, &[u8])> {
    match input {
        [first @ 0..=0x7f, rest @ ..] => Some((u32::from(*first), rest)),
        [first, second @ 0..=0x7f, rest @ ..] => Some((u32::from(*first & 0x7f) | u32::from(*second) << 7, rest)),
        _ => None,
    }
}

#[cold]
fn take_long(input: &[u8], bytes_max: usize) -> Result<(u64, &[u8]), VarintError> {
    let mut value = 0u64;
    for (index, &byte) in input.iter().take(bytes_max).enumerate() {
        let shift = 7 * index;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(VarintError::Overlong);
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok((value, &input[index + 1..]));
        }
    }
    Err(if input.len() < bytes_max { VarintError::Truncated } else { VarintError::Overlong })
}

/// Appends an unsigned 32-bit number.
#[inline]
pub fn put_u32(out: &mut impl bytes::BufMut, value: u32) {
    put_u64(out, u64::from(value));
}

/// Appends an unsigned 64-bit number.
#[inline]
pub fn put_u64(out: &mut impl bytes::BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(low_seven_bits(value) | 0x80);
        value >>= 7;
    }
    out.put_u8(low_seven_bits(value));
}

/// Appends a zigzag 32-bit number (Kafka's varint).
#[inline]
pub fn put_i32(out: &mut impl bytes::BufMut, value: i32) {
    put_u32(out, zigzag_32(value));
}

/// Appends a zigzag 64-bit number (Kafka's varlong).
#[inline]
pub fn put_i64(out: &mut impl bytes::BufMut, value: i64) {
    put_u64(out, zigzag_64(value));
}

/// How many bytes [`put_u32`] and [`put_u64`] write for `value`.
#[inline]
#[must_use]
pub fn len_u64(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// How many bytes [`put_i32`] writes for `value`.
#[inline]
#[must_use]
pub fn len_i32(value: i32) -> usize {
    len_u64(u64::from(zigzag_32(value)))
}

/// How many bytes [`put_i64`] writes for `value`.
#[inline]
#[must_use]
pub fn len_i64(value: i64) -> usize {
    len_u64(zigzag_64(value))
}

#[inline]
fn low_seven_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

#[inline]
pub(crate) fn unzigzag_32(value: u32) -> i32 {
    ((value >> 1) ^ (value & 1).wrapping_neg()).cast_signed()
}

#[inline]
pub(crate) fn unzigzag_64(value: u64) -> i64 {
    ((value >> 1) ^ (value & 1).wrapping_neg()).cast_signed()
}

#[inline]
fn zigzag_32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

#[inline]
fn zigzag_64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(i64, &[u8]); 12] = [
        (0, &[0x00]),
        (-1, &[0x01]),
        (1, &[0x02]),
        (63, &[0x7e]),
        (-64, &[0x7f]),
        (64, &[0x80, 0x01]),
        (8191, &[0xfe, 0x7f]),
        (8192, &[0x80, 0x80, 0x01]),
        (i32::MAX as i64, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        (i32::MIN as i64, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
    ];

    #[test]
    fn known_bytes_both_ways() {
        for (value, bytes) in CASES {
            let mut written = Vec::new();
            put_i64(&mut written, value);
            assert_eq!(written, bytes, "{value}");
            assert_eq!(len_i64(value), bytes.len(), "{value}");
            let mut input = bytes;
            assert_eq!(take_i64(&mut input), Ok(value));
            assert!(input.is_empty());
            let mut input = bytes;
            match i32::try_from(value) {
                Ok(small) => {
                    assert_eq!(take_i32(&mut input), Ok(small));
                    assert_eq!(len_i32(small), bytes.len());
                }
                Err(_) => assert_eq!(take_i32(&mut input), Err(VarintError::Overlong)),
            }
        }
    }

    #[test]
    fn every_cut_is_truncated_and_leaves_the_input() {
        for (_, bytes) in CASES {
            for end in 0..bytes.len() {
                let mut input = &bytes[..end];
                assert_eq!(take_i64(&mut input), Err(VarintError::Truncated));
                assert_eq!(input.len(), end);
            }
        }
    }

    #[test]
    fn bits_beyond_the_type_are_refused() {
        assert_eq!(take_u32(&mut &[0xff, 0xff, 0xff, 0xff, 0x10][..]), Err(VarintError::Overlong));
        assert_eq!(take_u32(&mut &[0x80; 6][..]), Err(VarintError::Overlong));
        assert_eq!(take_u64(&mut &[0x80; 11][..]), Err(VarintError::Overlong));
        let two_bits_in_the_last = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(take_u64(&mut &two_bits_in_the_last[..]), Err(VarintError::Overlong));
    }
}
