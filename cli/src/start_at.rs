//! Where a consumer begins, as an argument: `beginning|end|stored|OFFSET|RFC3339`.
//!
//! Must not know: how a place is looked up.

use std::str::FromStr;
use std::time::UNIX_EPOCH;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartAt {
    /// The oldest record.
    Beginning,
    /// What comes after the newest record.
    End,
    /// The group's committed offset; the beginning where it has none.
    Stored,
    /// This offset.
    Offset(i64),
    /// The first record of this time or later, in milliseconds since 1970.
    Time(i64),
}

/// The text names no place to begin at.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StartAtError {
    /// Neither word, nor number, nor time.
    #[error("expected beginning, end, stored, an offset, or a time such as 2026-03-01T12:00:00Z")]
    Unknown,
    /// A time before 1970.
    #[error("times before 1970 have no records")]
    BeforeEpoch,
}

impl FromStr for StartAt {
    type Err = StartAtError;

    fn from_str(text: &str) -> Result<Self, StartAtError> {
        match text {
            "beginning" => return Ok(Self::Beginning),
            "end" => return Ok(Self::End),
            "stored" => return Ok(Self::Stored),
            _ => {}
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Offset).map_err(|_| StartAtError::Unknown);
        }
        parse_time_ms(text).map(Self::Time)
    }
}

/// RFC 3339 with `Z` or with an offset such as `+02:00`; a space instead of `T` is fine.
fn parse_time_ms(text: &str) -> Result<i64, StartAtError> {
    let (local, ahead_minutes) = split_zone(text).ok_or(StartAtError::Unknown)?;
    let time = humantime::parse_rfc3339_weak(local).map_err(|_| StartAtError::Unknown)?;
    let local_ms = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).map_err(|_| StartAtError::Unknown)?,
        Err(_) => return Err(StartAtError::BeforeEpoch),
    };
    let time_ms = local_ms - i64::from(ahead_minutes) * 60_000;
    if time_ms < 0 { Err(StartAtError::BeforeEpoch) } else { Ok(time_ms) }
}

/// Cuts the zone off and gives it in minutes east of UTC. humantime itself knows `Z` alone.
fn split_zone(text: &str) -> Option<(&str, i32)> {
    if let Some(local) = text.strip_suffix(['Z', 'z']) {
        return Some((local, 0));
    }
    let cut = text.len().checked_sub("+00:00".len())?;
    let (local, zone) = text.split_at_checked(cut)?;
    // Without a sign it is no zone but the time of day: then the time is UTC, as humantime reads it.
    let east = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' if zone.as_bytes()[3] == b':' => -1,
        _ => return Some((text, 0)),
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some((local, east * (hours * 60 + minutes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_and_times() {
        let cases = [
            ("beginning", StartAt::Beginning),
            ("end", StartAt::End),
            ("stored", StartAt::Stored),
            ("0", StartAt::Offset(0)),
            ("9223372036854775807", StartAt::Offset(i64::MAX)),
            ("1970-01-01T00:00:01Z", StartAt::Time(1_000)),
            ("1970-01-01T00:00:01.250Z", StartAt::Time(1_250)),
            ("2026-03-01T12:00:00Z", StartAt::Time(1_772_366_400_000)),
            ("2026-03-01T12:00:00+02:00", StartAt::Time(1_772_359_200_000)),
            ("2026-03-01T12:00:00-05:30", StartAt::Time(1_772_386_200_000)),
            ("2026-03-01 12:00:00", StartAt::Time(1_772_366_400_000)),
        ];
        for (text, place) in cases {
            assert_eq!(text.parse::<StartAt>(), Ok(place), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "-1",
            "start",
            "12x",
            "9223372036854775808",
            "2026-13-01T00:00:00Z",
            "é+00:00",
            "+ab:cd",
            "ü:ü:ü:",
            "2026-03-01T12:00:00+99:00",
        ] {
            assert_eq!(text.parse::<StartAt>(), Err(StartAtError::Unknown), "{text}");
        }
        assert_eq!("1970-01-01T00:00:00+01:00".parse::<StartAt>(), Err(StartAtError::BeforeEpoch));
    }
}
