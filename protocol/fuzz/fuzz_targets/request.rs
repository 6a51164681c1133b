//! Any bytes as a request's frame without its length: the header tells the API and the version of the body.
#![no_main]

mod message;

use bytes::Bytes;
use cairn_protocol::header::RequestHeader;
use cairn_protocol::{Reader, Request};

macro_rules! check_request {
    ($($name:ident),* $(,)?) => {
        fn check_request(header: &RequestHeader, body: Bytes) {
            $(if header.api_key == <cairn_protocol::messages::$name as Request>::KEY {
                return message::check::<cairn_protocol::messages::$name>(body, header.api_version);
            })*
            panic!("{} has no request", header.api_key);
        }
    };
}

cairn_protocol::every_request!(check_request);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let frame = Bytes::copy_from_slice(bytes);
    let mut reader = Reader::new(frame.clone());
    let Ok(header) = RequestHeader::decode(&mut reader) else { return };
    check_request(&header, frame.slice(frame.len() - reader.left()..));
});
