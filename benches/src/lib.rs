//! Support code of the benchmarks.

pub mod machine;
pub mod served;
