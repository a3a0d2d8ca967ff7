//! What messages are made of: ints, strings, bytes, arrays, tagged fields.
//!
//! A [`Decoder`] walks over one frame and never past its end; an [`Encoder`] gathers a [`Frame`] of few chunks. A type
//! that can stand in a message is [`Wire`]. How most of them look depends on whether the message's [`Version`] is
//! flexible (KIP-482):
//!
//! ```text
//!                      up to the first flexible version         from then on ("compact")
//! string, null = -1    i16 length, UTF-8                        uvarint length + 1 (0: null), UTF-8
//! bytes, records       i32 length, bytes                        uvarint length + 1 (0: null), bytes
//! array                i32 count, items                         uvarint count + 1 (0: null), items
//! nullable struct      i8 (negative: null, else 1), the struct  the same
//! end of a struct      -                                        uvarint count; each: uvarint tag, uvarint size, value
//! ```
//! Ints are big-endian; a uvarint carries seven bits a byte, low bits first, in at most five bytes.

mod decoder;
mod encoder;
mod sample;
mod string;
mod types;

pub use decoder::{DecodeError, DecodeProblem, Decoder};
pub use encoder::{EncodeError, EncodeProblem, Encoder, Frame, Tags};
pub use sample::{Entropy, Seed};
pub use string::Str;
pub use types::Records;

use std::fmt;

/// The version a message is spoken in, and whether that version is flexible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The version's number.
    pub number: i16,
    /// Whether lengths are compact and structs end with tagged fields.
    pub flexible: bool,
}

/// A range of versions, both ends included.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The lowest version.
    pub min: i16,
    /// The highest version; [`i16::MAX`] where there is no upper end.
    pub max: i16,
}

impl Versions {
    /// Every version.
    pub const ALL: Versions = Versions { min: 0, max: i16::MAX };
    /// No version.
    pub const NONE: Versions = Versions { min: i16::MAX, max: i16::MIN };

    /// The versions from `min` to `max`, both included.
    pub const fn new(min: i16, max: i16) -> Versions {
        Versions { min, max }
    }

    /// Whether `version` is one of these.
    pub const fn contains(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Each version in turn.
    pub fn iter(&self) -> std::ops::RangeInclusive<i16> {
        self.min..=self.max
    }
}

impl fmt::Display for Versions {
    /// As Kafka writes it: `3-13`, `9+`, `0` or `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (min, max) if min > max => write!(f, "none"),
            (min, i16::MAX) => write!(f, "{min}+"),
            (min, max) if min == max => write!(f, "{min}"),
            (min, max) => write!(f, "{min}-{max}"),
        }
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The field that is being read or written: what an error names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The struct, under Kafka's name.
    pub message: &'static str,
    /// The field.
    pub field: &'static str,
}

impl Place {
    /// Where nothing has begun yet.
    pub const START: &'static Place = &Place { message: "frame", field: "start" };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message, self.field)
    }
}

/// A value that has a form on the wire.
pub trait Wire: Sized {
    /// The fewest bytes that any version spends on such a value. An array's count is held against it.
    const MIN_LEN: usize;

    /// Reads a value at the decoder's position.
    fn read(decoder: &mut Decoder, version: Version) -> Result<Self, DecodeError>;

    /// Writes the value.
    fn write(&self, encoder: &mut Encoder, version: Version) -> Result<(), EncodeError>;

    /// Draws a value that `version` can carry: for tests, fuzzing corpora and benchmarks.
    fn sample<E: Entropy>(entropy: &mut E, version: Version) -> Self;

    /// As [`Wire::read`], for a field that may be null in this version only if `nullable`.
    fn read_field(decoder: &mut Decoder, version: Version, _nullable: bool) -> Result<Self, DecodeError> {
        Self::read(decoder, version)
    }

    /// As [`Wire::write`], for a field that may be null in this version only if `nullable`.
    fn write_field(&self, encoder: &mut Encoder, version: Version, _nullable: bool) -> Result<(), EncodeError> {
        self.write(encoder, version)
    }

    /// As [`Wire::sample`], for a field that may be null in this version only if `nullable`.
    fn sample_field<E: Entropy>(entropy: &mut E, version: Version, _nullable: bool) -> Self {
        Self::sample(entropy, version)
    }
}

/// A value that may be null: what stands inside an [`Option`].
///
/// The provided methods are those of a struct, which a byte in front announces. Strings, bytes and arrays say null in
/// their length, and have their own.
pub trait Nullable: Wire {
    /// The fewest bytes that null or a value takes.
    const MIN_NULLABLE_LEN: usize = 1;

    /// Reads null or a value.
    fn read_nullable(decoder: &mut Decoder, version: Version) -> Result<Option<Self>, DecodeError> {
        if decoder.i8()? < 0 { Ok(None) } else { Self::read(decoder, version).map(Some) }
    }

    /// Writes null or a value.
    fn write_nullable(value: Option<&Self>, encoder: &mut Encoder, version: Version) -> Result<(), EncodeError> {
        match value {
            None => {
                encoder.i8(-1);
                Ok(())
            }
            Some(value) => {
                encoder.i8(1);
                value.write(encoder, version)
            }
        }
    }
}

#[cfg(test)]
mod tests;
