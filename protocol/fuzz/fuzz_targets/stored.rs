//! Any bytes as what coordinators, brokers and members keep in records: the first two bytes choose the message, the next two
//! its version.
#![no_main]

mod message;

use bytes::Bytes;
use cairn_protocol::Message;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        [$((
            <cairn_protocol::messages::$name as Message>::VERSIONS,
            message::check::<cairn_protocol::messages::$name> as fn(Bytes, i16),
        )),*]
    };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((index, version, body)) = message::split(bytes) else { return };
    let checks = cairn_protocol::every_stored!(checks);
    let (versions, check) = &checks[usize::from(index.unsigned_abs()) % checks.len()];
    let count = versions.end() - versions.start() + 1;
    check(body, versions.start() + version.rem_euclid(count));
});
