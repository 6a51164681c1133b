//! What decoding asks for in memory: at most 16 times the frame, whatever the frame says. For every message and version,
//! frames with as many elements as fit, each as small as can be: in each array, in arrays of arrays, in tagged fields.

mod support;

use allocation_counter::AllocationInfo;
use bytes::Bytes;
use cairn_protocol::codec::{ALLOCATION_FLOOR, ALLOCATION_PER_BYTE, DecodeError, MAX_TAGGED_FIELDS, Message, Reader};
use cairn_protocol::header::RequestHeader;
use support::schema::{Field, Message as Schema};
use support::{Choices, all_messages, array_paths, message_bytes, put_varint};

/// The elements of the array that a frame is about.
const ELEMENTS: usize = 1000;

/// Everything as small as can be, but for one array and the way to it.
struct Minimal<'a> {
    /// The array that has elements, and those around it.
    target: &'a str,
    /// How many elements `target` has.
    inner: usize,
    /// How many the outermost array around it has.
    outer: usize,
    /// Unknown tagged fields of each struct.
    unknown_tags: u32,
    /// What strings and arrays hold that are not on the way.
    beside: Beside,
}

/// What is beside the array that a frame is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// As little as can be said.
    Nothing,
    /// As little as somebody may really say: short names, one element.
    Little,
}

impl Minimal<'_> {
    fn is_on_the_way(&self, path: &str) -> bool {
        self.target.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl Choices for Minimal<'_> {
    fn is_null(&mut self, path: &str, _: &Field) -> bool {
        !self.is_on_the_way(path)
    }

    fn count(&mut self, path: &str) -> usize {
        match self.is_on_the_way(path) {
            _ if path == self.target => self.inner,
            true if !path.contains('.') => self.outer,
            true => 1,
            false => usize::from(self.beside == Beside::Little),
        }
    }

    fn has_tag(&mut self, path: &str) -> bool {
        self.is_on_the_way(path)
    }

    fn unknown_tags(&mut self) -> Vec<(u32, Vec<u8>)> {
        (0..self.unknown_tags).map(|tag| (1000 + tag, Vec::new())).collect()
    }

    fn number(&mut self, len: usize) -> Vec<u8> {
        vec![0; len]
    }

    fn truth(&mut self) -> bool {
        false
    }

    fn text(&mut self) -> String {
        if self.beside == Beside::Little { "abc".to_owned() } else { String::new() }
    }

    fn bytes(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// What decoding a message asks for, and what comes of it.
fn measure<M: Message>(bytes: &[u8], version: i16) -> (AllocationInfo, Result<(), DecodeError>) {
    let frame = Bytes::copy_from_slice(bytes);
    let shared = frame.clone();
    let mut outcome = Ok(());
    let info = allocation_counter::measure(|| outcome = M::decode_all(shared, version).map(drop));
    drop(frame);
    (info, outcome)
}

/// The largest ratio seen, and for which frame; and which frames were refused for asking too much.
#[derive(Default)]
struct Worst {
    frames: usize,
    ratio: f64,
    case: String,
    refused: Vec<String>,
}

impl Worst {
    fn check<M: Message>(&mut self, bytes: &[u8], version: i16, what: &str) {
        let (info, outcome) = measure::<M>(bytes, version);
        let asked = usize::try_from(info.bytes_total).unwrap();
        let case = format!("{} version {version}, {what}, {} bytes", M::NAME, bytes.len());
        let allowed = bytes.len() * ALLOCATION_PER_BYTE + ALLOCATION_FLOOR;
        assert!(asked <= allowed, "{case}: asked for {asked} of {allowed}");
        assert!(info.bytes_max <= info.bytes_total, "{case}");
        assert_eq!(info.bytes_current, 0, "{case}: something is kept");
        match outcome {
            Ok(()) => {}
            Err(DecodeError::AllowanceExceeded { .. }) => self.refused.push(case.clone()),
            Err(error) => panic!("{case}: {error}"),
        }
        self.frames += 1;
        #[expect(clippy::cast_precision_loss, reason = "a figure to be printed")]
        let ratio = asked as f64 / bytes.len() as f64;
        if bytes.len() > ALLOCATION_FLOOR && ratio > self.ratio {
            (self.ratio, self.case) = (ratio, case);
        }
    }
}

fn check_arrays<M: Message>(schema: &Schema, worst: &mut Worst) {
    for version in M::VERSIONS {
        for target in array_paths(schema, version) {
            for (inner, outer) in [(ELEMENTS, 1), (1, ELEMENTS), (0, ELEMENTS), (30, 30)] {
                let tags = if inner == 30 { MAX_TAGGED_FIELDS / 8 } else { 0 };
                let mut minimal =
                    Minimal { target: &target, inner, outer, unknown_tags: tags, beside: Beside::Nothing };
                let bytes = message_bytes(schema, version, &mut minimal);
                worst.check::<M>(&bytes, version, &format!("{target} {outer} x {inner}"));
            }
        }
    }
}

/// The allowance is no hindrance to frames that say something.
fn check_real<M: Message>(schema: &Schema, worst: &mut Worst) {
    for version in M::VERSIONS {
        for target in array_paths(schema, version) {
            for (inner, outer) in [(ELEMENTS, 1), (1, ELEMENTS)] {
                let mut choices = Minimal { target: &target, inner, outer, unknown_tags: 0, beside: Beside::Little };
                let bytes = message_bytes(schema, version, &mut choices);
                worst.check::<M>(&bytes, version, &format!("{target} {outer} x {inner}"));
            }
        }
    }
}

/// A count that nothing stands behind is refused before anything is asked for.
fn check_announced<M: Message>(schema: &Schema, worst: &mut Worst) {
    for version in M::VERSIONS {
        let flexible = M::is_flexible(version);
        let count: &[u8] = if flexible { &[0xff, 0xff, 0xff, 0xff, 0x07] } else { &[0x7f, 0xff, 0xff, 0xff] };
        let mut minimal = Minimal { target: "", inner: 0, outer: 0, unknown_tags: 0, beside: Beside::Nothing };
        let bytes = message_bytes(schema, version, &mut minimal);
        // Put the count at every place, so that it stands where each array's count is.
        for place in 0..=bytes.len() {
            for tail in [0, 4096] {
                let bytes = [&bytes[..place], count, &vec![0; tail]].concat();
                let (info, _) = measure::<M>(&bytes, version);
                let asked = usize::try_from(info.bytes_total).unwrap();
                let allowed = bytes.len() * ALLOCATION_PER_BYTE + ALLOCATION_FLOOR;
                assert!(asked <= allowed, "{} {version}, count at {place}: asked for {asked} of {allowed}", M::NAME);
                worst.frames += 1;
            }
        }
    }
}

/// The same tagged field again and again costs what its bytes allow.
fn check_repeated_tags<M: Message>(schema: &Schema, worst: &mut Worst) {
    for version in M::VERSIONS.filter(|version| M::is_flexible(*version)) {
        let mut minimal = Minimal { target: "", inner: 0, outer: 0, unknown_tags: 0, beside: Beside::Nothing };
        let mut bytes = message_bytes(schema, version, &mut minimal);
        assert_eq!(bytes.pop(), Some(0), "a flexible message ends with its count of tagged fields");
        for field in &schema.fields {
            let Some((tag, _)) = field.tag.filter(|(_, tagged)| tagged.contains(version) && field.array) else {
                continue;
            };
            let mut minimal =
                Minimal { target: &field.name, inner: 500, outer: 0, unknown_tags: 0, beside: Beside::Nothing };
            let with_one = message_bytes(schema, version, &mut minimal);
            let one_field = &with_one[bytes.len() + 1..];
            assert_eq!(u32::from(one_field[0]), tag, "the only tagged field");
            let mut many = bytes.clone();
            put_varint(&mut many, MAX_TAGGED_FIELDS as usize);
            for _ in 0..MAX_TAGGED_FIELDS {
                many.extend_from_slice(one_field);
            }
            worst.check::<M>(&many, version, &format!("{} tag {tag} repeated", field.name));
        }
        // One more than the most is refused.
        let mut unknown = bytes.clone();
        put_varint(&mut unknown, MAX_TAGGED_FIELDS as usize + 1);
        for tag in 0..=MAX_TAGGED_FIELDS {
            put_varint(&mut unknown, 1000 + tag as usize);
            unknown.push(0);
        }
        let (info, outcome) = measure::<M>(&unknown, version);
        assert_eq!(outcome, Err(DecodeError::TooManyTaggedFields(MAX_TAGGED_FIELDS + 1)), "{} {version}", M::NAME);
        assert!(info.bytes_total <= ALLOCATION_FLOOR as u64);
    }
}

type Check = fn(&Schema, &mut Worst);

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), [
            check_arrays::<cairn_protocol::messages::$name> as Check,
            check_announced::<cairn_protocol::messages::$name>,
            check_repeated_tags::<cairn_protocol::messages::$name>,
            check_real::<cairn_protocol::messages::$name>,
        ])),*]
    };
}

fn run(which: usize) -> Worst {
    let schema = all_messages();
    let mut worst = Worst::default();
    for (name, checks) in cairn_protocol::every_message!(checks) {
        checks[which](&schema[name], &mut worst);
    }
    worst
}

#[test]
fn many_small_elements() {
    let worst = run(0);
    println!("{} frames, most: {:.2} times the frame ({})", worst.frames, worst.ratio, worst.case);
    println!("{} frames were refused for asking too much", worst.refused.len());
    assert!(worst.frames > 2000, "only {} frames", worst.frames);
}

#[test]
fn frames_that_say_something_are_read() {
    let worst = run(3);
    println!("{} frames, most: {:.2} times the frame ({})", worst.frames, worst.ratio, worst.case);
    assert_eq!(worst.refused, Vec::<String>::new());
}

#[test]
fn announced_counts_without_elements() {
    assert!(run(1).frames > 10_000);
}

#[test]
fn tagged_fields() {
    assert!(run(2).frames > 0);
}

#[test]
fn tagged_fields_of_the_header() {
    for count in [MAX_TAGGED_FIELDS, MAX_TAGGED_FIELDS + 1, u32::MAX] {
        let mut bytes = b"\0\x12\0\x03\0\0\0\x05\xff\xff".to_vec();
        put_varint(&mut bytes, count as usize);
        for tag in 0..MAX_TAGGED_FIELDS + 1 {
            put_varint(&mut bytes, tag as usize);
            bytes.push(0);
        }
        let frame = Bytes::from(bytes);
        let mut is_read = false;
        let info = allocation_counter::measure(|| is_read = RequestHeader::decode(&mut Reader::new(frame)).is_ok());
        assert_eq!(is_read, count == MAX_TAGGED_FIELDS, "{count} tagged fields");
        assert!(info.bytes_total < 256, "{count} tagged fields: {info:?}");
    }
}
