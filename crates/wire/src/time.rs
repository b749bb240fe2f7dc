//! Moments as the wire writes them.

use jiff::{civil::DateTime, tz::Offset};
use model::Timestamp;
use thiserror::Error;

/// The never-set moment of identities and twins, as reads have it (H §2.1).
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// The never-set moment as the answer to a creation has it: without `Z` (H §2.1).
pub const NEVER_WITHOUT_ZONE: &str = "0001-01-01T00:00:00";

/// The longest text [`parse`] looks at, in bytes.
const MAX_TEXT_BYTES: usize = 64;

/// A text is not a moment of RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a date and time such as 2026-01-31T22:02:50.5163352Z")]
pub struct BadTime;

/// `2023-05-19T23:10:47.686968Z`: up to seven fractional digits, trailing zeros dropped (O §1.6).
#[must_use]
pub fn wire(moment: Timestamp) -> String {
    let moment = in_calendar(moment);
    let ticks = moment.ticks().rem_euclid(Timestamp::TICKS_PER_SECOND);
    let mut text = second(moment);
    if ticks != 0 {
        text.push_str(format!(".{ticks:07}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// `2023-05-19T23:10:47Z`: a certificate's dates, which have no fraction (O §1.6).
#[must_use]
pub fn whole_seconds(moment: Timestamp) -> String {
    let mut text = second(moment);
    text.push('Z');
    text
}

/// `10/18/2022 20:50:39`: the time in a hub's tracking ID (H §2.3).
#[must_use]
pub fn slashed(moment: Timestamp) -> String {
    civil(moment).strftime("%m/%d/%Y %H:%M:%S").to_string()
}

/// `Tue, 18 Oct 2022 20:50:39 GMT`: RFC 1123, for the `Date` header.
#[must_use]
pub fn rfc1123(moment: Timestamp) -> String {
    civil(moment).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Reads RFC 3339 with any offset; digits beyond the seventh are cut.
///
/// # Errors
/// [`BadTime`]
pub fn parse(text: &str) -> Result<Timestamp, BadTime> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(BadTime);
    }
    let moment: jiff::Timestamp = text.parse().map_err(|_| BadTime)?;
    let ticks = moment.as_nanosecond().div_euclid(100);
    i64::try_from(ticks).map(Timestamp::from_ticks).map_err(|_| BadTime)
}

fn second(moment: Timestamp) -> String {
    civil(moment).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// The UTC calendar date and time.
fn civil(moment: Timestamp) -> DateTime {
    let secs = in_calendar(moment).unix_secs();
    // Every second of the years 1 to 9999 but the last two hours is in jiff's range.
    let moment = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    Offset::UTC.to_datetime(moment)
}

/// Moments that four digits of year cannot write become the nearest that can. The upper end is
/// that of the calendar library, two hours before the year 10000.
fn in_calendar(moment: Timestamp) -> Timestamp {
    const YEAR_ONE: Timestamp = Timestamp::from_unix_secs(-62_135_596_800);
    const YEAR_9999_END: Timestamp = Timestamp::from_unix_secs(253_402_207_200);
    moment.clamp(YEAR_ONE, YEAR_9999_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ticks: i64, expected: &str) {
        assert_eq!(wire(Timestamp::from_ticks(ticks)), expected);
    }

    #[test]
    fn fractions_have_up_to_seven_digits_and_no_trailing_zeros() {
        check(16_845_378_476_869_680, "2023-05-19T23:10:47.686968Z");
        check(16_845_378_470_000_000, "2023-05-19T23:10:47Z");
        check(16_845_378_470_000_001, "2023-05-19T23:10:47.0000001Z");
        check(-1, "1969-12-31T23:59:59.9999999Z");
        check(-621_355_968_000_000_000, NEVER);
    }

    #[test]
    fn moments_beyond_the_calendar_are_written_as_its_ends() {
        check(i64::MIN, NEVER);
        check(i64::MAX, "9999-12-30T22:00:00Z");
    }

    #[test]
    fn the_other_forms_are_those_of_certificates_hubs_and_headers() {
        let moment = Timestamp::from_ticks(16_661_262_395_000_000);
        assert_eq!(whole_seconds(moment), "2022-10-18T20:50:39Z");
        assert_eq!(slashed(moment), "10/18/2022 20:50:39");
        assert_eq!(rfc1123(moment), "Tue, 18 Oct 2022 20:50:39 GMT");
    }

    #[test]
    fn rfc_3339_is_read_with_offsets_and_cut_to_seven_digits() {
        let moment = Timestamp::from_ticks(16_845_378_476_869_680);
        assert_eq!(parse("2023-05-19T23:10:47.686968Z"), Ok(moment));
        assert_eq!(parse("2023-05-20T01:10:47.68696809+02:00"), Ok(moment));
        for bad in ["", "now", "2023-05-19", "2023-05-19T23:10:47", "2023-13-19T23:10:47Z"] {
            assert_eq!(parse(bad), Err(BadTime), "{bad}");
        }
        assert_eq!(parse(&"2".repeat(10_000)), Err(BadTime));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(
            ticks in -621_355_968_000_000_000_i64..2_534_022_071_990_000_000,
        ) {
            let moment = Timestamp::from_ticks(ticks);
            proptest::prop_assert_eq!(parse(&wire(moment)), Ok(moment));
        }
    }
}
