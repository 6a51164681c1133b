//! One connection to a broker: requests out, answers back, one at a time.
//!
//! Must not know: which broker it meets, what is measured.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_protocol::Message;
use cairn_protocol::frame::request_frame;
use cairn_protocol::header::ResponseHeader;
use cairn_protocol::{Reader, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The id that all these clients have.
const CLIENT: &str = "load";

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    correlation_id: i32,
}

/// A request that can be sent again and again.
#[derive(Debug)]
pub(crate) struct Prepared<R: Request> {
    frame: Bytes,
    version: i16,
    request: std::marker::PhantomData<R>,
}

impl<R: Request> Prepared<R> {
    pub(crate) fn new(version: i16, request: &R) -> Result<Self> {
        let frame = request_frame(version, 0, Some(CLIENT), request)?.into_bytes();
        Ok(Self { frame, version, request: std::marker::PhantomData })
    }
}

impl Wire {
    pub(crate) async fn connect(bootstrap: &str) -> Result<Self> {
        let stream = TcpStream::connect(bootstrap).await.with_context(|| format!("connect to {bootstrap}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Sends a request and takes its answer.
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.correlation_id += 1;
        let frame = request_frame(version, self.correlation_id, Some(CLIENT), request)?.into_bytes();
        self.exchange::<R>(&frame, version, self.correlation_id).await
    }

    /// The same with one that is encoded already.
    pub(crate) async fn call_prepared<R: Request>(&mut self, prepared: &Prepared<R>) -> Result<R::Response> {
        self.exchange::<R>(&prepared.frame, prepared.version, 0).await
    }

    async fn exchange<R: Request>(&mut self, frame: &[u8], version: i16, correlation_id: i32) -> Result<R::Response> {
        self.stream.write_all(frame).await?;
        let length = self.stream.read_i32().await.with_context(|| format!("no answer to {}", R::KEY))?;
        let Ok(length) = usize::try_from(length) else { bail!("an answer of {length} bytes") };
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        let mut reader = Reader::new(answer.into());
        let header = ResponseHeader::decode(&mut reader, R::KEY, version)?;
        ensure!(header.correlation_id == correlation_id, "the answer to another request");
        Ok(R::Response::decode(&mut reader, version)?)
    }
}
