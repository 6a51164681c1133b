//! What the cluster is.
