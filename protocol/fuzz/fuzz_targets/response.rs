//! Any bytes as an API key, a version, and the frame that answers them.
#![no_main]

mod message;

use bytes::Bytes;
use cairn_protocol::header::ResponseHeader;
use cairn_protocol::{ApiKey, Reader, Request};

macro_rules! check_response {
    ($($name:ident),* $(,)?) => {
        fn check_response(key: ApiKey, version: i16, body: Bytes) {
            $(if key == <cairn_protocol::messages::$name as Request>::KEY {
                type Response = <cairn_protocol::messages::$name as Request>::Response;
                return message::check::<Response>(body, version);
            })*
            panic!("{key} has no response");
        }
    };
}

cairn_protocol::every_request!(check_response);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((code, version, frame)) = message::split(bytes) else { return };
    let Some(key) = ApiKey::from_code(code) else { return };
    let mut reader = Reader::new(frame.clone());
    let Ok(_) = ResponseHeader::decode(&mut reader, key, version) else { return };
    check_response(key, version, frame.slice(frame.len() - reader.left()..));
});
