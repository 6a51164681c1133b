//! Starts brokers in this process and speaks to them in raw frames.

use std::net::SocketAddr;
use std::path::Path;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_broker::config::{BrokerConfig, Sources};
use cairn_broker::{Broker, Loggers};
use cairn_protocol::frame::request_frame;
use cairn_protocol::header::ResponseHeader;
use cairn_protocol::{ApiKey, Message, Reader, Request};
use cairn_storage::disk::Disk;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A broker with a data folder of its own, on free ports.
pub(crate) struct TestBroker {
    pub(crate) broker: Broker,
    pub(crate) folder: TempDir,
    filter: Arc<Mutex<String>>,
}

impl TestBroker {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts with these keys set.
    pub(crate) async fn with(set: &[(&str, &str)]) -> Self {
        Self::open(tempfile::tempdir().unwrap(), set).await
    }

    /// Starts in a process with these log levels.
    pub(crate) async fn logging(levels: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let filter = Arc::new(Mutex::new(String::new()));
        let set = Arc::clone(&filter);
        let loggers = Loggers::new(levels, move |text| {
            text.clone_into(&mut set.lock().unwrap());
            Ok(())
        });
        let broker = Broker::start_with(config(folder.path(), &[]), loggers).await.unwrap();
        Self { broker, folder, filter }
    }

    /// The log filter that was put in force last.
    pub(crate) fn filter(&self) -> String {
        self.filter.lock().unwrap().clone()
    }

    /// Starts on this disk instead of a real one.
    pub(crate) async fn on(disk: Arc<dyn Disk>, set: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start_on(disk, config(Path::new("data"), set)).await.unwrap();
        Self { broker, folder, filter: Arc::default() }
    }

    pub(crate) async fn open(folder: TempDir, set: &[(&str, &str)]) -> Self {
        let broker = Broker::start(config(folder.path(), set)).await.unwrap();
        Self { broker, folder, filter: Arc::default() }
    }

    /// Stops gracefully and starts again on the same data.
    pub(crate) async fn restart(self, set: &[(&str, &str)]) -> Self {
        self.broker.shutdown().await;
        Self::open(self.folder, set).await
    }

    /// All metrics as text.
    pub(crate) async fn metrics(&self) -> String {
        self.get("/metrics").await
    }

    /// The value of the metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> i64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Waits until the metrics have this line.
    pub(crate) async fn wait_for_metric(&self, line: &str) {
        while !self.metrics().await.lines().any(|shown| shown == line) {}
    }

    /// The answer to an HTTP request to the metrics listener.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.broker.addresses().metrics).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: cairn\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.addresses().kafka[0].1
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address()).await
    }
}

/// A configuration for a test: free ports, data in `folder`.
pub(crate) fn config(folder: &Path, set: &[(&str, &str)]) -> BrokerConfig {
    let mut sources =
        Sources::none().set("listeners", "PLAINTEXT://127.0.0.1:0").set("log.dir", folder.to_str().unwrap());
    for (key, value) in set {
        sources = sources.set(key, value);
    }
    BrokerConfig::load(&sources).unwrap()
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next_correlation_id: i32,
    /// Bytes of all requests, without their lengths.
    pub(crate) sent_bytes: i64,
}

/// A request that was sent and is to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    api_key: ApiKey,
    version: i16,
    correlation_id: i32,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, next_correlation_id: 1, sent_bytes: 0 }
    }

    /// Sends a request and takes its answer.
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let sent = self.send(version, request).await;
        self.receive::<R>(sent).await
    }

    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> Sent {
        let sent = Sent { api_key: R::KEY, version, correlation_id: self.next_correlation_id };
        self.next_correlation_id += 1;
        let frame = request_frame(version, sent.correlation_id, Some("test"), request).unwrap().into_bytes();
        self.sent_bytes += i64::try_from(frame.len()).unwrap() - 4;
        self.stream.write_all(&frame).await.unwrap();
        sent
    }

    /// The next answer, which must be the one to `sent`.
    pub(crate) async fn receive<R: Request>(&mut self, sent: Sent) -> R::Response {
        let frame = self.frame().await.expect("an answer");
        let mut reader = Reader::new(frame);
        let header = ResponseHeader::decode(&mut reader, sent.api_key, sent.version).unwrap();
        assert_eq!(header.correlation_id, sent.correlation_id, "answers come in the order of the requests");
        let response = R::Response::decode(&mut reader, sent.version).unwrap();
        reader.finish().unwrap();
        response
    }

    /// The next frame without its length; none when the broker has closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut frame).await.unwrap();
        Some(frame.into())
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Waits until the broker closes the connection without another byte.
    pub(crate) async fn expect_close(mut self) {
        let mut rest = Vec::new();
        // A reset is a close too: the broker may not have read all that was sent.
        let _ = self.stream.read_to_end(&mut rest).await;
        assert_eq!(rest, b"", "nothing is answered before the connection ends");
    }
}
