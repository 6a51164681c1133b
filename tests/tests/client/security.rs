//! TLS and SASL with Apache Kafka: who shows what is right writes and reads, and who does not is told why at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_client::{
    Client, HostNames, NewTopic, ProduceError, ProducerRecord, RequestError, Sasl, Security, StartAt, Tls, Token,
};
use cairn_tests::broker::{Broker, kafka_script};
use cairn_tests::process::run;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

use super::{NEVER, must_be_gone, runtime};

/// A session of `SESSIONS` lasts so long, and a client writes for several.
const SESSION: Duration = Duration::from_millis(1_500);
const SESSIONS: u32 = 4;

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"alice secret\";";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
const BEARER: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"kafka\";";

/// Certificates, in PEM.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for this name, and its key.
    fn issue(&self, name: &str) -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

pub(super) fn judge() -> anyhow::Result<String> {
    let folder = TempDir::with_prefix("cairn-security-")?;
    let (authority, stranger) = (Authority::new("authority")?, Authority::new("stranger")?);
    let settings = settings(folder.path(), &authority)?;
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let listeners =
        [("TLS", "SSL"), ("MUTUAL", "SSL"), ("ELSEWHERE", "SSL"), ("OPEN", "SASL_PLAINTEXT"), ("CLOSED", "SASL_SSL")];
    let (broker, addresses) = Broker::start_kafka_on(&listeners, &settings)?;
    let [tls, mutual, elsewhere, open, closed] = &addresses[..] else { anyhow::bail!("five addresses") };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let add = format!("{mechanism}=[password=alice secret]");
        let arguments = ["tool", "kafka.admin.ConfigCommand", "--bootstrap-server", &broker.bootstrap(), "--alter"];
        let user = ["--entity-type", "users", "--entity-name", "alice", "--add-config", &add];
        run(kafka_script().args(arguments).args(user), b"")?;
    }

    let trusted = Tls::trusting_pem(authority.pem().as_bytes())?;
    let (certificate, key) = authority.issue("alice")?;
    let known = trusted.clone().identity_pem(certificate.as_bytes(), key.as_bytes())?;
    let (certificate, key) = stranger.issue("alice")?;
    let unknown = trusted.clone().identity_pem(certificate.as_bytes(), key.as_bytes())?;
    let distrusting = Tls::trusting_pem(stranger.pem().as_bytes())?;
    let any_name = trusted.clone().host_names(HostNames::Any);
    let (encrypted, plain) = (Security::default().tls(trusted.clone()), Security::default());
    let (user, password) = ("alice", "alice secret");
    let truststore = format!("{}/authority.pem", folder.path().display());
    let login = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"alice secret\";";
    let properties = Security::from_properties([
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.jaas.config", login),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", &truststore),
    ])?;

    let let_in: [(&str, &String, Security); 10] = [
        ("tls", tls, encrypted.clone()),
        ("mutual", mutual, Security::default().tls(known)),
        ("any-name", elsewhere, Security::default().tls(any_name)),
        ("plain", open, plain.clone().sasl(Sasl::plain(user, password))),
        ("scram-256", open, plain.clone().sasl(Sasl::scram_sha_256(user, password))),
        ("scram-512", open, plain.clone().sasl(Sasl::scram_sha_512(user, password))),
        ("bearer", open, plain.clone().sasl(bearer("alice"))),
        ("tls-plain", closed, encrypted.clone().sasl(Sasl::plain(user, password))),
        ("tls-scram-512", closed, encrypted.clone().sasl(Sasl::scram_sha_512(user, password))),
        ("properties", closed, properties),
    ];
    for (topic, address, security) in let_in {
        write_and_read(address, security, topic).with_context(|| topic.to_owned())?;
    }

    let shut_out: [(&str, &String, Security); 9] = [
        ("another authority", tls, Security::default().tls(distrusting)),
        ("another name", elsewhere, encrypted.clone()),
        ("no certificate", mutual, encrypted.clone()),
        ("a stranger's certificate", mutual, Security::default().tls(unknown)),
        ("a wrong password for plain", open, plain.clone().sasl(Sasl::plain(user, "other"))),
        ("a wrong password for SCRAM", closed, encrypted.clone().sasl(Sasl::scram_sha_256(user, "other"))),
        ("an unknown user", open, plain.clone().sasl(Sasl::scram_sha_512("bob", password))),
        ("a token of nobody", open, plain.clone().sasl(Sasl::oauth_bearer(|| async { Ok(Token::new("nonsense")) }))),
        ("no token", open, plain.sasl(Sasl::oauth_bearer(|| async { Err("the authority is away".into()) }))),
    ];
    for (what, address, security) in shut_out {
        is_refused(address, security).with_context(|| what.to_owned())?;
    }
    let renewed = sessions(closed, encrypted.sasl(Sasl::scram_sha_512(user, password)))?;
    Ok(format!("let in 10 ways, refused 9 ways, {renewed} records over {SESSIONS} sessions of one connection"))
}

fn settings(folder: &Path, authority: &Authority) -> anyhow::Result<Vec<String>> {
    let write = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let trusted = write("authority.pem", &authority.pem())?;
    let identity = |name: &str| -> anyhow::Result<String> {
        let (certificate, key) = authority.issue(name)?;
        write(&format!("{name}.pem"), &format!("{key}{certificate}{}", authority.pem()))
    };
    let (here, elsewhere) = (identity("127.0.0.1")?, identity("elsewhere.example")?);
    let mut settings = vec![
        "ssl.keystore.type=PEM".to_owned(),
        "ssl.truststore.type=PEM".to_owned(),
        format!("ssl.keystore.location={here}"),
        format!("ssl.truststore.location={trusted}"),
        "listener.name.mutual.ssl.client.auth=required".to_owned(),
        "listener.name.elsewhere.ssl.keystore.type=PEM".to_owned(),
        format!("listener.name.elsewhere.ssl.keystore.location={elsewhere}"),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
        format!("listener.name.closed.scram-sha-512.connections.max.reauth.ms={}", SESSION.as_millis()),
    ];
    for listener in ["open", "closed"] {
        for (mechanism, login) in
            [("plain", PLAIN), ("scram-sha-256", SCRAM), ("scram-sha-512", SCRAM), ("oauthbearer", BEARER)]
        {
            settings.push(format!("listener.name.{listener}.{mechanism}.sasl.jaas.config={login}"));
        }
    }
    Ok(settings)
}

/// A token as Kafka's validator for tests takes it: not signed.
fn bearer(subject: &'static str) -> Sasl {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    Sasl::oauth_bearer(move || async move {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let claims = format!("{{\"sub\":\"{subject}\",\"iat\":{now},\"exp\":{}}}", now + 600);
        let (header, claims) = (URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"), URL_SAFE_NO_PAD.encode(claims));
        Ok(Token::new(format!("{header}.{claims}.")))
    })
}

fn write_and_read(address: &str, security: Security, topic: &str) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let client = Client::builder(address).security(security).build()?;
    runtime.block_on(async {
        client.admin().create_topic(&NewTopic::new(topic)).await?;
        let producer = client.producer().build()?;
        producer.send_and_wait(ProducerRecord::to(topic).value(vec![b'v'; 100_000])).await?;
        let consumer = client.consumer().build()?;
        consumer.assign_topic(topic, StartAt::Beginning).await?;
        let record = tokio::time::timeout(NEVER, consumer.recv()).await.context("nothing is read")??;
        ensure!(record.value.is_some_and(|value| value.len() == 100_000), "another record");
        consumer.close().await;
        Ok(producer.close(NEVER).await?)
    })?;
    drop(client);
    must_be_gone(&runtime, || 0)
}

/// It is told at once, and no attempt follows.
fn is_refused(address: &str, security: Security) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let client = Client::builder(address).operation_timeout(NEVER).security(security).build()?;
    runtime.block_on(async {
        let error = client.admin().list_topics().await.map(drop).err().context("it was let in")?;
        ensure!(!error.is_retriable(), "it is tried again: {error}");
        let text = error.to_string();
        ensure!(!text.contains("secret") && !text.contains("nonsense"), "it tells secrets: {text}");
        let producer = client.producer().max_block(NEVER).build()?;
        let refused = producer.send(ProducerRecord::to("t").value("v")).await.map(drop);
        let Err(ProduceError::Metadata(cairn_client::MetadataError::Request(error))) = refused else {
            anyhow::bail!("a send ends with {refused:?}")
        };
        let last = match error {
            RequestError::NoBroker { last, .. } => *last,
            other => other,
        };
        let is_told = matches!(last, RequestError::Tls { .. } | RequestError::Authentication { .. });
        ensure!(is_told, "it is told as {last:?}");
        Ok(())
    })
}

/// Writes for several sessions over the same connections.
fn sessions(address: &str, security: Security) -> anyhow::Result<usize> {
    let runtime = runtime()?;
    let client = Client::builder(address).security(security).build()?;
    runtime.block_on(async {
        let topic = "sessions";
        client.admin().create_topic(&NewTopic::new(topic)).await?;
        let producer = client.producer().linger(Duration::ZERO).build()?;
        let (until, mut due) =
            (tokio::time::Instant::now() + SESSION * SESSIONS, tokio::time::interval(Duration::from_millis(2)));
        let mut deliveries = vec![producer.send(ProducerRecord::to(topic).value("0")).await?];
        producer.flush(NEVER).await?;
        let connections = connections_to(address)?;
        while tokio::time::Instant::now() < until {
            due.tick().await;
            let value = deliveries.len().to_string();
            deliveries.push(producer.send(ProducerRecord::to(topic).value(value)).await?);
        }
        for (expected, delivery) in (0..).zip(&mut deliveries) {
            let written = delivery.await?;
            ensure!(written.offset.is_some_and(|offset| offset.0 == expected), "{written:?} at {expected}");
        }
        ensure!(connections == connections_to(address)?, "other connections than {connections:?}");
        producer.close(NEVER).await?;
        Ok(deliveries.len())
    })
}

/// The own ports of connections to this address on this machine.
fn connections_to(address: &str) -> anyhow::Result<BTreeSet<String>> {
    const ESTABLISHED: &str = "01";
    let port: u16 = address.rsplit(':').next().context("a port")?.parse()?;
    let remote = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/self/net/tcp")?;
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open = lines.filter(|words| words.len() > 3 && words[2].ends_with(&remote) && words[3] == ESTABLISHED);
    Ok(open.map(|words| words[1].to_owned()).collect())
}
