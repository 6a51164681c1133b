//! Which limit holds for whom: of all quotas that fit a client the most specific one, for each kind of quota by itself.
//!
//! ```text
//!   user + client-id | user + any client-id | user | any user + client-id | any user + any client-id | any user | client-id | any client-id
//! ```
//!
//! Must not know: what was used, time.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use cairn_metadata::{QuotaEntity, Quotas};

/// Kafka's types of what a quota is for.
pub(crate) const USER: &str = "user";
/// See [`USER`].
pub(crate) const CLIENT_ID: &str = "client-id";
/// See [`USER`].
pub(crate) const IP: &str = "ip";

/// Kafka's name of the quota of addresses.
pub(crate) const CONNECTION_CREATION_RATE: &str = "connection_creation_rate";

/// What a quota of clients limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Bytes of produce requests a second.
    Produce,
    /// Bytes of answers to fetches a second.
    Fetch,
    /// The part of one thread's time that requests take, in percent.
    Request,
    /// Partitions made or deleted a second.
    ControllerMutation,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Produce, Self::Fetch, Self::Request, Self::ControllerMutation];

    /// Kafka's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Produce => "producer_byte_rate",
            Self::Fetch => "consumer_byte_rate",
            Self::Request => "request_percentage",
            Self::ControllerMutation => "controller_mutation_rate",
        }
    }
}

/// All limits of the cluster, arranged for looking up.
#[derive(Debug, Default)]
pub(super) struct Limits {
    of_clients: [OfKind; Kind::ALL.len()],
    of_addresses: HashMap<IpAddr, f64>,
    of_any_address: Option<f64>,
}

#[derive(Debug, Default)]
struct OfKind {
    users: HashMap<Box<str>, OfUser>,
    any_user: OfUser,
    clients: OfClients,
}

#[derive(Debug, Default)]
struct OfUser {
    own: Option<f64>,
    clients: OfClients,
}

#[derive(Debug, Default)]
struct OfClients {
    named: HashMap<Box<str>, f64>,
    any: Option<f64>,
}

/// A limit, and who shares it: all connections that agree in what is named here count as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limit<'a> {
    pub(super) most: f64,
    pub(super) user: Option<&'a str>,
    pub(super) client: Option<&'a str>,
}

impl Limits {
    /// All limits; those of hosts whose address is not known are left out.
    pub(super) fn new(quotas: &BTreeMap<QuotaEntity, Quotas>, hosts: &HashMap<Box<str>, IpAddr>) -> Self {
        let mut limits = Self::default();
        for (entity, values) in quotas {
            for kind in Kind::ALL {
                if let Some(value) = values.get(kind.name()) {
                    limits.of_clients[kind as usize].insert(entity, value.get());
                }
            }
            if let (Some(ip), Some(value)) = (entity.get(IP), values.get(CONNECTION_CREATION_RATE)) {
                limits.insert_address(ip.as_deref(), hosts, value.get());
            }
        }
        limits
    }

    /// Whether any client has a quota of this kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        let of_kind = &self.of_clients[kind as usize];
        !(of_kind.users.is_empty() && of_kind.any_user.is_empty() && of_kind.clients.is_empty())
    }

    /// Whether any address has a quota.
    pub(super) fn has_addresses(&self) -> bool {
        !self.of_addresses.is_empty() || self.of_any_address.is_some()
    }

    /// The limit that holds for this client.
    pub(super) fn find<'a>(&self, kind: Kind, user: &'a str, client: &'a str) -> Option<Limit<'a>> {
        let OfKind { users, any_user, clients } = &self.of_clients[kind as usize];
        let of_user = [users.get(user), Some(any_user)].into_iter().flatten();
        for OfUser { own, clients } in of_user {
            if let Some(most) = clients.find(client) {
                return Some(Limit { most, user: Some(user), client: Some(client) });
            }
            if let Some(most) = *own {
                return Some(Limit { most, user: Some(user), client: None });
            }
        }
        clients.find(client).map(|most| Limit { most, user: None, client: Some(client) })
    }

    /// Connections a second from this address.
    pub(super) fn of_address(&self, ip: IpAddr) -> Option<f64> {
        self.of_addresses.get(&ip.to_canonical()).copied().or(self.of_any_address)
    }

    fn insert_address(&mut self, ip: Option<&str>, hosts: &HashMap<Box<str>, IpAddr>, most: f64) {
        let Some(text) = ip else {
            self.of_any_address = Some(most);
            return;
        };
        if let Some(ip) = text.parse().ok().or_else(|| hosts.get(text).copied()) {
            self.of_addresses.insert(ip.to_canonical(), most);
        }
    }
}

/// The hosts that quotas name otherwise than by address.
pub(super) fn hosts(quotas: &BTreeMap<QuotaEntity, Quotas>) -> impl Iterator<Item = &str> {
    quotas.keys().filter_map(|entity| entity.get(IP)?.as_deref()).filter(|ip| ip.parse::<IpAddr>().is_err())
}

impl OfKind {
    fn insert(&mut self, entity: &QuotaEntity, most: f64) {
        let clients = match entity.get(USER) {
            None => &mut self.clients,
            Some(user) => {
                let of_user = match user {
                    Some(user) => self.users.entry(user.clone()).or_default(),
                    None => &mut self.any_user,
                };
                if !entity.contains_key(CLIENT_ID) {
                    of_user.own = Some(most);
                    return;
                }
                &mut of_user.clients
            }
        };
        match entity.get(CLIENT_ID) {
            None => {}
            Some(None) => clients.any = Some(most),
            Some(Some(client)) => {
                clients.named.insert(client.clone(), most);
            }
        }
    }
}

impl OfUser {
    fn is_empty(&self) -> bool {
        self.own.is_none() && self.clients.is_empty()
    }
}

impl OfClients {
    fn is_empty(&self) -> bool {
        self.named.is_empty() && self.any.is_none()
    }

    /// A client without a name has no quota as a client, as in Kafka.
    fn find(&self, client: &str) -> Option<f64> {
        if client.is_empty() {
            return None;
        }
        self.named.get(client).copied().or(self.any)
    }
}

#[cfg(test)]
mod tests {
    use cairn_metadata::QuotaValue;

    use super::*;

    /// `user/client`: a name, `*` for the default, `-` for none.
    fn entity(text: &str) -> QuotaEntity {
        let (user, client) = text.split_once('/').unwrap();
        let part = |kind: &str, text: &str| match text {
            "-" => None,
            "*" => Some((kind.into(), None)),
            name => Some((kind.into(), Some(name.into()))),
        };
        [part(USER, user), part(CLIENT_ID, client)].into_iter().flatten().collect()
    }

    fn limits(all: &[(&str, f64)]) -> Limits {
        let quota = |value| Quotas::from([("producer_byte_rate".into(), QuotaValue::new(value).unwrap())]);
        Limits::new(&all.iter().map(|(text, value)| (entity(text), quota(*value))).collect(), &HashMap::new())
    }

    /// Takes the quotas away one after the other, the one that held first.
    #[test]
    fn the_most_specific_quota_holds() {
        let order = [
            ("u/c", Some("u"), Some("c")),
            ("u/*", Some("u"), Some("c")),
            ("u/-", Some("u"), None),
            ("*/c", Some("u"), Some("c")),
            ("*/*", Some("u"), Some("c")),
            ("*/-", Some("u"), None),
            ("-/c", None, Some("c")),
            ("-/*", None, Some("c")),
        ];
        for first in 0..order.len() {
            let all: Vec<(&str, f64)> = (0_u32..).zip(&order).skip(first).map(|(n, it)| (it.0, f64::from(n))).collect();
            let (_, user, client) = order[first];
            let expected = Limit { most: all[0].1, user, client };
            assert_eq!(limits(&all).find(Kind::Produce, "u", "c"), Some(expected), "{all:?}");
        }
        assert_eq!(limits(&[]).find(Kind::Produce, "u", "c"), None);
    }

    #[test]
    fn kinds_and_others_do_not_count() {
        let limits = limits(&[("v/c", 1.0), ("u/d", 2.0), ("-/d", 3.0), ("-/*", 4.0)]);
        assert_eq!(limits.find(Kind::Fetch, "u", "d"), None);
        assert_eq!(limits.find(Kind::Produce, "u", "c").map(|limit| limit.most), Some(4.0));
        assert_eq!(limits.find(Kind::Produce, "u", ""), None, "a client without a name");
        assert!(limits.has(Kind::Produce) && !limits.has(Kind::Request) && !limits.has_addresses());
    }

    #[test]
    fn addresses_have_their_own_or_the_default() {
        let quota = |value| Quotas::from([(CONNECTION_CREATION_RATE.into(), QuotaValue::new(value).unwrap())]);
        let of = |ip: Option<&str>| QuotaEntity::from([(IP.into(), ip.map(Into::into))]);
        let quotas = BTreeMap::from([
            (of(None), quota(1.0)),
            (of(Some("10.0.0.1")), quota(2.0)),
            (of(Some("a.host")), quota(3.0)),
            (of(Some("another.host")), quota(4.0)),
        ]);
        assert_eq!(hosts(&quotas).collect::<Vec<_>>(), ["a.host", "another.host"]);
        let known = HashMap::from([("a.host".into(), "10.0.0.2".parse().unwrap())]);
        let limits = Limits::new(&quotas, &known);
        let of_address = |ip: &str| limits.of_address(ip.parse().unwrap());
        assert_eq!((of_address("10.0.0.1"), of_address("::ffff:10.0.0.1")), (Some(2.0), Some(2.0)));
        assert_eq!((of_address("10.0.0.2"), of_address("::1")), (Some(3.0), Some(1.0)));
    }
}
