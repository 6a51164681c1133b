//! A broker in this process, spoken to in raw frames.

mod harness;
mod records;

mod acked;
mod api_versions;
mod compaction;
mod compression;
mod configs;
mod coordinators;
mod delete_records;
mod describe_log_dirs;
mod describe_producers;
mod durability;
mod faults;
mod fetch;
mod fetch_sessions;
mod groups;
mod list_offsets;
mod log_dirs;
mod metadata;
mod no_space;
mod offsets;
mod produce;
mod quotas;
mod scrubbing;
mod start;
mod strays;
mod topics;
mod upkeep;
mod watching;
