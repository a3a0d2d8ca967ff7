//! Variable-length numbers: zigzag, seven bits a byte, lowest first; at most 5 bytes for 32 bits and 10 for 64.
//!
//! Reading is bounded by the slice and by those lengths; a number that does not end, or does not fit, is `None`.

/// The most bytes a 32-bit number takes.
pub const MAX_VARINT: usize = 5;
/// The most bytes a 64-bit number takes.
pub const MAX_VARLONG: usize = 10;

/// Reads a 32-bit number at `*at` and moves `*at` behind it.
#[inline]
pub fn read_varint(bytes: &[u8], at: &mut usize) -> Option<i32> {
    // Most numbers inside records take one byte.
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(zigzag(u64::from(first)) as i32);
    }
    let raw = read_unsigned(bytes, at, MAX_VARINT)?;
    u32::try_from(raw).ok().map(|raw| zigzag(u64::from(raw)) as i32)
}

/// Reads a 64-bit number at `*at` and moves `*at` behind it.
#[inline]
pub fn read_varlong(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(zigzag(u64::from(first)));
    }
    read_unsigned(bytes, at, MAX_VARLONG).map(zigzag)
}

#[inline]
fn zigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

fn read_unsigned(bytes: &[u8], at: &mut usize, most: usize) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..most {
        let byte = *bytes.get(*at + index)?;
        // The tenth byte has room for one bit only.
        if index == MAX_VARLONG - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *at += index + 1;
            return Some(value);
        }
    }
    None
}

/// Writes a 32-bit number at the start of `out` and says how many bytes it took.
///
/// `out` must have room for [`MAX_VARINT`] bytes.
#[inline]
pub fn write_varint(out: &mut [u8], value: i32) -> usize {
    write_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// Writes a 64-bit number at the start of `out` and says how many bytes it took.
///
/// `out` must have room for [`MAX_VARLONG`] bytes.
#[inline]
pub fn write_varlong(out: &mut [u8], value: i64) -> usize {
    write_unsigned(out, ((value << 1) ^ (value >> 63)) as u64)
}

#[inline]
fn write_unsigned(out: &mut [u8], mut raw: u64) -> usize {
    let mut at = 0;
    while raw >= 0x80 {
        out[at] = raw as u8 | 0x80;
        raw >>= 7;
        at += 1;
    }
    out[at] = raw as u8;
    at + 1
}

/// How many bytes a 32-bit number takes.
#[inline]
pub fn varint_len(value: i32) -> usize {
    unsigned_len(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// How many bytes a 64-bit number takes.
#[inline]
pub fn varlong_len(value: i64) -> usize {
    unsigned_len(((value << 1) ^ (value >> 63)) as u64)
}

#[inline]
fn unsigned_len(raw: u64) -> usize {
    // One byte for every seven bits begun; 0 takes one byte too.
    (70 - (raw | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_of_the_range_take_the_most_bytes() {
        let mut out = [0; MAX_VARLONG];
        assert_eq!(write_varint(&mut out, i32::MIN), MAX_VARINT);
        assert_eq!(write_varlong(&mut out, i64::MIN), MAX_VARLONG);
        assert_eq!((write_varint(&mut out, -1), out[0]), (1, 1));
    }

    #[test]
    fn a_number_that_does_not_end_or_does_not_fit_is_refused() {
        assert_eq!(read_varint(&[0xff; 5], &mut 0), None);
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x1f], &mut 0), None);
        assert_eq!(read_varint(&[0x80], &mut 0), None);
        assert_eq!(read_varint(&[], &mut 0), None);
        assert_eq!(read_varlong(&[0xff; 10], &mut 0), None);
        assert_eq!(read_varlong(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], &mut 0), None);
    }

    proptest! {
        #[test]
        fn numbers_survive(small in any::<i32>(), large in any::<i64>()) {
            let mut out = [0; MAX_VARLONG];
            let len = write_varint(&mut out, small);
            prop_assert_eq!(len, varint_len(small));
            let mut at = 0;
            prop_assert_eq!(read_varint(&out[..len], &mut at), Some(small));
            prop_assert_eq!(at, len);
            let len = write_varlong(&mut out, large);
            prop_assert_eq!(len, varlong_len(large));
            let mut at = 0;
            prop_assert_eq!(read_varlong(&out[..len], &mut at), Some(large));
            prop_assert_eq!(at, len);
        }
    }
}
