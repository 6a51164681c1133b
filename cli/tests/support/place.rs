//! Where the tests of the client library run: Cairn in this process, or the broker that `CAIRN_TEST_BOOTSTRAP` names.

use cairn_client::Client;

use super::Broker;

/// A broker to connect to.
pub(crate) struct Place {
    pub(crate) bootstrap: String,
    _broker: Option<Broker>,
}

impl Place {
    pub(crate) fn new() -> Self {
        match std::env::var("CAIRN_TEST_BOOTSTRAP") {
            Ok(bootstrap) => Self { bootstrap, _broker: None },
            Err(_) => {
                let broker = Broker::start();
                Self { bootstrap: broker.address().to_owned(), _broker: Some(broker) }
            }
        }
    }

    /// The broker that is named, if it is Apache Kafka: for what Cairn does not serve.
    pub(crate) fn kafka() -> Option<Self> {
        std::env::var("CAIRN_JUDGE_BROKER").ok().filter(|judged| judged == "kafka")?;
        let bootstrap = std::env::var("CAIRN_TEST_BOOTSTRAP").ok()?;
        Some(Self { bootstrap, _broker: None })
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.bootstrap).expect("an address")
    }
}

/// A name that nobody else uses, as the broker may be one that others use too.
pub(crate) fn unique(name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    format!("{name}-{}-{}", std::process::id(), now.as_nanos())
}
