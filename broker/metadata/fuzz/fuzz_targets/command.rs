//! Any bytes as commands, one behind the other, each behind its length: what decodes encodes to something that decodes to
//! the same, and folds without a panic into an image that holds together.

#![no_main]

use cairn_metadata::{Command, Delta, Image};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let mut image = Image::default();
    for index in 1u64.. {
        let Some((len, behind)) = rest.split_first() else { break };
        let (bytes, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        rest = behind;
        let Ok(command) = Command::decode(bytes) else { continue };
        assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(&command));
        let Ok(applied) = image.apply(index, &command) else { continue };
        assert_eq!(applied.delta, Delta::between(&image, &applied.image));
        image = applied.image;
    }
    let bytes = image.encode();
    let again = Image::decode(&bytes).expect("made just now");
    assert_eq!(again, image);
    assert_eq!(again.encode(), bytes);
});
