//! Under which address a client reaches a broker: the one that suits the listener that the client came in by.
//!
//! Must not know: any single API.

use cairn_metadata::Broker;

use crate::dispatch::Call;
use crate::node::Node;

/// A host and port, as answers carry them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

/// The address of a broker for the client that calls; none when the broker has no such listener.
pub(crate) fn of(node: &Node, call: &Call, broker: &Broker) -> Option<Address> {
    let connection = &call.connection;
    if broker.id == node.id {
        let own = connection.listener.advertised(connection.local);
        return Some(Address { host: own.host.as_str().into(), port: own.port });
    }
    let endpoint = broker.endpoints.iter().find(|endpoint| *endpoint.listener == *connection.listener.name)?;
    Some(Address { host: endpoint.host.clone(), port: endpoint.port })
}
