//! The pictures in [the module](super) and its bounds, each as a case.

use bytes::{Buf, Bytes};
use proptest::prelude::*;

use super::*;

const OLD: Version = Version { number: 0, flexible: false };
const FLEXIBLE: Version = Version { number: 0, flexible: true };

fn bytes_of<T: Wire>(value: &T, version: Version) -> Bytes {
    let mut encoder = Encoder::new();
    value.write(&mut encoder, version).unwrap();
    encoder.finish().into_bytes()
}

fn read<T: Wire>(bytes: impl Into<Bytes>, version: Version) -> Result<T, DecodeProblem> {
    T::read(&mut Decoder::new(bytes.into()), version).map_err(|error| error.problem)
}

#[test]
fn strings_have_the_two_forms_that_the_module_draws() {
    let text = Str::from("sea");
    assert_eq!(bytes_of(&text, OLD), &[0, 3, b's', b'e', b'a'][..]);
    assert_eq!(bytes_of(&text, FLEXIBLE), &[4, b's', b'e', b'a'][..]);
    assert_eq!(bytes_of(&None::<Str>, OLD), &[0xff, 0xff][..]);
    assert_eq!(bytes_of(&None::<Str>, FLEXIBLE), &[0][..]);
}

#[test]
fn arrays_have_the_two_forms_that_the_module_draws() {
    assert_eq!(bytes_of(&vec![1i16], OLD), &[0, 0, 0, 1, 0, 1][..]);
    assert_eq!(bytes_of(&vec![1i16], FLEXIBLE), &[2, 0, 1][..]);
    assert_eq!(bytes_of(&None::<Vec<i16>>, OLD), &[0xff; 4][..]);
    assert_eq!(bytes_of(&None::<Vec<i16>>, FLEXIBLE), &[0][..]);
}

#[test]
fn a_string_is_a_slice_of_its_frame() {
    let frame = bytes_of(&Str::from("no copy"), OLD);
    let text: Str = read(frame.clone(), OLD).unwrap();
    assert_eq!(text.as_bytes().as_ptr(), frame[2..].as_ptr());
}

#[test]
fn null_is_refused_where_none_may_stand() {
    assert_eq!(read::<Str>(&[0xff, 0xff][..], OLD), Err(DecodeProblem::UnexpectedNull(0)));
    assert_eq!(read::<Vec<i8>>(&[0][..], FLEXIBLE), Err(DecodeProblem::UnexpectedNull(0)));
    assert_eq!(read::<Option<Str>>(&[0xff, 0xff][..], OLD), Ok(None));
}

#[test]
fn any_negative_length_is_null() {
    assert_eq!(read::<Option<Str>>(&[0x80, 0][..], OLD), Ok(None));
    assert_eq!(read::<Option<Bytes>>(&[0xff, 0xff, 0xff, 0xfe][..], OLD), Ok(None));
    assert_eq!(read::<Option<Vec<i8>>>(&[0x80, 0, 0, 0][..], OLD), Ok(None));
    assert_eq!(read::<Vec<i8>>(&[0x80, 0, 0, 0][..], OLD), Err(DecodeProblem::UnexpectedNull(0)));
}

#[test]
fn what_is_no_text_in_a_string_is_replaced() {
    assert_eq!(read::<Str>(&[0, 3, b'a', 0xff, 0xfe][..], OLD), Ok(Str::from("a\u{fffd}\u{fffd}")));
    // Cut in the middle of a character of four bytes: one replacement for what there is of it.
    assert_eq!(read::<Str>(&[0, 4, 0xf0, 0x9f, 0x8c, b'z'][..], OLD), Ok(Str::from("\u{fffd}z")));
}

#[test]
fn a_compact_string_is_no_longer_than_an_old_one() {
    let mut frame = vec![0x81, 0x80, 0x02];
    frame.resize(40_000, b'a');
    assert_eq!(read::<Str>(frame, FLEXIBLE), Err(DecodeProblem::StringTooLong(32_768)));
    let text = Str::from("a".repeat(32_768));
    assert!(text.write(&mut Encoder::new(), FLEXIBLE).is_err());
}

#[test]
fn a_count_that_cannot_be_true_allocates_nothing() {
    let problem = read::<Vec<i64>>(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0][..], OLD).unwrap_err();
    assert_eq!(problem, DecodeProblem::CountTooHigh { count: i32::MAX as usize, remaining: 4, most: 0 });
    let problem = read::<Vec<i64>>(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1][..], FLEXIBLE).unwrap_err();
    assert_eq!(problem, DecodeProblem::CountTooHigh { count: u32::MAX as usize - 1, remaining: 1, most: 0 });
}

#[test]
fn many_tiny_items_may_not_grow_without_bound() {
    let count = 4 << 20u32;
    let mut encoder = Encoder::new();
    encoder.uvarint(count + 1);
    let mut frame = encoder.finish().into_bytes().to_vec();
    frame.resize(frame.len() + count as usize, 1);
    let len = frame.len();
    let problem = read::<Vec<Str>>(frame, FLEXIBLE).unwrap_err();
    assert_eq!(problem, DecodeProblem::TooMuchMemory { count: count as usize, frame: len });
}

#[test]
fn a_uvarint_has_at_most_32_bits() {
    assert_eq!(Decoder::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f])).uvarint(), Ok(u32::MAX));
    for long in [[0xff, 0xff, 0xff, 0xff, 0x1f], [0x80, 0x80, 0x80, 0x80, 0x80]] {
        let error = Decoder::new(Bytes::copy_from_slice(&long)).uvarint().unwrap_err();
        assert_eq!(error.problem, DecodeProblem::VarintTooLong);
    }
}

#[test]
fn unknown_tagged_fields_are_skipped_and_known_ones_bounded() {
    let frame = Bytes::from_static(&[2, 7, 3, 1, 2, 3, 9, 1, 42, 99]);
    let mut decoder = Decoder::new(frame.clone());
    let mut seen = Vec::new();
    decoder
        .tagged_fields(|decoder, tag| {
            seen.push(tag);
            if tag == 9 {
                assert_eq!((decoder.remaining(), decoder.i8()?), (1, 42));
            }
            Ok(tag == 9)
        })
        .unwrap();
    assert_eq!((seen, decoder.i8()), (vec![7, 9], Ok(99)));

    let short = Decoder::new(frame.clone()).tagged_fields(|decoder, _| decoder.i64().map(|_| true)).unwrap_err();
    assert_eq!(short.problem, DecodeProblem::Truncated { needed: 8, remaining: 3 });
    let long = Decoder::new(frame).tagged_fields(|decoder, _| decoder.i8().map(|_| true)).unwrap_err();
    assert_eq!(long.problem, DecodeProblem::TaggedFieldTooLong { tag: 7, left: 2 });
}

#[test]
fn large_bytes_are_spliced_and_small_ones_copied() {
    let large = Bytes::from(vec![7; 5000]);
    let small = Bytes::from(vec![8; 50]);
    for first in [&small, &large] {
        let mut encoder = Encoder::begin_frame(0);
        for bytes in [first, &large, &large, &small] {
            bytes.write(&mut encoder, OLD).unwrap();
        }
        let len = encoder.len();
        assert_eq!(len, 4 + 4 * 4 + first.len() + 2 * 5000 + 50);
        let mut frame = encoder.finish_frame().unwrap();
        assert_eq!(frame.len(), len);
        let spliced = frame.chunks().filter(|chunk| chunk.as_ptr() == large.as_ptr()).count();
        assert_eq!(spliced, if first == &large { 3 } else { 2 });
        assert_eq!(frame.get_i32() as usize, len - 4);
        let mut decoder = Decoder::new(frame.into_bytes());
        for bytes in [first, &large, &large, &small] {
            assert_eq!(&Bytes::read(&mut decoder, OLD).unwrap(), bytes);
        }
        decoder.finish().unwrap();
    }
}

#[test]
fn bytes_that_come_first_are_spliced_first() {
    let large = Bytes::from(vec![7; 5000]);
    let mut encoder = Encoder::new();
    encoder.splice(&large);
    encoder.i8(1);
    encoder.splice(&large);
    encoder.i8(2);
    let bytes = encoder.finish().into_bytes();
    assert_eq!((bytes.len(), bytes[4999], bytes[5000], bytes[5001], bytes[10_001]), (10_002, 7, 1, 7, 2));
}

#[test]
fn a_frame_can_be_sent_in_pieces() {
    let large = Bytes::from((0..5000u32).map(|n| n as u8).collect::<Vec<_>>());
    let mut encoder = Encoder::new();
    encoder.i32(1);
    encoder.splice(&large);
    encoder.i32(2);
    let mut frame = encoder.finish();
    let whole = frame.clone().into_bytes();
    let mut sent = Vec::new();
    while frame.has_remaining() {
        let mut slices = [std::io::IoSlice::new(&[]); 2];
        let filled = frame.chunks_vectored(&mut slices);
        assert!(filled >= 1);
        let step = slices[0].len().min(999);
        sent.extend_from_slice(&slices[0][..step]);
        frame.advance(step);
    }
    assert_eq!(sent, whole);
}

#[test]
fn a_map_keyed_by_str_can_be_asked_with_text() {
    let map = std::collections::HashMap::from([(Str::from_static("tide"), 1)]);
    assert_eq!(map.get("tide"), Some(&1));
    let (ebb, flood) = (Str::from("ebb"), Str::from("flood"));
    assert!(ebb < flood);
    assert_eq!(format!("{ebb:?} {flood}"), "\"ebb\" flood");
}

#[test]
fn versions_are_written_as_kafka_does() {
    let written = [Versions::new(3, 13), Versions::new(9, i16::MAX), Versions::new(7, 7), Versions::NONE];
    assert_eq!(written.map(|versions| versions.to_string()), ["3-13", "9+", "7", "none"]);
}

proptest! {
    #[test]
    fn ints_and_texts_survive_the_wire(
        a: i8, b: i16, c: i32, d: i64, e: u16, f: u32, g: bool, h in ".{0,200}", i: Option<Vec<u8>>,
    ) {
        for version in [OLD, FLEXIBLE] {
            let mut encoder = Encoder::new();
            let (h, i) = (Str::from(h.as_str()), i.clone().map(Bytes::from));
            a.write(&mut encoder, version).unwrap();
            b.write(&mut encoder, version).unwrap();
            c.write(&mut encoder, version).unwrap();
            d.write(&mut encoder, version).unwrap();
            e.write(&mut encoder, version).unwrap();
            f.write(&mut encoder, version).unwrap();
            g.write(&mut encoder, version).unwrap();
            h.write(&mut encoder, version).unwrap();
            i.write(&mut encoder, version).unwrap();
            encoder.uvarint(f);
            let mut decoder = Decoder::new(encoder.finish().into_bytes());
            prop_assert_eq!(i8::read(&mut decoder, version), Ok(a));
            prop_assert_eq!(i16::read(&mut decoder, version), Ok(b));
            prop_assert_eq!(i32::read(&mut decoder, version), Ok(c));
            prop_assert_eq!(i64::read(&mut decoder, version), Ok(d));
            prop_assert_eq!(u16::read(&mut decoder, version), Ok(e));
            prop_assert_eq!(u32::read(&mut decoder, version), Ok(f));
            prop_assert_eq!(bool::read(&mut decoder, version), Ok(g));
            prop_assert_eq!(Str::read(&mut decoder, version), Ok(h));
            prop_assert_eq!(Option::<Bytes>::read(&mut decoder, version), Ok(i));
            prop_assert_eq!(decoder.uvarint(), Ok(f));
            prop_assert_eq!(decoder.finish(), Ok(()));
        }
    }
}
