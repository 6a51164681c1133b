//! What other writers of the four compressions may send, what none may, and how much comes out at most.

use std::io::Write;

use cairn_protocol::records::{CompressError, Compression, DecompressError, DecompressLimits, compress, decompress};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

const COMPRESSIONS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Text that compresses somewhat, longer than a block of any of them.
fn sample() -> Vec<u8> {
    (0..40_000u32).flat_map(|index| format!("{} ", index * index).into_bytes()).collect()
}

fn compressed(codec: Compression, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(codec, None, input, &mut out).unwrap();
    out
}

fn output(codec: Compression, input: &[u8]) -> Result<Vec<u8>, DecompressError> {
    decompress(codec, input, &DecompressLimits::default()).map(Vec::from)
}

fn at_most(output_bytes: usize) -> DecompressLimits {
    DecompressLimits { output_bytes, ..DecompressLimits::default() }
}

fn lz4(frame: FrameInfo, input: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

fn zstd_stream(level: i32, window_log: Option<u32>, input: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
    if let Some(log) = window_log {
        encoder.window_log(log).unwrap();
    }
    encoder.write_all(input).unwrap();
    encoder.finish().unwrap()
}

fn xerial(chunks: &[&[u8]]) -> Vec<u8> {
    let mut stream = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for chunk in chunks {
        let compressed = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
        stream.extend(u32::try_from(compressed.len()).unwrap().to_be_bytes());
        stream.extend(compressed);
    }
    stream
}

#[test]
fn every_level_leads_back() {
    let sample = &sample()[..70_000];
    let levels: [(Compression, &[i32]); 3] = [
        (Compression::Gzip, &[-1, 1, 6, 9]),
        (Compression::Lz4, &[1, 9, 17]),
        (Compression::Zstd, &[-131_072, -5, 0, 1, 3, 19, 22]),
    ];
    for (codec, levels) in levels {
        for &level in levels {
            let mut out = b"kept".to_vec();
            compress(codec, Some(level), sample, &mut out).unwrap();
            assert_eq!(output(codec, out.strip_prefix(b"kept").unwrap()).unwrap(), sample, "{codec} {level}");
        }
    }
    for codec in COMPRESSIONS {
        for input in [&b""[..], b"a", sample] {
            assert_eq!(output(codec, &compressed(codec, input)).unwrap(), input, "{codec}");
        }
    }
}

#[test]
fn levels_are_kafkas() {
    let refused = [
        (Compression::Gzip, &[-2, 0, 10][..]),
        (Compression::Lz4, &[0, 18]),
        (Compression::Zstd, &[-131_073, 23]),
        (Compression::Snappy, &[1]),
        (Compression::None, &[1]),
    ];
    for (codec, levels) in refused {
        for &level in levels {
            let result = compress(codec, Some(level), b"x", &mut Vec::new());
            assert!(matches!(result, Err(CompressError::InvalidLevel { .. })), "{codec} {level}");
        }
    }
}

#[test]
fn names_and_ids_lead_back() {
    for codec in Compression::ALL {
        assert_eq!(Compression::from_id(codec.id()), Some(codec));
        assert_eq!(Compression::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Compression::from_id(5), None);
    assert_eq!(Compression::from_name("producer"), None);
}

#[test]
fn output_stops_at_the_limit() {
    let zeros = vec![0; 300_000];
    for codec in COMPRESSIONS {
        let input = compressed(codec, &zeros);
        assert_eq!(decompress(codec, &input, &at_most(zeros.len())).unwrap(), zeros, "{codec}");
        for limit in [zeros.len() - 1, 16 << 10, 1, 0] {
            match decompress(codec, &input, &at_most(limit)) {
                Err(DecompressError::TooLarge { limit: told }) => assert_eq!(told, limit),
                other => panic!("{codec} {limit}: {other:?}"),
            }
        }
    }
    let bare = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    assert_eq!(decompress(Compression::Snappy, &bare, &at_most(zeros.len())).unwrap(), zeros);
    assert!(matches!(
        decompress(Compression::Snappy, &bare, &at_most(zeros.len() - 1)),
        Err(DecompressError::TooLarge { .. })
    ));
}

#[test]
fn a_cut_input_is_never_taken_for_a_whole_one() {
    let sample = &sample()[..3000];
    let bare = snap::raw::Encoder::new().compress_vec(sample).unwrap();
    let mut inputs: Vec<_> = COMPRESSIONS.map(|codec| (codec, compressed(codec, sample))).into();
    inputs.push((Compression::Snappy, bare));
    for (codec, whole) in inputs {
        for end in 0..whole.len() {
            let Ok(output) = output(codec, &whole[..end]) else { continue };
            // Nothing at all, or a xerial stream without chunks, is an empty output; a batch with records refuses it.
            assert!(output.is_empty(), "{codec} {end}");
            assert!(end == 0 || codec == Compression::Snappy && end == 16, "{codec} {end}");
        }
    }
}

#[test]
fn snappy_is_read_bare_and_in_frames() {
    let sample = sample();
    let bare = snap::raw::Encoder::new().compress_vec(&sample).unwrap();
    assert_eq!(output(Compression::Snappy, &bare).unwrap(), sample);

    let chunks: Vec<_> = sample.chunks(50_000).collect();
    assert_eq!(output(Compression::Snappy, &xerial(&chunks)).unwrap(), sample);
    let twice = [xerial(&chunks), xerial(&[b"", b"end"])].concat();
    assert_eq!(output(Compression::Snappy, &twice).unwrap(), [&sample[..], b"end"].concat());
}

#[test]
fn snappy_lies_about_lengths_are_refused() {
    let over_a_mebibyte = vec![0; (1 << 20) + 1];
    let mut long_chunk = xerial(&[]);
    long_chunk.extend(((1u32 << 20) + 1).to_be_bytes());
    long_chunk.extend(vec![0; (1 << 20) + 1]);
    let cases: [(&str, Vec<u8>); 5] = [
        ("a chunk of more than a mebibyte, decompressed", xerial(&[&over_a_mebibyte])),
        ("a chunk of more than a mebibyte, compressed", long_chunk),
        ("a chunk that says 4 GiB", [&xerial(&[])[..], &[0xff; 4]].concat()),
        ("bare, says 4 GiB in five bytes", vec![0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("bare, says 100 MiB in a few bytes", vec![0x80, 0x80, 0x80, 0x32, 0, b'a']),
    ];
    for (what, input) in cases {
        assert!(matches!(output(Compression::Snappy, &input), Err(DecompressError::Corrupt { .. })), "{what}");
    }
}

#[test]
fn lz4_is_read_with_and_without_its_options() {
    let sample = sample();
    let size = Some(u64::try_from(sample.len()).unwrap());
    let frame = || FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let frames = [
        frame(),
        frame().content_size(size),
        frame().block_checksums(true),
        frame().content_checksum(true),
        frame().content_size(size).block_checksums(true).content_checksum(true).block_size(BlockSize::Max4MB),
    ];
    for frame in frames {
        assert_eq!(output(Compression::Lz4, &lz4(frame.clone(), &sample)).unwrap(), sample, "{frame:?}");
    }
}

#[test]
fn lz4_that_java_could_not_read_is_refused() {
    let sample = sample();
    let good = compressed(Compression::Lz4, &sample);
    let checked = lz4(FrameInfo::new().block_mode(BlockMode::Independent).content_checksum(true), &sample);
    let mut wrong_checksum = checked.clone();
    *wrong_checksum.last_mut().unwrap() ^= 1;
    let cases = [
        ("linked blocks", lz4(FrameInfo::new().block_mode(BlockMode::Linked), &sample)),
        ("a legacy frame", [&[0x02, 0x21, 0x4c, 0x18][..], &good[4..]].concat()),
        ("a bare block", lz4_flex::block::compress(&sample)),
        ("two frames", [&good[..], &good].concat()),
        ("a byte behind the frame", [&good[..], &[0]].concat()),
        ("a wrong checksum", wrong_checksum),
    ];
    for (what, input) in cases {
        assert!(matches!(output(Compression::Lz4, &input), Err(DecompressError::Corrupt { .. })), "{what}");
    }
    assert_eq!(output(Compression::Lz4, &checked).unwrap(), sample);
}

#[test]
fn gzip_of_several_members_is_read_whole() {
    let members = [compressed(Compression::Gzip, b"one "), compressed(Compression::Gzip, b"two")].concat();
    assert_eq!(output(Compression::Gzip, &members).unwrap(), b"one two");
    let garbage = [&members[..], b"garbage"].concat();
    assert!(matches!(output(Compression::Gzip, &garbage), Err(DecompressError::Corrupt { .. })));
    let mut wrong_checksum = members;
    let at = wrong_checksum.len() - 8;
    wrong_checksum[at] ^= 1;
    assert!(matches!(output(Compression::Gzip, &wrong_checksum), Err(DecompressError::Corrupt { .. })));
}

#[test]
fn zstd_is_read_with_and_without_content_size() {
    let sample = sample();
    let unsized_frame = zstd_stream(3, None, &sample);
    let sized_frame = zstd::bulk::compress(&sample, 3).unwrap();
    assert_ne!(unsized_frame[4], sized_frame[4], "their frame headers differ");
    assert_eq!(output(Compression::Zstd, &unsized_frame).unwrap(), sample);
    assert_eq!(output(Compression::Zstd, &sized_frame).unwrap(), sample);
    let both = [unsized_frame, sized_frame].concat();
    assert_eq!(output(Compression::Zstd, &both).unwrap(), [&sample[..], &sample].concat());
    let garbage = [&both[..], b"garbage"].concat();
    assert!(matches!(output(Compression::Zstd, &garbage), Err(DecompressError::Corrupt { .. })));
}

#[test]
fn zstd_windows_are_bounded_by_what_is_really_needed() {
    let limits = DecompressLimits { zstd_window_log: 20, ..DecompressLimits::default() };
    let read = |input: &[u8]| decompress(Compression::Zstd, input, &limits);
    let (fits, does_not) = (vec![7; 1 << 20], vec![7; (1 << 20) + 1]);

    // A window within the limit: any output. Beyond: only what itself fits into the limit.
    assert_eq!(read(&zstd_stream(3, Some(20), &does_not)).unwrap(), does_not);
    assert_eq!(read(&zstd_stream(3, Some(27), &fits)).unwrap(), fits);
    for input in [zstd_stream(3, Some(27), &does_not), zstd::bulk::compress(&does_not, 3).unwrap()] {
        assert!(matches!(read(&input), Err(DecompressError::Window { limit: 1_048_576 })));
    }
    // A second frame is stopped by the library itself.
    let second = [zstd_stream(3, Some(20), b"first"), zstd_stream(3, Some(27), &does_not)].concat();
    assert!(matches!(read(&second), Err(DecompressError::Window { .. })));
    assert!(matches!(
        decompress(Compression::Zstd, &zstd_stream(3, Some(27), &fits), &at_most(1000)),
        Err(DecompressError::TooLarge { .. } | DecompressError::Window { .. })
    ));
}
