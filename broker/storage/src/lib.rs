//! One partition's log on disk. Blocking; no tokio, no sockets. The only unsafe code is the mapped file.

pub mod allocator;
pub mod disk;
pub mod map_budget;
pub mod sigbus;
