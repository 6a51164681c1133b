//! A broker in this process, spoken to in raw frames.

mod harness;

mod api_versions;
mod configs;
mod coordinators;
mod metadata;
mod topics;
