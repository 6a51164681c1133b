//! The Raft library, caged.
