//! How a request that alters configs goes through its resources.
//!
//! Must not know: any single API's messages.

use std::collections::HashMap;

use cairn_protocol::error_code::ErrorCode;

use super::{Change, Mode, Resource, check_once, invalid};
use crate::api::refusal::Refusal;
use crate::node::Node;

/// A resource as it stands in a request, and what is to become of it.
pub(crate) struct Wanted<'a> {
    pub(crate) kind: i8,
    pub(crate) name: &'a str,
    /// Or why the request makes no sense.
    pub(crate) wish: Result<Wish<'a>, Refusal>,
}

/// What is to become of a resource's configs.
pub(crate) enum Wish<'a> {
    /// Only these are to be set.
    Replace(Vec<(&'a str, &'a str)>),
    /// These are to change.
    Change(Vec<Change<'a>>),
}

/// What became of a resource.
pub(crate) struct Altered {
    pub(crate) kind: i8,
    pub(crate) name: Box<str>,
    pub(crate) error: ErrorCode,
    pub(crate) message: Option<Box<str>>,
}

/// Alters each resource that stands in the request once.
pub(crate) async fn alter_each(node: &Node, wanted: Vec<Wanted<'_>>, mode: Mode) -> Vec<Altered> {
    let mut times: HashMap<(i8, &str), usize> = HashMap::new();
    for Wanted { kind, name, .. } in &wanted {
        *times.entry((*kind, *name)).or_default() += 1;
    }
    let mut all = Vec::with_capacity(wanted.len());
    for Wanted { kind, name, wish } in wanted {
        let altered = if times[&(kind, name)] == 1 {
            alter(node, kind, name, wish, mode).await
        } else {
            Err(invalid("the resource stands in the request more than once"))
        };
        let error = altered.as_ref().err().map_or(ErrorCode::None, |refusal| refusal.error);
        all.push(Altered { kind, name: name.into(), error, message: altered.err().map(|refusal| refusal.message) });
    }
    all
}

async fn alter(node: &Node, kind: i8, name: &str, wish: Result<Wish<'_>, Refusal>, mode: Mode) -> Result<(), Refusal> {
    let resource = Resource::parse(node, kind, name)?;
    match wish? {
        Wish::Replace(set) => {
            check_once(set.iter().map(|(name, _)| *name))?;
            resource.replace(node, &set, mode).await
        }
        Wish::Change(changes) => {
            check_once(changes.iter().map(|change| change.name))?;
            resource.alter(node, &changes, mode).await
        }
    }
}
