//! Any bytes as the header of a request, and as that of a response to any API and version.
#![no_main]

mod message;

use bytes::Bytes;
use cairn_protocol::header::{RequestHeader, ResponseHeader};
use cairn_protocol::{ApiKey, Reader, Writer};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = RequestHeader::decode(&mut Reader::new(Bytes::copy_from_slice(bytes))) {
        let mut writer = Writer::new();
        header.encode(&mut writer).expect("what was read can be written");
        let again = RequestHeader::decode(&mut Reader::new(writer.finish().into_bytes()));
        assert_eq!(again, Ok(header));
    }
    let Some((code, version, rest)) = message::split(bytes) else { return };
    let Some(key) = ApiKey::from_code(code) else { return };
    if let Ok(header) = ResponseHeader::decode(&mut Reader::new(rest), key, version) {
        let mut writer = Writer::new();
        header.encode(&mut writer, key, version).expect("what was read can be written");
        let again = ResponseHeader::decode(&mut Reader::new(writer.finish().into_bytes()), key, version);
        assert_eq!(again, Ok(header));
    }
});
