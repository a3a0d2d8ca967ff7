//! A made-up message with one of each kind of field, in each of its versions.

use bytes::Bytes;

use crate::protocol::primitives::{DecodeProblem, EncodeProblem, Encoder, Seed, Str, Wire};

use super::*;

message! {
    /// A message with one of each.
    Tide (versions 1-3, flexible 2+) {
        height: i32,
        name: Option<Str>  [0+] null [2+],
        lost: i16          [3+] = -1,
        dropped: i16       [3+] ignorable = 7,
        moon: Option<Moon> [2+],
        wind: i64          [2+] tag 0 = 5,
        shells: Vec<Moon>  [3+] tag 4 ignorable,
    }

    /// Inside it.
    Moon {
        phase: i8,
        full: bool [3+] = true,
    }

    /// A message that is flexible from the start, and has but one version.
    Wave (versions 0, flexible 0+) {
        length: u32,
    }

    /// A message that never is.
    Foam (versions 4+) {
        colour: Str = Str::from_static("white"),
    }
}

fn tide() -> Tide {
    Tide { height: 1, name: Some("neap".into()), ..Tide::default() }
}

#[test]
fn the_brackets_say_which_versions_there_are() {
    assert_eq!((Tide::VERSIONS, Tide::FLEXIBLE), (Versions::new(1, 3), Versions::new(2, i16::MAX)));
    assert_eq!((Wave::VERSIONS, Wave::FLEXIBLE), (Versions::new(0, 0), Versions::new(0, i16::MAX)));
    assert_eq!((Foam::VERSIONS, Foam::FLEXIBLE), (Versions::new(4, i16::MAX), Versions::NONE));
    assert_eq!(Foam::NAME, "Foam");
}

#[test]
fn defaults_are_those_of_the_table() {
    let tide = Tide::default();
    assert_eq!((tide.lost, tide.dropped, tide.wind, tide.moon), (-1, 7, 5, None));
    assert_eq!(Foam::default().colour, "white");
    assert!(Moon::default().full);
}

#[test]
fn each_version_has_the_bytes_that_its_table_says() {
    assert_eq!(tide().to_bytes(1).unwrap(), &b"\0\0\0\x01\0\x04neap"[..]);
    // Compact name, no moon, no tagged field.
    assert_eq!(tide().to_bytes(2).unwrap(), &b"\0\0\0\x01\x05neap\xff\0"[..]);
    let full = Tide { moon: Some(Moon { phase: 3, full: true }), wind: 6, ..tide() };
    let bytes = full.to_bytes(2).unwrap();
    // A moon with its own empty tags, then one tagged field: tag 0, eight bytes.
    assert_eq!(bytes, &b"\0\0\0\x01\x05neap\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\x06"[..]);
    assert_eq!(Tide::from_bytes(bytes, 2).unwrap(), full);
}

#[test]
fn what_a_version_cannot_carry_is_an_error_unless_ignorable() {
    let lost = Tide { lost: 1, ..tide() }.to_bytes(2).unwrap_err();
    assert_eq!(lost.problem, EncodeProblem::NotInVersion(2));
    assert_eq!(lost.to_string(), "Tide.lost: holds a value that version 2 cannot carry");
    let dropped = Tide { dropped: 1, shells: vec![Moon::default()], ..tide() };
    assert_eq!(dropped.to_bytes(1), tide().to_bytes(1));
    let inner = Tide { moon: Some(Moon { phase: 0, full: false }), ..tide() }.to_bytes(2).unwrap_err();
    assert_eq!(inner.place.field, "full");
    let tagged = Tide { wind: 6, ..tide() }.to_bytes(1).unwrap_err();
    assert_eq!((tagged.place.field, tagged.problem), ("wind", EncodeProblem::NotInVersion(1)));
}

#[test]
fn null_stands_only_in_the_versions_that_allow_it() {
    let error = Tide::default().to_bytes(1).unwrap_err();
    assert_eq!((error.place.field, error.problem), ("name", EncodeProblem::UnexpectedNull(1)));
    assert!(Tide::default().to_bytes(2).is_ok());
    let error = Tide::from_bytes(Bytes::from_static(b"\0\0\0\0\xff\xff"), 1).unwrap_err();
    assert_eq!(error.to_string(), "Tide.name at byte 6: is null, which version 1 does not allow");
}

#[test]
fn a_version_that_does_not_exist_is_refused() {
    let error = Tide::from_bytes(Bytes::new(), 4).unwrap_err();
    assert_eq!(error.to_string(), "Tide.start at byte 0: version 4 is not one of 1-3");
    assert_eq!(tide().to_bytes(0).unwrap_err().to_string(), "Tide.start: version 0 is not one of 1-3");
}

#[test]
fn bytes_behind_a_message_are_refused_when_there_may_be_none() {
    let error = Wave::from_bytes(Bytes::from_static(&[0, 0, 0, 1, 0, 9]), 0).unwrap_err();
    assert_eq!(error.problem, DecodeProblem::TrailingBytes(1));
    let mut decoder = Decoder::new(Bytes::from_static(&[0, 0, 0, 1, 0, 9]));
    assert_eq!(Wave::decode(&mut decoder, 0).unwrap(), Wave { length: 1 });
    assert_eq!(decoder.rest(), &[9][..]);
}

#[test]
fn a_version_can_stand_before_the_message() {
    let bytes = tide().to_bytes_with_version(1).unwrap();
    assert_eq!(bytes, &b"\0\x01\0\0\0\x01\0\x04neap"[..]);
    assert_eq!(Tide::from_bytes_with_version(bytes).unwrap(), (1, tide()));
    assert!(Tide::from_bytes_with_version(Bytes::from_static(b"\0\x09")).is_err());
}

#[test]
fn an_unknown_tagged_field_is_skipped() {
    let bytes = Bytes::from_static(&[0, 0, 0, 1, 2, 5, 2, 8, 8, 130, 1, 0]);
    assert_eq!(Wave::from_bytes(bytes, 0).unwrap(), Wave { length: 1 });
}

#[test]
fn a_tag_means_nothing_in_a_version_that_does_not_have_it() {
    // Tag 4 (shells) begins with version 3.
    let bytes = Bytes::from_static(b"\0\0\0\x01\0\xff\x01\x04\x02\x09\x09");
    assert_eq!(Tide::from_bytes(bytes, 2).unwrap(), Tide { height: 1, ..Tide::default() });
}

#[test]
fn an_error_names_the_innermost_field_and_its_position() {
    // Height, an empty name, lost, dropped, and a moon that ends behind its phase.
    let bytes = Bytes::from_static(b"\0\0\0\x01\x01\0\0\0\0\x01\x03");
    let error = Tide::from_bytes(bytes, 3).unwrap_err();
    assert_eq!(error.to_string(), "Moon.full at byte 11: needs 1 bytes, but only 0 are left");
}

#[test]
fn sampled_values_survive_the_wire() {
    let mut seed = Seed(1);
    for _ in 0..200 {
        for version in Tide::VERSIONS.iter() {
            let tide = Tide::sample(&mut seed, Tide::version(version));
            assert_eq!(Tide::from_bytes(tide.to_bytes(version).unwrap(), version).unwrap(), tide);
        }
    }
    assert!(Encoder::new().is_empty());
}
