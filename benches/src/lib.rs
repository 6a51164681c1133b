//! Support code of the benchmarks.

pub mod machine;
