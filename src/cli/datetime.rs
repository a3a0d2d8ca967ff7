//! Moments, as people write them and as Kafka counts them: `2013-01-01T05:15:00.000Z` and milliseconds since 1970.

use crate::common::ids::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// The moment that `text` means: milliseconds since 1970, or ISO 8601 with or without time, fraction and zone
/// (`Z`, `+02:00`, `+0200`). Without a zone it is UTC. `None` for anything else.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    if let Ok(millis) = text.parse() {
        return Some(millis);
    }
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let mut parts = date.splitn(3, '-');
    let year: i64 = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = digits(parts.next()?, 2).filter(|day| (1..=days_in(year, month)).contains(day))?;
    Some(days_since_1970(year, month, day) * DAY_MS + parse_time(time)?)
}

fn parse_time(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let at = text.find(['Z', '+', '-']).unwrap_or(text.len());
    let (time, zone) = text.split_at(at);
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = whole.splitn(3, ':');
    let hour = digits(parts.next()?, 2).filter(|hour| *hour < 24)?;
    let minute = digits(parts.next()?, 2).filter(|minute| *minute < 60)?;
    let second = parts.next().map_or(Some(0), |second| digits(second, 2)).filter(|second| *second < 60)?;
    if fraction.len() > 9 || (fraction.is_empty() && whole.len() != time.len()) {
        return None;
    }
    let millis = match fraction {
        "" => 0,
        _ => digits(fraction, fraction.len())? * 1_000 / 10i64.pow(fraction.len() as u32),
    };
    let offset = match zone.strip_prefix('+').map(|rest| (1, rest)).or(zone.strip_prefix('-').map(|rest| (-1, rest))) {
        None if zone.is_empty() || zone == "Z" => 0,
        None => return None,
        Some((sign, rest)) => {
            let (hours, minutes) = rest.split_once(':').or_else(|| rest.split_at_checked(2))?;
            let minutes = if minutes.is_empty() { 0 } else { digits(minutes, 2).filter(|minutes| *minutes < 60)? };
            sign * (digits(hours, 2).filter(|hours| *hours <= 18)? * 60 + minutes)
        }
    };
    Some(((hour * 60 + minute - offset) * 60 + second) * 1_000 + millis)
}

/// The moment in UTC, to the millisecond.
pub(super) fn show(millis: Timestamp) -> String {
    let (day, rest) = (millis.div_euclid(DAY_MS), millis.rem_euclid(DAY_MS));
    // Years run from March here, so that the leap day is the last: see days_since_1970.
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month_day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{month_day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

fn digits(text: &str, len: usize) -> Option<i64> {
    (text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, by eras of 400 years that begin with March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn moments_are_read_in_each_form() {
        for (text, millis) in [
            ("1357017300000", 1_357_017_300_000),
            ("-1", -1),
            ("2013-01-01", 1_356_998_400_000),
            ("2013-01-01T05:15", 1_357_017_300_000),
            ("2013-01-01 05:15:00", 1_357_017_300_000),
            ("2013-01-01T05:15:00.25Z", 1_357_017_300_250),
            ("2013-01-01T00:15:00-05:00", 1_357_017_300_000),
            ("2013-01-01T10:45:00.000+0530", 1_357_017_300_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2024-02-29", 1_709_164_800_000),
        ] {
            assert_eq!(parse(text), Some(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "yesterday",
            "2013-13-01",
            "2013-02-29",
            "2013-1-1",
            "2013-01-01T24:00",
            "2013-01-01T05:15:00.",
            "2013-01-01T05:15X",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in -62_135_596_800_000i64..253_402_300_800_000) {
            prop_assert_eq!(parse(&show(millis)), Some(millis));
        }
    }
}
