//! What does a batch cost on its way through a broker (checksum, whole validation), and a record on its way out of a
//! producer (append, finish), for 1 KiB records in 128 KiB batches and 100 B records in 8 KiB batches?
//!
//! Allocations are counted and printed first: they do not depend on how busy the machine is.

use std::hint::black_box;

use bytes::Bytes;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::records::{BatchBuilder, BatchView, Compression, DecompressLimits, NewRecord, ProduceLimits};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Name, bytes of a record's value, bytes of a batch.
const SHAPES: [(&str, usize, usize); 2] = [("1 KiB in 128 KiB", 1024, 128 << 10), ("100 B in 8 KiB", 100, 8 << 10)];

/// Text for a value. All records have the same, so batches compress far better than real ones do.
fn value(bytes: usize) -> Vec<u8> {
    let words = ["offset ", "epoch ", "leader ", "follower ", "segment ", "index "];
    let mut state = 1u32;
    let mut out = Vec::new();
    while out.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(words[usize::try_from(state >> 16).unwrap_or(0) % words.len()].as_bytes());
    }
    out.truncate(bytes);
    out
}

fn fill(builder: &mut BatchBuilder, value: &[u8], batch_bytes: usize) {
    let record = NewRecord { timestamp: Timestamp(1_700_000_000_000), value: Some(value), ..NewRecord::default() };
    while builder.uncompressed_bytes() + BatchBuilder::estimate(&record) <= batch_bytes {
        builder.append(&record).expect("records are short");
    }
}

fn batch(compression: Compression, value: &[u8], batch_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new().with_compression(compression, None).expect("default level");
    fill(&mut builder, value, batch_bytes);
    builder.finish(None).expect("it has records")
}

fn read_all(batch: &Bytes) -> usize {
    let view = BatchView::parse(batch).expect("good batch");
    let records = view.records(batch, &DecompressLimits::default()).expect("good records");
    records.iter().map(|record| record.expect("good record").value.map_or(0, <[u8]>::len)).sum()
}

fn count_allocations() {
    let limits = ProduceLimits::default();
    for (name, value_bytes, batch_bytes) in SHAPES {
        let value = value(value_bytes);
        let mut builder = BatchBuilder::new();
        builder.reserve(batch_bytes);
        let mut records = 0;
        let build = allocation_counter::measure(|| {
            fill(&mut builder, &value, batch_bytes);
            records = builder.record_count();
            black_box(builder.finish(None).expect("it has records"));
        });
        println!("build {name}: {} allocations for {records} records", build.count_total);
        for compression in Compression::ALL {
            let batch = batch(compression, &value, batch_bytes);
            let validate = allocation_counter::measure(|| {
                let view = BatchView::parse(&batch).expect("good batch");
                black_box(view.validate_produced(&limits).expect("good records"));
            });
            let read = allocation_counter::measure(|| {
                black_box(read_all(&batch));
            });
            println!(
                "{compression} {name}: validate {} allocations, at most {} bytes at a time; read {} allocations",
                validate.count_total, validate.bytes_max, read.count_total
            );
        }
    }
}

fn records(criterion: &mut Criterion) {
    count_allocations();
    let limits = ProduceLimits::default();
    for (name, value_bytes, batch_bytes) in SHAPES {
        let value = value(value_bytes);
        let mut group = criterion.benchmark_group(name);
        let plain = batch(Compression::None, &value, batch_bytes);
        group.throughput(Throughput::Bytes(u64::try_from(plain.len()).expect("short")));
        group.bench_function("checksum", |bench| {
            bench.iter(|| BatchView::parse(black_box(&plain)).expect("good batch").verify_crc());
        });
        for compression in Compression::ALL {
            let batch = batch(compression, &value, batch_bytes);
            group.bench_function(format!("checksum and validate {compression}"), |bench| {
                bench.iter(|| BatchView::parse(black_box(&batch)).expect("good batch").validate_produced(&limits));
            });
            group.bench_function(format!("read {compression}"), |bench| bench.iter(|| read_all(black_box(&batch))));
        }

        let mut builder = BatchBuilder::new();
        fill(&mut builder, &value, batch_bytes);
        group.throughput(Throughput::Elements(u64::try_from(builder.record_count()).expect("not negative")));
        builder.clear();
        group.bench_function("build, per record", |bench| {
            bench.iter(|| {
                fill(&mut builder, black_box(&value), batch_bytes);
                builder.finish(None).expect("it has records")
            });
        });
        group.finish();
    }
}

criterion_group!(benches, records);
criterion_main!(benches);
