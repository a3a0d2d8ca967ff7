//! The types that may stand in a message's table, and their forms on the wire.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::common::ids::Uuid;

use super::{DecodeError, Decoder, EncodeError, Encoder, Entropy, Nullable, Str, Version, Wire};

macro_rules! fixed {
    ($($type:ty, $method:ident, $len:literal, |$random:ident| $sample:expr;)+) => {$(
        impl Wire for $type {
            const MIN_LEN: usize = $len;

            #[inline]
            fn read(decoder: &mut Decoder, _version: Version) -> Result<Self, DecodeError> {
                decoder.$method()
            }

            #[inline]
            fn write(&self, encoder: &mut Encoder, _version: Version) -> Result<(), EncodeError> {
                encoder.$method(*self);
                Ok(())
            }

            fn sample<E: Entropy>(entropy: &mut E, _version: Version) -> Self {
                let $random = entropy.next();
                $sample
            }
        }
    )+};
}

fixed! {
    bool, bool, 1, |random| random & 1 == 1;
    i8, i8, 1, |random| random as i8;
    i16, i16, 2, |random| random as i16;
    u16, u16, 2, |random| random as u16;
    i32, i32, 4, |random| random as i32;
    u32, u32, 4, |random| random as u32;
    i64, i64, 8, |random| random as i64;
    f64, f64, 8, |random| random as i32 as f64 / 8.0;
    Uuid, uuid, 16, |random| Uuid((u128::from(random) << 64 | u128::from(!random)).to_be_bytes());
}

/// Record batches as they are on the wire and on disk: bytes that this room does not look into.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Records(pub Bytes);

impl Deref for Records {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.0
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records(bytes)
    }
}

impl From<Records> for Bytes {
    fn from(records: Records) -> Bytes {
        records.0
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Records({} bytes)", self.0.len())
    }
}

/// Types that say null in their length: `read_nullable` and `write_nullable` are the whole truth, and a value that must
/// not be null is one of those that is not.
macro_rules! null_in_length {
    ($(($($generic:tt)*) $type:ty, $min:literal, $sample:expr;
        $read:expr;
        $write:expr;)+) => {$(
        impl $($generic)* Wire for $type {
            const MIN_LEN: usize = $min;

            fn read(decoder: &mut Decoder, version: Version) -> Result<Self, DecodeError> {
                match Self::read_nullable(decoder, version)? {
                    Some(value) => Ok(value),
                    None => Err(decoder.null(version)),
                }
            }

            fn write(&self, encoder: &mut Encoder, version: Version) -> Result<(), EncodeError> {
                Self::write_nullable(Some(self), encoder, version)
            }

            fn sample<En: Entropy>(entropy: &mut En, version: Version) -> Self {
                let sample: fn(&mut En, Version) -> Self = $sample;
                sample(entropy, version)
            }
        }

        impl $($generic)* Nullable for $type {
            fn read_nullable(decoder: &mut Decoder, version: Version) -> Result<Option<Self>, DecodeError> {
                let read: fn(&mut Decoder, Version) -> Result<Option<Self>, DecodeError> = $read;
                read(decoder, version)
            }

            fn write_nullable(
                value: Option<&Self>,
                encoder: &mut Encoder,
                version: Version,
            ) -> Result<(), EncodeError> {
                let write: fn(Option<&Self>, &mut Encoder, Version) -> Result<(), EncodeError> = $write;
                write(value, encoder, version)
            }
        }
    )+};
}

null_in_length! {
    () Str, 1, |entropy, _| sample_text(entropy);
    |decoder, version| decoder.nullable_string(version.flexible);
    |value, encoder, version| encoder.nullable_string(value.map(Str::as_str), version.flexible);

    () Bytes, 1, |entropy, _| sample_bytes(entropy);
    |decoder, version| decoder.nullable_bytes(version.flexible);
    |value, encoder, version| encoder.nullable_bytes(value, version.flexible);

    () Records, 1, |entropy, _| Records(sample_bytes(entropy));
    |decoder, version| Ok(decoder.nullable_bytes(version.flexible)?.map(Records));
    |value, encoder, version| encoder.nullable_bytes(value.map(|records| &records.0), version.flexible);

    (<T: Wire>) Vec<T>, 1, |entropy, version| {
        let count = entropy.below(4);
        (0..count).map(|_| T::sample(entropy, version)).collect()
    };
    |decoder, version| {
        let Some((count, room)) = decoder.nullable_count::<T>(version.flexible, T::MIN_LEN)? else {
            return Ok(None);
        };
        let mut items = Vec::with_capacity(room);
        for _ in 0..count {
            items.push(T::read(decoder, version)?);
        }
        Ok(Some(items))
    };
    |value, encoder, version| {
        encoder.put_len(value.map(Vec::len), version.flexible, false)?;
        value.map_or(&[][..], |items| items).iter().try_for_each(|item| item.write(encoder, version))
    };
}

fn sample_text<E: Entropy>(entropy: &mut E) -> Str {
    const LETTERS: [&str; 8] = ["a", "-", "Z", "0", ".", "é", "潮", "🌊"];
    // Longer than 126 bytes now and then: the compact length takes a second byte there.
    let len = if entropy.below(16) == 0 { 130 } else { entropy.below(9) };
    Str::from((0..len).map(|_| LETTERS[entropy.below(8) as usize]).collect::<String>())
}

fn sample_bytes<E: Entropy>(entropy: &mut E) -> Bytes {
    // Long enough to be spliced now and then.
    let len = if entropy.below(8) == 0 { 5000 } else { entropy.below(24) };
    (0..len).map(|_| entropy.next() as u8).collect::<Vec<u8>>().into()
}

impl<T: Nullable> Wire for Option<T> {
    const MIN_LEN: usize = T::MIN_NULLABLE_LEN;

    fn read(decoder: &mut Decoder, version: Version) -> Result<Self, DecodeError> {
        T::read_nullable(decoder, version)
    }

    fn write(&self, encoder: &mut Encoder, version: Version) -> Result<(), EncodeError> {
        T::write_nullable(self.as_ref(), encoder, version)
    }

    fn sample<E: Entropy>(entropy: &mut E, version: Version) -> Self {
        if entropy.below(3) == 0 { None } else { Some(T::sample(entropy, version)) }
    }

    fn read_field(decoder: &mut Decoder, version: Version, nullable: bool) -> Result<Self, DecodeError> {
        if nullable { T::read_nullable(decoder, version) } else { T::read(decoder, version).map(Some) }
    }

    fn write_field(&self, encoder: &mut Encoder, version: Version, nullable: bool) -> Result<(), EncodeError> {
        match self {
            _ if nullable => self.write(encoder, version),
            Some(value) => value.write(encoder, version),
            None => Err(encoder.null(version)),
        }
    }

    fn sample_field<E: Entropy>(entropy: &mut E, version: Version, nullable: bool) -> Self {
        if nullable { Self::sample(entropy, version) } else { Some(T::sample(entropy, version)) }
    }
}
