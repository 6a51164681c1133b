//! A broker in this process, spoken to in raw frames.

mod harness;
mod records;

mod acked;
mod api_versions;
mod compaction;
mod compression;
mod configs;
mod consumer_groups;
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
mod listeners;
mod log_dir_moves;
mod log_dirs;
mod long_and_repeated;
mod metadata;
mod no_space;
mod offsets;
mod produce;
mod quotas;
mod reassignments;
mod scrubbing;
mod start;
mod strays;
mod topic_configs;
mod topics;
mod upkeep;
mod watching;
