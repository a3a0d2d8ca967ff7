//! The codecs of a batch's records, both ways.
//!
//! | codec | bytes | notes |
//! |---|---|---|
//! | gzip | RFC 1952 | several members behind each other are read as one |
//! | snappy | xerial framing (`snappy.rs`), as Java writes it | raw snappy, as librdkafka sends it, is read too |
//! | lz4 | the LZ4 frame format, 64 KiB blocks | `compression.lz4.level` has no effect: there is one encoder, the fast one |
//! | zstd | one frame with its content size | frames without a content size are read too |
//!
//! What comes out is capped: nothing here believes a length that the bytes claim, and no buffer grows past the limit.
//! The contexts of zstd are kept for each thread, for making one costs more than a small batch.

use std::cell::RefCell;
use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::snappy;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip
    Gzip,
    /// snappy
    Snappy,
    /// lz4
    Lz4,
    /// zstd
    Zstd,
}

impl Codec {
    /// All codecs, by id.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec that a batch's attributes call `id`.
    #[inline]
    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.get(usize::from(id)).copied()
    }

    /// Its number in a batch's attributes.
    #[inline]
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name for it, as `compression.type` takes it.
    pub fn name(self) -> &'static str {
        ["none", "gzip", "snappy", "lz4", "zstd"][self as usize]
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no codec has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a codec: it must be none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCodecName(pub String);

impl FromStr for Codec {
    type Err = UnknownCodecName;

    fn from_str(name: &str) -> Result<Codec, UnknownCodecName> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| UnknownCodecName(name.to_owned()))
    }
}

/// A codec and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    codec: Codec,
    level: Option<i32>,
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// The bytes come to more than is allowed.
    #[error("it comes to more than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes are not of this codec.
    #[error("{0}")]
    Malformed(String),
    /// The level is not one of this codec's.
    #[error("level {level} is not one of {codec}'s: {expected}")]
    Level {
        /// The codec.
        codec: Codec,
        /// What was asked for.
        level: i32,
        /// What may be.
        expected: &'static str,
    },
}

pub(super) fn malformed(what: impl fmt::Display) -> CompressionError {
    CompressionError::Malformed(what.to_string())
}

impl Compression {
    /// No compression.
    pub const NONE: Compression = Compression { codec: Codec::None, level: None };

    /// `codec` at Kafka's default level.
    pub fn new(codec: Codec) -> Compression {
        Compression { codec, level: None }
    }

    /// `codec` at `level`.
    ///
    /// # Errors
    /// [`CompressionError::Level`] for a level that Kafka does not take: gzip 1-9 or -1, lz4 1-17, zstd -131072-22.
    pub fn with_level(codec: Codec, level: i32) -> Result<Compression, CompressionError> {
        let (fits, expected) = match codec {
            Codec::Gzip => (level == -1 || (1..=9).contains(&level), "it must be 1 to 9, or -1 for the default"),
            Codec::Lz4 => ((1..=17).contains(&level), "it must be 1 to 17"),
            Codec::Zstd => ((-131_072..=22).contains(&level), "it must be -131072 to 22"),
            Codec::None | Codec::Snappy => (false, "it has none"),
        };
        if fits {
            Ok(Compression { codec, level: Some(level) })
        } else {
            Err(CompressionError::Level { codec, level, expected })
        }
    }

    /// The codec.
    #[inline]
    pub fn codec(self) -> Codec {
        self.codec
    }

    /// The level, where it is not the default.
    pub fn level(self) -> Option<i32> {
        self.level
    }

    /// Puts `input`, compressed, behind what `out` holds.
    ///
    /// # Errors
    /// [`CompressionError::Malformed`] if the codec's own code fails, which memory apart it has no reason to.
    pub fn compress(self, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
        match self.codec {
            Codec::None => out.extend_from_slice(input),
            Codec::Gzip => {
                let level = match self.level {
                    None | Some(-1) => flate2::Compression::default(),
                    Some(level) => flate2::Compression::new(level as u32),
                };
                let mut encoder = GzEncoder::new(&mut *out, level);
                encoder.write_all(input).and_then(|()| encoder.finish()).map_err(malformed)?;
            }
            Codec::Snappy => snappy::compress(input, out)?,
            Codec::Lz4 => {
                let frame = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
                let mut encoder = FrameEncoder::with_frame_info(frame, &mut *out);
                encoder.write_all(input).map_err(malformed)?;
                encoder.finish().map_err(malformed)?;
            }
            Codec::Zstd => compress_zstd(self.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL), input, out)?,
        }
        Ok(())
    }
}

/// Puts `input`, decompressed, behind what `out` holds; adds at most `limit` bytes.
///
/// # Errors
/// [`CompressionError::TooLarge`] and [`CompressionError::Malformed`]; `out` may hold a part then.
pub fn decompress(codec: Codec, input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    match codec {
        Codec::None if input.len() > limit => Err(CompressionError::TooLarge { limit }),
        Codec::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Codec::Gzip => drain(MultiGzDecoder::new(input), limit, out),
        Codec::Snappy => snappy::decompress(input, limit, out),
        Codec::Lz4 => decompress_lz4(input, limit, out),
        Codec::Zstd => decompress_zstd(input, limit, out),
    }
}

/// Reads all that `reader` has, and fails once it is more than `limit` bytes.
fn drain(reader: impl Read, limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    // One byte over the limit tells a body that just fits from one that does not.
    let read = reader.take((limit as u64).saturating_add(1)).read_to_end(out).map_err(malformed)?;
    if read > limit { Err(CompressionError::TooLarge { limit }) } else { Ok(()) }
}

/// What an LZ4 frame begins with; as Kafka's own decoder, this one takes no other kind of frame.
const LZ4_MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();

/// Decompresses a frame. Its header says how large a block may be, and the decoder makes room for two or three such before
/// it looks at one: a frame that is too short to fill them is given a header that says less.
fn decompress_lz4(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let descriptor = input.strip_prefix(&LZ4_MAGIC).ok_or_else(|| malformed("it is no LZ4 frame"))?;
    match smaller_lz4_blocks(descriptor, input.len()) {
        None => drain(FrameDecoder::new(input), limit, out),
        Some(smaller) => {
            let header = [&LZ4_MAGIC, &*smaller].concat();
            drain(FrameDecoder::new(header.chain(&descriptor[smaller.len()..])), limit, out)
        }
    }
}

/// The frame descriptor that `bytes` begin with, with the smallest blocks that a frame of `len` bytes may come to; `None`
/// where it has them already, or is no descriptor.
///
/// ```text
/// FLG u8 (8: content size follows, 1: dictionary id follows) | BD u8 (block size: 64 KiB << 2 * (n - 4), n in bits 4-6)
/// | [content size u64] | [dictionary id u32] | checksum u8 (the second byte of the XXH32 of what is before it)
/// ```
fn smaller_lz4_blocks(bytes: &[u8], len: usize) -> Option<Vec<u8>> {
    // A byte of a block stands for 255 bytes at most.
    let most = len.saturating_mul(255);
    let (flags, size) = (*bytes.first()?, bytes.get(1)? >> 4 & 7);
    let smallest = (4..size).find(|n| (64 << 10) << (2 * (n - 4)) >= most)?;
    let end = 2 + if flags & 8 != 0 { 8 } else { 0 } + if flags & 1 != 0 { 4 } else { 0 };
    let checksum = |descriptor: &[u8]| (XxHash32::oneshot(0, descriptor) >> 8) as u8;
    let mut descriptor = bytes.get(..=end)?.to_vec();
    if checksum(&descriptor[..end]) != descriptor[end] {
        return None;
    }
    descriptor[1] = descriptor[1] & !0x70 | smallest << 4;
    descriptor[end] = checksum(&descriptor[..end]);
    Some(descriptor)
}

thread_local! {
    static ZSTD_COMPRESSOR: RefCell<Option<(i32, zstd::bulk::Compressor<'static>)>> = const { RefCell::new(None) };
    static ZSTD_DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn compress_zstd(level: i32, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    ZSTD_COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some((kept_level, compressor)) if *kept_level == level => compressor,
            _ => &mut kept.insert((level, zstd::bulk::Compressor::new(level).map_err(malformed)?)).1,
        };
        let start = out.len();
        out.resize(start + zstd::zstd_safe::compress_bound(input.len()), 0);
        let written = compressor.compress_to_buffer(input, &mut out[start..]).map_err(malformed)?;
        out.truncate(start + written);
        Ok(())
    })
}

/// Decompresses in one go into a buffer that grows until it is large enough: unlike a stream this needs no window, whose
/// size (up to 128 MiB) the bytes could choose.
fn decompress_zstd(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    const LEAST: usize = 64 * 1024;
    ZSTD_DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(zstd::bulk::Decompressor::new().map_err(malformed)?),
        };
        let claimed = claimed_by_zstd(input)?;
        if claimed.is_some_and(|claimed| claimed > limit as u64) {
            return Err(CompressionError::TooLarge { limit });
        }
        // No more can come of it than it claims, or than its blocks can hold; and a claim may be a lie, so it is believed
        // only as far as a guess would go at first: a wrong guess costs a second try.
        let blocks = (input.len() / LEAST_ZSTD_BLOCK + 1).saturating_mul(MOST_OF_ZSTD_BLOCK);
        let most = claimed.map_or(blocks, |claimed| (claimed as usize).min(blocks)).min(limit);
        let mut capacity = input.len().saturating_mul(8).max(LEAST).min(most);
        let start = out.len();
        loop {
            out.resize(start + capacity, 0);
            match decompressor.decompress_to_buffer(input, &mut out[start..]) {
                Ok(written) => {
                    out.truncate(start + written);
                    return Ok(());
                }
                Err(error) if is_too_small(&error) && capacity < most => {
                    capacity = capacity.saturating_mul(8).max(LEAST).min(most);
                }
                Err(error) if is_too_small(&error) && most == limit => {
                    return Err(CompressionError::TooLarge { limit });
                }
                Err(error) => return Err(malformed(error)),
            }
        }
    })
}

/// The least that a block of a zstd frame takes: its header, and the byte that it repeats.
const LEAST_ZSTD_BLOCK: usize = 4;
/// The most that a block of a zstd frame may hold (RFC 8878, Block_Maximum_Size).
const MOST_OF_ZSTD_BLOCK: usize = 128 * 1024;

/// How many bytes the frames behind each other in `input` say they hold; `None` where one of them does not say.
fn claimed_by_zstd(mut input: &[u8]) -> Result<Option<u64>, CompressionError> {
    let mut total = Some(0u64);
    while !input.is_empty() {
        let claimed = zstd::zstd_safe::get_frame_content_size(input).map_err(|_| malformed("it is no zstd frame"))?;
        let size = zstd::zstd_safe::find_frame_compressed_size(input).map_err(|_| malformed("a zstd frame is cut"))?;
        total = total.zip(claimed).map(|(total, claimed)| total.saturating_add(claimed));
        input = input.get(size.max(1)..).unwrap_or_default();
    }
    Ok(total)
}

/// zstd's only word for this error is its text.
fn is_too_small(error: &std::io::Error) -> bool {
    error.to_string().contains("buffer is too small")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zstd frame of blocks that each repeat a byte; it claims `claimed` bytes, or nothing.
    fn zstd_bomb(claimed: Option<u8>, blocks: u32, each: u32) -> Vec<u8> {
        let header = match claimed {
            Some(claimed) => [0x20, claimed],
            None => [0x00, 0x58],
        };
        let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd][..], &header].concat();
        for block in 1..=blocks {
            let word = (each << 3) | (1 << 1) | u32::from(block == blocks);
            frame.extend_from_slice(&word.to_le_bytes()[..3]);
            frame.push(b'x');
        }
        frame
    }

    #[test]
    fn a_zstd_frame_that_lies_of_its_size_costs_no_more_than_it_claims() {
        // Blocks larger than a block may be, under a claim of 200 MiB in four bytes.
        let mut boast = zstd_bomb(Some(0), 30, (1 << 21) - 1);
        boast.splice(4..6, [0xa0].into_iter().chain((200u32 << 20).to_le_bytes()));
        let lies = [zstd_bomb(Some(150), 30, 128 << 10), zstd_bomb(None, 30, (1 << 21) - 1), boast];
        for lie in lies {
            let mut out = Vec::new();
            let error = decompress(Codec::Zstd, &lie, 256 << 20, &mut out).unwrap_err();
            assert!(!matches!(error, CompressionError::TooLarge { .. }), "{error}");
            assert!(out.capacity() <= 8 << 20, "{}", out.capacity());
        }
        let mut out = Vec::new();
        decompress(Codec::Zstd, &zstd_bomb(None, 30, 128 << 10), 256 << 20, &mut out).unwrap();
        assert_eq!(out.len(), 30 * (128 << 10));
        let two = [zstd_bomb(Some(5), 1, 5), zstd_bomb(Some(7), 1, 7)].concat();
        out.clear();
        decompress(Codec::Zstd, &two, 100, &mut out).unwrap();
        assert_eq!(out, [b'x'; 12]);
    }

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|i| b"the high water leaves a mark "[(i * i / 7) % 29]).collect()
    }

    #[test]
    fn each_codec_gives_back_what_it_took() {
        for codec in Codec::ALL {
            for len in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 1_000_000] {
                let input = text(len);
                let mut packed = b"before".to_vec();
                Compression::new(codec).compress(&input, &mut packed).unwrap();
                assert!(packed.starts_with(b"before"));
                let mut out = b"kept".to_vec();
                decompress(codec, &packed[6..], len, &mut out).unwrap();
                assert_eq!(&out[4..], &input, "{codec} {len}");
            }
        }
    }

    #[test]
    fn more_than_the_limit_is_refused_and_not_allocated() {
        let input = vec![0; 10_000_000];
        for codec in Codec::ALL {
            let mut packed = Vec::new();
            Compression::new(codec).compress(&input, &mut packed).unwrap();
            let mut out = Vec::new();
            let error = decompress(codec, &packed, 100_000, &mut out).unwrap_err();
            assert_eq!(error, CompressionError::TooLarge { limit: 100_000 }, "{codec}");
            assert!(out.capacity() < 1_000_000, "{codec}: {}", out.capacity());
        }
    }

    #[test]
    fn an_lz4_frame_makes_room_for_no_more_than_it_can_come_to() {
        for (len, size, smaller) in [(200, BlockSize::Max4MB, Some(4)), (200, BlockSize::Max64KB, None)] {
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                let input = text(len);
                let frame = FrameInfo::new().block_size(size).block_mode(mode).content_size(Some(len as u64));
                let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
                encoder.write_all(&input).unwrap();
                let packed = encoder.finish().unwrap();
                let descriptor = smaller_lz4_blocks(&packed[4..], packed.len());
                assert_eq!(descriptor.map(|descriptor| descriptor[1] >> 4), smaller);
                let mut out = Vec::new();
                decompress(Codec::Lz4, &packed, len, &mut out).unwrap();
                assert_eq!(out, input);
            }
        }
        // One that may come to 2 MiB keeps its 4 MiB: 1 MiB would be too little.
        assert_eq!(smaller_lz4_blocks(&[0x60, 0x70, 0x73], 8 << 10), None);
        // Frames of before there were headers are for blocks of 8 MiB, and Kafka takes none.
        let error = decompress(Codec::Lz4, &[0x02, 0x21, 0x4c, 0x18, 1, 0, 0, 0, 0], 100, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "it is no LZ4 frame");
    }

    #[test]
    fn levels_are_kafkas() {
        for (codec, level) in
            [(Codec::Gzip, 9), (Codec::Gzip, 1), (Codec::Lz4, 17), (Codec::Zstd, 19), (Codec::Zstd, -5)]
        {
            let compression = Compression::with_level(codec, level).unwrap();
            let mut packed = Vec::new();
            compression.compress(b"hello hello hello", &mut packed).unwrap();
            let mut out = Vec::new();
            decompress(codec, &packed, 100, &mut out).unwrap();
            assert_eq!(out, b"hello hello hello");
        }
        for (codec, level) in
            [(Codec::Gzip, 10), (Codec::Gzip, 0), (Codec::Lz4, 0), (Codec::Zstd, 23), (Codec::Snappy, 1)]
        {
            assert!(matches!(Compression::with_level(codec, level), Err(CompressionError::Level { .. })));
        }
    }

    #[test]
    fn a_zstd_stream_without_a_content_size_is_read() {
        let input = text(3_000_000);
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(&input).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&packed).unwrap(), None);
        let mut out = Vec::new();
        decompress(Codec::Zstd, &packed, 4_000_000, &mut out).unwrap();
        assert_eq!(out, input);
    }

    #[test]
    fn names_are_kafkas() {
        for codec in Codec::ALL {
            assert_eq!(codec.name().parse::<Codec>().unwrap(), codec);
            assert_eq!(Codec::from_id(codec.id()), Some(codec));
        }
        assert!("lzma".parse::<Codec>().unwrap_err().to_string().contains("lzma"));
        assert_eq!(Codec::from_id(5), None);
    }
}
