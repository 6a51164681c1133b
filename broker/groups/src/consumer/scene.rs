//! What is at hand while something is decided about a group.
//!
//! Must not know: what is decided.

use super::regex::Found;
use super::settings::ConsumerSettings;
use super::topics::Topics;
use crate::timers::Now;

/// What is at hand while something is decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) now: Now,
    pub(crate) topics: &'a dyn Topics,
    pub(crate) settings: &'a ConsumerSettings,
    /// The topics of regular expressions, as far as they were looked for.
    pub(crate) found: &'a Found,
    /// How many members a classic group may have.
    pub(crate) classic_members_max: usize,
}
