//! DescribeClientQuotas, versions 0 and 1: the quotas of the entities that a filter lets through, sorted by entity.
//!
//! - A component of the filter takes an exact name, the default, or anything of its type. Not strict: entities may have other
//!   types beside; strict: they have exactly the filter's. No component and not strict: all quotas.
//! - A type twice or without a name, `ip` beside another, and a match that does not fit its kind: INVALID_REQUEST. A type that is
//!   not known: UNSUPPORTED_VERSION.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_metadata::{QuotaEntity, Quotas};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_client_quotas_request::ComponentData;
use cairn_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use cairn_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::quotas::{CLIENT_ID, IP, USER};

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: DescribeClientQuotasRequest,
) -> Outcome<DescribeClientQuotasResponse> {
    let DescribeClientQuotasRequest { components, strict } = request;
    let filter = match filter(&components) {
        Ok(filter) => filter,
        Err(Refusal { error, message }) => {
            return Outcome::Now(DescribeClientQuotasResponse {
                error_code: error.code(),
                error_message: Some(message),
                entries: None,
                ..DescribeClientQuotasResponse::default()
            });
        }
    };
    let image = node.image();
    let passes = |entity: &QuotaEntity| {
        let is_whole = !strict || entity.len() == filter.len();
        is_whole && filter.iter().all(|(kind, wanted)| entity.get(*kind).is_some_and(|name| wanted.takes(name.as_deref())))
    };
    let entries = image.quotas().iter().filter(|(entity, _)| passes(entity)).map(entry).collect();
    Outcome::Now(DescribeClientQuotasResponse { entries: Some(entries), ..DescribeClientQuotasResponse::default() })
}

/// What a component of the filter takes.
enum Wanted<'a> {
    /// This name; none for the default.
    Name(Option<&'a str>),
    Any,
}

impl Wanted<'_> {
    fn takes(&self, name: Option<&str>) -> bool {
        match self {
            Self::Name(wanted) => *wanted == name,
            Self::Any => true,
        }
    }
}

fn filter(components: &[ComponentData]) -> Result<BTreeMap<&str, Wanted<'_>>, Refusal> {
    let mut filter = BTreeMap::new();
    for component in components {
        let kind = &*component.entity_type;
        if kind.is_empty() {
            return Err(invalid("a component of the filter has an empty entity type"));
        }
        if filter.contains_key(kind) {
            return Err(invalid(format!("entity type {kind} is in the filter more than once")));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, format!("entity type {kind} is not known")));
        }
        let wanted = match (component.match_type, component.r#match.as_deref()) {
            (0, Some(name)) => Wanted::Name(Some(name)),
            (1, None) => Wanted::Name(None),
            (2, None) => Wanted::Any,
            (0, None) => return Err(invalid(format!("an exact match of {kind} needs a name"))),
            (1 | 2, Some(_)) => return Err(invalid(format!("a match of {kind} that is not exact has a name"))),
            (other, _) => return Err(invalid(format!("{other} is no type of match"))),
        };
        filter.insert(kind, wanted);
    }
    if filter.contains_key(IP) && filter.len() > 1 {
        return Err(invalid("ip cannot stand in a filter beside user or client-id"));
    }
    Ok(filter)
}

fn entry((entity, quotas): (&QuotaEntity, &Quotas)) -> EntryData {
    let parts = entity.iter().map(|(kind, name)| EntityData { entity_type: kind.clone(), entity_name: name.clone() });
    let values = quotas.iter().map(|(key, value)| ValueData { key: key.clone(), value: value.get() });
    EntryData { entity: parts.collect(), values: values.collect() }
}

fn invalid(message: impl Into<Box<str>>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}
