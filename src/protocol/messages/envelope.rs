//! Envelope (key 58): a client's request that its broker hands on to the controller (KIP-590).
//!
//! Version 0, flexible; between brokers and controllers only.

use bytes::Bytes;

use crate::protocol::{ErrorCode, message};

message! {
    /// The request as it came.
    EnvelopeRequest (request of Envelope, answered by EnvelopeResponse) {
        /// Its header and message.
        request_data: Bytes,
        /// Who asked; null where nobody has to say.
        request_principal: Option<Bytes>,
        /// The address it came from: 4 or 16 bytes.
        client_host_address: Bytes,
    }

    /// The reply as it is to go out.
    EnvelopeResponse (response of Envelope) {
        /// Its header and message; null where the envelope itself was refused.
        response_data: Option<Bytes>,
        error_code: ErrorCode,
    }
}
