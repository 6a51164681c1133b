//! A broker in this process, spoken to in raw frames.

mod harness;
mod records;

mod api_versions;
mod configs;
mod coordinators;
mod durability;
mod fetch;
mod fetch_sessions;
mod list_offsets;
mod metadata;
mod produce;
mod topics;
