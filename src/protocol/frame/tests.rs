//! Frames from end to end: headers in both forms, and what a broken one is answered.

use bytes::Buf;

use crate::protocol::ApiKey;
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::messages::fetch::{FetchRequest, FetchResponse};
use crate::protocol::primitives::DecodeProblem;

use super::*;

/// The frame behind its size, which must be right.
fn body(mut frame: Frame) -> Bytes {
    let size = frame.get_i32();
    assert_eq!(size as usize, frame.len());
    frame.into_bytes()
}

#[test]
fn a_request_survives_its_frame_with_either_header() {
    let client = Str::from_static("tester");
    for version in [11, 12] {
        let request = FetchRequest { max_wait_ms: 500, min_bytes: 1, ..FetchRequest::default() };
        let frame = body(encode_request(&request, version, 42, Some(&client)).unwrap());
        let (header, mut decoder) = decode_request_header(frame).unwrap();
        assert_eq!((header.api_key, header.api_version, header.correlation_id), (ApiKey::Fetch, version, 42));
        assert_eq!(header.client_id.as_deref(), Some("tester"));
        assert_eq!(FetchRequest::decode(&mut decoder, version).unwrap(), request);
        decoder.finish().unwrap();
    }
}

#[test]
fn a_response_survives_its_frame_with_either_header() {
    for version in [11, 12] {
        let response = FetchResponse { throttle_time_ms: 3, ..FetchResponse::default() };
        let frame = body(encode_response::<FetchRequest>(&response, version, 42).unwrap());
        assert_eq!(decode_response_header(&frame).unwrap(), 42);
        assert_eq!(decode_response::<FetchRequest>(frame, version).unwrap(), (42, response));
    }
}

#[test]
fn the_response_to_api_versions_has_no_tags_in_its_header() {
    let frame = body(encode_response::<ApiVersionsRequest>(&ApiVersionsResponse::default(), 3, 1).unwrap());
    // Correlation id, error code, no APIs, throttle time, no tags.
    assert_eq!(frame, &[0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0][..]);
}

#[test]
fn an_api_that_is_not_served_is_told_by_its_key() {
    let error = decode_request_header(Bytes::from_static(&[0, 4, 0, 0, 0, 0, 0, 0, 0, 0])).unwrap_err();
    assert_eq!(error.problem, DecodeProblem::UnknownApi(4));
}

#[test]
fn a_header_in_an_unknown_version_can_still_be_read() {
    let client_and_tags = [0, 18, 0, 99, 0, 0, 0, 7, 0, 1, b'x', 0];
    let (header, _) = decode_request_header(Bytes::copy_from_slice(&client_and_tags)).unwrap();
    assert_eq!((header.api_key, header.api_version, header.correlation_id), (ApiKey::ApiVersions, 99, 7));
}

#[test]
fn a_truncated_header_is_refused_at_each_byte() {
    let whole = [0, 18, 0, 3, 0, 0, 0, 7, 0, 1, b'x', 0];
    for len in 0..whole.len() {
        assert!(decode_request_header(Bytes::copy_from_slice(&whole[..len])).is_err());
    }
}
