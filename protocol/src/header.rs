//! The headers before requests and responses, in the version that the API and its version ask for.
//!
//! Must not know: bodies, frames, which APIs are served.

use crate::api::ApiKey;
use crate::codec::{DecodeError, EncodeError, Message, Reader, Writer};
use crate::messages;

/// The header of a request that was read, or is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API asked for.
    pub api_key: ApiKey,
    /// The version of the request's and the response's bodies. It may be one that does not exist.
    pub api_version: i16,
    /// What the response repeats.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Box<str>>,
}

/// The bytes do not begin with a request header that can be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestHeaderError {
    /// An API key that no Kafka has, or none any more.
    #[error("unknown API key {code} (version {version})")]
    UnknownApiKey {
        /// The key.
        code: i16,
        /// The version that was asked for.
        version: i16,
    },
    /// The header's bytes are malformed.
    #[error("malformed header of {api_key} version {version}")]
    Malformed {
        /// The API asked for.
        api_key: ApiKey,
        /// The version that was asked for.
        version: i16,
        /// What is wrong.
        source: DecodeError,
    },
    /// Too few bytes to tell the API.
    #[error("no API key and version")]
    TooShort(#[source] DecodeError),
}

impl RequestHeader {
    /// Reads the header and leaves the reader at the body.
    pub fn decode(reader: &mut Reader) -> Result<Self, RequestHeaderError> {
        let mut ahead = reader.clone();
        let code = ahead.get_i16().map_err(RequestHeaderError::TooShort)?;
        let version = ahead.get_i16().map_err(RequestHeaderError::TooShort)?;
        let api_key = ApiKey::from_code(code).ok_or(RequestHeaderError::UnknownApiKey { code, version })?;
        let header = messages::RequestHeader::decode(reader, api_key.request_header_version(version))
            .map_err(|source| RequestHeaderError::Malformed { api_key, version, source })?;
        Ok(Self { api_key, api_version: version, correlation_id: header.correlation_id, client_id: header.client_id })
    }

    /// Writes the header.
    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        let header = messages::RequestHeader {
            request_api_key: self.api_key.code(),
            request_api_version: self.api_version,
            correlation_id: self.correlation_id,
            client_id: self.client_id.clone(),
        };
        header.encode(writer, self.api_key.request_header_version(self.api_version))
    }
}

/// The header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The request's.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header of the response to a request of this API and version, and leaves the reader at the body.
    pub fn decode(reader: &mut Reader, api_key: ApiKey, api_version: i16) -> Result<Self, DecodeError> {
        let version = api_key.response_header_version(api_version);
        let messages::ResponseHeader { correlation_id } = messages::ResponseHeader::decode(reader, version)?;
        Ok(Self { correlation_id })
    }

    /// Writes the header of the response to a request of this API and version.
    pub fn encode(self, writer: &mut Writer, api_key: ApiKey, api_version: i16) -> Result<(), EncodeError> {
        let header = messages::ResponseHeader { correlation_id: self.correlation_id };
        header.encode(writer, api_key.response_header_version(api_version))
    }
}
