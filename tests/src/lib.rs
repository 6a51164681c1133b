//! Support code of the judges.
