//! A frame from a client, as it lies behind its size: the header, then the request of that API in that version.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline::protocol::{Decoder, Request, decode_request_header};
use strandline_fuzz::{with_request, within};

fuzz_target!(|bytes: &[u8]| {
    let frame = Bytes::copy_from_slice(bytes);
    // An item takes at least one byte of the frame, and none of our structs is much over 200 bytes.
    let cost = (64 << 10) + 512 * frame.len();
    let Ok((header, decoder)) = within(cost, || decode_request_header(frame)) else { return };
    with_request!(header.api_key, digest(decoder, header.api_version, cost));
});

fn digest<R: Request + PartialEq + std::fmt::Debug>(mut decoder: Decoder, version: i16, cost: usize) {
    let rest = decoder.rest();
    let Ok(request) = within(cost, || R::from_bytes(rest.clone(), version)) else { return };
    // What was read can be written, and what was written is read as the same. NaN is not equal to itself; no request
    // has a float today.
    let again = request.to_bytes(version).unwrap_or_else(|error| panic!("{} v{version}: {error}", R::NAME));
    let again = R::from_bytes(again, version).unwrap_or_else(|error| panic!("{} v{version}: {error}", R::NAME));
    assert_eq!(request, again, "{} v{version}", R::NAME);
}
