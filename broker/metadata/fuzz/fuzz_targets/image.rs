//! Any bytes as an image: what decodes encodes to something that decodes to the same.

#![no_main]

use cairn_metadata::Image;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(image) = Image::decode(bytes) else { return };
    assert_eq!(Image::decode(&image.encode()).as_ref(), Ok(&image));
    for topic in image.topics() {
        assert_eq!(image.topic_by_name(&topic.name), Some(topic));
        let _ = (topic.partition_count(), image.colliding_topic(&topic.name));
    }
});
