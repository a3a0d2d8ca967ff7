//! How a table becomes a message: the macro [`message!`](crate::protocol::message), the traits [`Message`] and
//! [`Request`].
//!
//! A message is declared once, as a table with one line a field; the struct, its defaults, how it is read, written and
//! sampled all come from that line.
//!
//! ```text
//! message! {
//!     /// What the struct is for.
//!     ProduceRequest (request of Produce, answered by ProduceResponse) {
//!         transactional_id: Option<Str>,
//!         acks: i16,
//!         topics: Vec<TopicProduceData> [3+],
//!         ...
//!     }
//!     /// A struct inside it; names no versions of its own.
//!     TopicProduceData {
//!         name: Str [0-12] ignorable,
//!         ...
//!     }
//! }
//!
//! in brackets behind a name          what the struct is
//!   (request of API, answered by R)    a request; versions and flexibility stand in the API table
//!   (response of API)                  a response, likewise
//!   (versions 0-3, flexible 2+)        a message without an API: a record's key or value, a protocol's metadata
//!   nothing                            part of another message, and read and written in that one's version
//!
//! behind a field's type, in this order
//!   [3+]  [0-12]  [7]     the versions that carry it; without it, all (and then nothing but a default may follow)
//!   null [9+]             an Option that may be null in these versions only; without it, in all that carry it
//!   tag 0                 a tagged field (KIP-482), under this tag; a struct's tags rise from line to line
//!   ignorable             dropped in silence by a version that does not carry it
//!   = -1                  the value it has when nothing is said; without it, that of the type
//! ```
//!
//! Writing a version that does not carry a field is an error if the field holds anything but its default, unless the
//! field is ignorable: what was said is never lost unknown to the one who said it. A tagged field that holds its
//! default is not written.

use bytes::Bytes;

use super::api::ApiKey;
use super::primitives::{
    DecodeError, DecodeProblem, Decoder, EncodeError, EncodeProblem, Encoder, Place, Version, Versions, Wire,
};

/// A message with versions of its own: a request, a response, or a record's key or value.
pub trait Message: Wire {
    /// Kafka's name of it.
    const NAME: &'static str;
    /// The versions it has.
    const VERSIONS: Versions;
    /// Those of them that are flexible.
    const FLEXIBLE: Versions;
    /// The message itself, where no field has been reached.
    const PLACE: &'static Place;

    /// How `version` is spoken.
    fn version(version: i16) -> Version {
        Version { number: version, flexible: Self::FLEXIBLE.contains(version) }
    }

    /// Reads the message at the decoder's position and leaves what is behind it.
    fn decode(decoder: &mut Decoder, version: i16) -> Result<Self, DecodeError> {
        decoder.at(Self::PLACE);
        if !Self::VERSIONS.contains(version) {
            return Err(decoder.error(DecodeProblem::UnsupportedVersion { version, supported: Self::VERSIONS }));
        }
        Self::read(decoder, Self::version(version))
    }

    /// Writes the message.
    fn encode(&self, encoder: &mut Encoder, version: i16) -> Result<(), EncodeError> {
        encoder.at(Self::PLACE);
        if !Self::VERSIONS.contains(version) {
            return Err(encoder.error(EncodeProblem::UnsupportedVersion { version, supported: Self::VERSIONS }));
        }
        self.write(encoder, Self::version(version))
    }

    /// The message that `bytes` hold; nothing may be left behind it.
    fn from_bytes(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let message = Self::decode(&mut decoder, version)?;
        decoder.at(Self::PLACE);
        decoder.finish()?;
        Ok(message)
    }

    /// The message's bytes, in one piece.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut encoder = Encoder::new();
        self.encode(&mut encoder, version)?;
        Ok(encoder.finish().into_bytes())
    }

    /// The message that `bytes` hold behind an i16 that says its version, and that version: the form of the keys and
    /// values of `__consumer_offsets`, and of a consumer's subscription and assignment. Nothing may be left behind it.
    fn from_bytes_with_version(bytes: Bytes) -> Result<(i16, Self), DecodeError> {
        let mut decoder = Decoder::new(bytes);
        decoder.at(Self::PLACE);
        let version = decoder.i16()?;
        let message = Self::decode(&mut decoder, version)?;
        decoder.at(Self::PLACE);
        decoder.finish()?;
        Ok((version, message))
    }

    /// The message's bytes behind an i16 that says their version.
    fn to_bytes_with_version(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut encoder = Encoder::new();
        encoder.i16(version);
        self.encode(&mut encoder, version)?;
        Ok(encoder.finish().into_bytes())
    }
}

/// A request, and what answers it.
pub trait Request: Message {
    /// Its API.
    const KEY: ApiKey;
    /// The response, which is spoken in the request's version.
    type Response: Message;
}

/// Declares messages as tables; see [the module](crate::protocol::message).
macro_rules! message {
    ($(
        $(#[$doc:meta])+
        $name:ident $(($($kind:tt)+))? {
            $(
                $(#[$field_doc:meta])*
                $field:ident : $type:ty
                    $(
                        [$($carried:tt)+]
                        $(null [$($null:tt)+])?
                        $(tag $tag:literal)?
                        $(ignorable $(!$ignorable:tt)?)?
                    )?
                    $(= $default:expr)?
            ),* $(,)?
        }
    )+) => {$(
        $(#[$doc])+
        // Some tables live in modules that are not public.
        #[allow(unreachable_pub)]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[$field_doc])*
                #[doc = concat!(
                    "\n\n", $crate::protocol::message::carried_text!($($($carried)+)?)
                    $(
                        $(, "; null in ", stringify!($($null)+))?
                        $(, "; tag ", $tag)?
                        $(, "; ignorable" $(, $ignorable)?)?
                    )?
                    $(, "; `", stringify!($default), "` by default")?,
                    "."
                )]
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::protocol::message::default_of!($type $(, $default)?),)* }
            }
        }

        #[allow(unused_imports, unused_variables, unused_mut)]
        impl $crate::protocol::primitives::Wire for $name {
            const MIN_LEN: usize = {
                let sum = 0 $(
                    + if $crate::protocol::message::versions!($($($carried)+)?).min == 0
                        && $crate::protocol::message::versions!($($($carried)+)?).max == i16::MAX
                    {
                        <$type as $crate::protocol::primitives::Wire>::MIN_LEN
                    } else {
                        0
                    }
                )*;
                if sum == 0 { 1 } else { sum }
            };

            fn read(
                decoder: &mut $crate::protocol::primitives::Decoder,
                version: $crate::protocol::primitives::Version,
            ) -> Result<Self, $crate::protocol::primitives::DecodeError> {
                use $crate::protocol::message::{default_of, if_tagged, is_given, place, versions};
                use $crate::protocol::primitives::Wire;
                $(
                    let mut $field: $type = if !is_given!($($($tag)?)?)
                        && const { versions!($($($carried)+)?) }.contains(version.number)
                    {
                        decoder.at(place!($name, $field));
                        let nullable = const { versions!($($($($null)+)?)?) }.contains(version.number);
                        Wire::read_field(decoder, version, nullable)?
                    } else {
                        default_of!($type $(, $default)?)
                    };
                )*
                if version.flexible {
                    decoder.at(place!($name, tagged_fields));
                    decoder.tagged_fields(|decoder, tag| {
                        $(if_tagged! { ($($($tag)?)?) {
                            if tag == TAG && const { versions!($($($carried)+)?) }.contains(version.number) {
                                decoder.at(place!($name, $field));
                                let nullable = const { versions!($($($($null)+)?)?) }.contains(version.number);
                                $field = Wire::read_field(decoder, version, nullable)?;
                                return Ok(true);
                            }
                        } })*
                        Ok(false)
                    })?;
                }
                Ok(Self { $($field),* })
            }

            fn write(
                &self,
                encoder: &mut $crate::protocol::primitives::Encoder,
                version: $crate::protocol::primitives::Version,
            ) -> Result<(), $crate::protocol::primitives::EncodeError> {
                use $crate::protocol::message::{default_of, if_tagged, is_given, place, versions};
                use $crate::protocol::primitives::{EncodeProblem, Tags, Wire};
                $(
                    if !const { versions!($($($carried)+)?) }.contains(version.number) {
                        if !is_given!($($(ignorable $($ignorable)?)?)?)
                            && self.$field != default_of!($type $(, $default)?)
                        {
                            encoder.at(place!($name, $field));
                            return Err(encoder.error(EncodeProblem::NotInVersion(version.number)));
                        }
                    } else if !is_given!($($($tag)?)?) {
                        encoder.at(place!($name, $field));
                        let nullable = const { versions!($($($($null)+)?)?) }.contains(version.number);
                        Wire::write_field(&self.$field, encoder, version, nullable)?;
                    }
                )*
                if version.flexible {
                    let mut tags = Tags::new();
                    $(if_tagged! { ($($($tag)?)?) {
                        if const { versions!($($($carried)+)?) }.contains(version.number)
                            && self.$field != default_of!($type $(, $default)?)
                        {
                            tags.put(place!($name, $field), TAG, &self.$field, version)?;
                        }
                    } })*
                    tags.finish(encoder);
                }
                Ok(())
            }

            fn sample<E: $crate::protocol::primitives::Entropy>(
                entropy: &mut E,
                version: $crate::protocol::primitives::Version,
            ) -> Self {
                use $crate::protocol::message::{default_of, versions};
                use $crate::protocol::primitives::Wire;
                Self {
                    $(
                        $field: if const { versions!($($($carried)+)?) }.contains(version.number) {
                            let nullable = const { versions!($($($($null)+)?)?) }.contains(version.number);
                            Wire::sample_field(entropy, version, nullable)
                        } else {
                            default_of!($type $(, $default)?)
                        },
                    )*
                }
            }
        }

        impl $crate::protocol::primitives::Nullable for $name {}

        $($crate::protocol::message::message_kind! { $name: $($kind)+ })?
    )+};
}

/// What the brackets behind a message's name say.
macro_rules! message_kind {
    ($name:ident: request of $api:ident, answered by $response:ident) => {
        $crate::protocol::message::message_kind! { $name: response of $api }

        impl $crate::protocol::message::Request for $name {
            const KEY: $crate::protocol::api::ApiKey = $crate::protocol::api::ApiKey::$api;
            type Response = $response;
        }
    };
    ($name:ident: response of $api:ident) => {
        impl $crate::protocol::message::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::protocol::primitives::Versions =
                $crate::protocol::api::ApiKey::$api.spec().served;
            const FLEXIBLE: $crate::protocol::primitives::Versions =
                $crate::protocol::api::ApiKey::$api.spec().flexible;
            const PLACE: &'static $crate::protocol::primitives::Place =
                $crate::protocol::message::place!($name, start);
        }
    };
    ($name:ident: versions $only:literal $(, flexible $($flexible:tt)+)?) => {
        $crate::protocol::message::message_kind! { $name: [$only] [$($($flexible)+)?] }
    };
    ($name:ident: versions $min:literal + $(, flexible $($flexible:tt)+)?) => {
        $crate::protocol::message::message_kind! { $name: [$min +] [$($($flexible)+)?] }
    };
    ($name:ident: versions $min:literal - $max:literal $(, flexible $($flexible:tt)+)?) => {
        $crate::protocol::message::message_kind! { $name: [$min - $max] [$($($flexible)+)?] }
    };
    ($name:ident: [$($versions:tt)+] []) => {
        $crate::protocol::message::message_kind! { $name: [$($versions)+] [none] }
    };
    ($name:ident: [$($versions:tt)+] [$($flexible:tt)+]) => {
        impl $crate::protocol::message::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::protocol::primitives::Versions =
                $crate::protocol::message::versions!($($versions)+);
            const FLEXIBLE: $crate::protocol::primitives::Versions =
                $crate::protocol::message::versions!($($flexible)+);
            const PLACE: &'static $crate::protocol::primitives::Place =
                $crate::protocol::message::place!($name, start);
        }
    };
}

/// `3-13`, `9+`, `7`, `none`, or nothing for every version.
macro_rules! versions {
    () => {
        $crate::protocol::primitives::Versions::ALL
    };
    (none) => {
        $crate::protocol::primitives::Versions::NONE
    };
    ($only:literal) => {
        $crate::protocol::primitives::Versions::new($only, $only)
    };
    ($min:literal +) => {
        $crate::protocol::primitives::Versions::new($min, i16::MAX)
    };
    ($min:literal - $max:literal) => {
        $crate::protocol::primitives::Versions::new($min, $max)
    };
}

/// The versions as words, for the docs.
macro_rules! carried_text {
    () => {
        "In each version"
    };
    ($($carried:tt)+) => {
        concat!("In versions ", stringify!($($carried)+))
    };
}

/// The default said in the table, or the type's own.
macro_rules! default_of {
    ($type:ty) => {
        <$type as Default>::default()
    };
    ($type:ty, $default:expr) => {
        $default
    };
}

/// Whether anything is said.
macro_rules! is_given {
    () => {
        false
    };
    ($($given:tt)+) => {
        true
    };
}

/// Nothing for a field without a tag; the block, with the tag as `TAG`, for one that has one.
macro_rules! if_tagged {
    (() $block:block) => {};
    (($tag:literal) $block:block) => {{
        const TAG: u32 = $tag;
        $block
    }};
}

/// The place of a field, for errors.
macro_rules! place {
    ($message:ident, $field:ident) => {
        &$crate::protocol::primitives::Place { message: stringify!($message), field: stringify!($field) }
    };
}

pub(crate) use {carried_text, default_of, if_tagged, is_given, message, message_kind, place, versions};

#[cfg(test)]
mod tests;
