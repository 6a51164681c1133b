//! AlterClientQuotas, versions 0 and 1: sets and removes quotas of users, client ids, both together, and addresses; a null name is
//! the default. Each entity is altered whole or not at all, and what is altered is in force when the answer comes.
//!
//! - Users and client ids have `producer_byte_rate` and `consumer_byte_rate` (whole numbers), `request_percentage` and
//!   `controller_mutation_rate`; addresses have `connection_creation_rate` (a whole number). A name of a host is kept as it is, and
//!   stands for the address that is found first when it is altered, and when the broker starts.
//! - INVALID_REQUEST: an empty entity, an unknown or repeated type, an empty name, `ip` beside another type, an entity or key that
//!   is given twice, an unknown key, and a value that is not finite, not above 0, too large or not whole where it must be.
//! - Removing what is not set is no error. Validate-only does all checks and changes nothing.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use cairn_metadata::{Command, QuotaChange, QuotaEntity, QuotaValue};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::alter_client_quotas_request::{self as request, OpData};
use cairn_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use cairn_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use futures::StreamExt;

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::host_names;
use crate::node::Node;
use crate::quotas::{CLIENT_ID, CONNECTION_CREATION_RATE, IP, Kind, USER};
use crate::resources::Mode;

/// Entities of a request that are altered at a time: they share what the metadata log's syncs and carrying out take.
const AT_ONCE_MAX: usize = 256;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: AlterClientQuotasRequest,
) -> Outcome<AlterClientQuotasResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let mode = Mode::from(request.validate_only);
        let mut seen = HashSet::new();
        // No entity stands there twice, so the order in which they are altered is of no interest.
        let altering = request.entries.into_iter().map(|entry| {
            let (node, command) = (&node, command(&entry, &mut seen));
            async move {
                let altered = match command {
                    Ok(command) => alter(node, command, host(&entry), mode).await,
                    Err(refusal) => Err(refusal),
                };
                answer(entry, altered)
            }
        });
        // The checks come first: they remember what they have seen.
        let altering: Vec<_> = altering.collect();
        let entries = futures::stream::iter(altering).buffered(AT_ONCE_MAX).collect().await;
        AlterClientQuotasResponse { entries, ..AlterClientQuotasResponse::default() }
    })
}

fn answer(entry: request::EntryData, altered: Result<(), Refusal>) -> EntryData {
    let part =
        |part: request::EntityData| EntityData { entity_type: part.entity_type, entity_name: part.entity_name };
    EntryData {
        error_code: altered.as_ref().err().map_or(ErrorCode::None, |refusal| refusal.error).code(),
        error_message: altered.err().map(|refusal| refusal.message),
        entity: entry.entity.into_iter().map(part).collect(),
    }
}

/// Has a change made, once the host that it is for is found.
async fn alter(node: &Node, command: Option<Command>, host: Option<&str>, mode: Mode) -> Result<(), Refusal> {
    let address = match host {
        None => None,
        Some(host) => {
            let found = host_names::look_up(host).await;
            Some(found.map_err(|_| invalid(format!("{host} is not a valid IP or resolvable host.")))?)
        }
    };
    let (Some(command), Mode::Apply) = (command, mode) else { return Ok(()) };
    node.cluster.propose(command).await?;
    if let (Some(host), Some(ip)) = (host, address) {
        node.quotas.on_host(host, ip);
    }
    Ok(())
}

/// The host that is given a quota and named otherwise than by its address. What is only removed need not be there any more.
fn host(entry: &request::EntryData) -> Option<&str> {
    let part = entry.entity.iter().find(|part| &*part.entity_type == IP && entry.ops.iter().any(|op| !op.remove))?;
    part.entity_name.as_deref().filter(|name| name.parse::<IpAddr>().is_err())
}

/// What one entry of the request comes to; none where it changes nothing.
fn command(entry: &request::EntryData, seen: &mut HashSet<QuotaEntity>) -> Result<Option<Command>, Refusal> {
    let entity = entity(&entry.entity)?;
    if !seen.insert(entity.clone()) {
        return Err(invalid("the entity stands in the request more than once"));
    }
    let mut keys = HashSet::new();
    let mut changes = Vec::with_capacity(entry.ops.len());
    for op in &entry.ops {
        if !keys.insert(&*op.key) {
            return Err(invalid(format!("quota key {} is given more than once", op.key)));
        }
        changes.push(QuotaChange { name: op.key.clone(), value: value(&entity, op)? });
    }
    Ok((!changes.is_empty()).then_some(Command::SetClientQuotas { entity, changes }))
}

fn entity(parts: &[request::EntityData]) -> Result<QuotaEntity, Refusal> {
    let mut entity = QuotaEntity::new();
    for part in parts {
        let (kind, name) = (&*part.entity_type, &part.entity_name);
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            return Err(invalid(format!("unhandled client quota entity type: {kind}")));
        }
        if name.as_deref() == Some("") {
            return Err(invalid(format!("empty {kind} not supported")));
        }
        if entity.insert(kind.into(), name.clone()).is_some() {
            return Err(invalid(format!("entity type {kind} is given more than once")));
        }
    }
    if entity.is_empty() {
        return Err(invalid("invalid empty client quota entity"));
    }
    if entity.contains_key(IP) && entity.len() > 1 {
        return Err(invalid("ip cannot stand in an entity beside user or client-id"));
    }
    Ok(entity)
}

/// What a quota's value may be.
enum Allowed {
    Number,
    /// A whole number up to this one.
    Whole(f64),
}

fn allowed(entity: &QuotaEntity, key: &str) -> Option<Allowed> {
    const LONG_MAX: f64 = 9_223_372_036_854_775_807.0;
    if entity.contains_key(IP) {
        return (key == CONNECTION_CREATION_RATE).then_some(Allowed::Whole(f64::from(i32::MAX)));
    }
    match Kind::ALL.into_iter().find(|kind| kind.name() == key)? {
        Kind::Produce | Kind::Fetch => Some(Allowed::Whole(LONG_MAX)),
        Kind::Request | Kind::ControllerMutation => Some(Allowed::Number),
    }
}

fn value(entity: &QuotaEntity, op: &OpData) -> Result<Option<QuotaValue>, Refusal> {
    /// How far from a whole number a value may be, as it has gone through text.
    const EPSILON: f64 = 1e-6;
    let (key, value) = (&op.key, op.value);
    if op.remove {
        return Ok(None);
    }
    let allowed = allowed(entity, key).ok_or_else(|| invalid(format!("invalid configuration key {key}")))?;
    if value <= 0.0 {
        return Err(invalid(format!("quota {key} must be greater than 0")));
    }
    match allowed {
        Allowed::Whole(most) if value > most => Err(invalid(format!("quota {key} can be {most} at most"))),
        Allowed::Whole(_) if value % 1.0 > EPSILON => Err(invalid(format!("quota {key} cannot be a fractional value"))),
        Allowed::Whole(_) | Allowed::Number => match QuotaValue::new(value) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(format!("quota {key} must be a finite number"))),
        },
    }
}

fn invalid(message: impl Into<Box<str>>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}
