//! What stands before a message in its frame.
//!
//! ```text
//! request   api_key i16 | api_version i16 | correlation_id i32 | client_id nullable string | v2: tagged fields
//! response  correlation_id i32 | v1: tagged fields
//! ```
//! The client id keeps its i16 length in v2 too, so that a broker can read the header's first part before it knows the
//! API; that is why the headers are written by hand and are not tables. Tagged fields of headers are skipped: Kafka has
//! none.

use super::api::ApiKey;
use super::primitives::{DecodeError, DecodeProblem, Decoder, EncodeError, Encoder, Place, Str};

/// What stands before a request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestHeader {
    /// The API asked for.
    pub api_key: ApiKey,
    /// The version the request is in, which need not be one that is served.
    pub api_version: i16,
    /// Chosen by the client; the response carries it back.
    pub correlation_id: i32,
    /// What the client calls itself (`client.id`).
    pub client_id: Option<Str>,
}

impl RequestHeader {
    /// Reads a header in the form that its API and version call for.
    ///
    /// # Errors
    /// [`DecodeProblem::UnknownApi`] for an API that is not served: its header's form is not known, so nothing behind
    /// it can be read, and the connection must be closed.
    pub fn decode(decoder: &mut Decoder) -> Result<RequestHeader, DecodeError> {
        decoder.at(&Place { message: "RequestHeader", field: "api_key" });
        let key = decoder.i16()?;
        let api_key = ApiKey::from_i16(key).ok_or_else(|| decoder.error(DecodeProblem::UnknownApi(key)))?;
        decoder.at(&Place { message: "RequestHeader", field: "api_version" });
        let api_version = decoder.i16()?;
        decoder.at(&Place { message: "RequestHeader", field: "correlation_id" });
        let correlation_id = decoder.i32()?;
        decoder.at(&Place { message: "RequestHeader", field: "client_id" });
        let client_id = decoder.nullable_string(false)?;
        if api_key.request_header_version(api_version) >= 2 {
            decoder.at(&Place { message: "RequestHeader", field: "tagged_fields" });
            decoder.skip_tagged_fields()?;
        }
        Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
    }

    /// Writes the header in the form that its API and version call for.
    pub fn encode(&self, encoder: &mut Encoder) -> Result<(), EncodeError> {
        encoder.i16(self.api_key as i16);
        encoder.i16(self.api_version);
        encoder.i32(self.correlation_id);
        encoder.at(&Place { message: "RequestHeader", field: "client_id" });
        encoder.nullable_string(self.client_id.as_deref(), false)?;
        if self.api_key.request_header_version(self.api_version) >= 2 {
            encoder.uvarint(0);
        }
        Ok(())
    }
}

/// What stands before a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    /// That of the request.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header of a response of `api` in `version`.
    pub fn decode(decoder: &mut Decoder, api: ApiKey, version: i16) -> Result<ResponseHeader, DecodeError> {
        decoder.at(&Place { message: "ResponseHeader", field: "correlation_id" });
        let correlation_id = decoder.i32()?;
        if api.response_header_version(version) >= 1 {
            decoder.at(&Place { message: "ResponseHeader", field: "tagged_fields" });
            decoder.skip_tagged_fields()?;
        }
        Ok(ResponseHeader { correlation_id })
    }

    /// Writes the header of a response of `api` in `version`.
    pub fn encode(&self, encoder: &mut Encoder, api: ApiKey, version: i16) {
        encoder.i32(self.correlation_id);
        if api.response_header_version(version) >= 1 {
            encoder.uvarint(0);
        }
    }
}
