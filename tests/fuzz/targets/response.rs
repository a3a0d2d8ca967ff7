//! A frame from a broker, as our client reads it: one byte that picks the API, one for the version, then the response.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use strandline::protocol::{ApiKey, Message, Request, decode_response};
use strandline_fuzz::{with_request, within};

fuzz_target!(|bytes: &[u8]| {
    let [api, version, frame @ ..] = bytes else { return };
    let key = ApiKey::ALL[usize::from(*api) % ApiKey::ALL.len()];
    with_request!(key, digest(Bytes::copy_from_slice(frame), i16::from(*version)));
});

fn digest<R: Request>(frame: Bytes, version: i16) {
    let cost = (64 << 10) + 512 * frame.len();
    let Ok((_, response)) = within(cost, || decode_response::<R>(frame, version)) else { return };
    let again = response.to_bytes(version).unwrap_or_else(|error| panic!("{} v{version}: {error}", R::NAME));
    R::Response::from_bytes(again, version).unwrap_or_else(|error| panic!("{} v{version}: {error}", R::NAME));
}
