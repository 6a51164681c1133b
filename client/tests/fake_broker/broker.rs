//! A broker in this process that speaks frames, and fails as it is told to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::frame::FrameCodec;
use cairn_protocol::header::RequestHeader;
use cairn_protocol::records::BatchView;
use cairn_protocol::{ApiKey, Reader};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::codec::FramedRead;

use crate::answers::State;
use crate::log::Log;

/// What happens to one request instead of what should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends; nothing was done.
    CloseBefore,
    /// It is done, and the connection ends before the answer.
    CloseAfter,
    /// Nothing is done, and all partitions get this code.
    Refuse(ErrorCode),
    /// It is done, and these bytes are the answer, as they are.
    Answer(Bytes),
    /// Nothing is done, and nothing is said.
    Silence,
}

pub(crate) struct FakeBroker {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    /// While false, Produce is not answered.
    pub(crate) gate: watch::Sender<bool>,
    /// How many connections are open.
    pub(crate) connections: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeBroker {
    pub(crate) async fn start(topics: &[(&str, usize)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let logs = |count: &usize| (0..*count).map(|_| Log::default()).collect();
        let topics = topics.iter().map(|(name, count)| ((*name).to_owned(), logs(count))).collect();
        let state = State { topics, api_versions_max: 4, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let (gate, is_open) = watch::channel(true);
        let shared = Arc::clone(&state);
        let (open, connections) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (open, shared, is_open) = (open.clone(), Arc::clone(&shared), is_open.clone());
                connections.spawn(async move {
                    open.send_modify(|count| *count += 1);
                    serve(stream, address, shared, is_open).await;
                    open.send_modify(|count| *count -= 1);
                });
            }
        });
        Self { address, state, gate, connections, task }
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn inject(&self, api: ApiKey, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.entry(api.code()).or_default().extend(faults);
    }

    pub(crate) fn requests(&self, api: ApiKey) -> usize {
        self.state.lock().requests.get(&api.code()).copied().unwrap_or(0)
    }

    /// All values of a partition, in order.
    pub(crate) fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        let state = self.state.lock();
        let mut values = Vec::new();
        for (_, batch) in &state.topics[topic][partition].batches {
            let view = BatchView::parse(batch).expect("was checked");
            for record in view.records(batch, &Default::default()).expect("decompresses").iter() {
                let value = record.expect("whole").value.unwrap_or_default();
                values.push(String::from_utf8(value.to_vec()).expect("text"));
            }
        }
        values
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, state: Arc<Mutex<State>>, mut gate: watch::Receiver<bool>) {
    let (read, mut write) = stream.into_split();
    let mut frames = FramedRead::new(read, FrameCodec::default());
    while let Some(Ok(frame)) = frames.next().await {
        let mut reader = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut reader) else { return };
        let fault = {
            let mut state = state.lock();
            *state.requests.entry(header.api_key.code()).or_default() += 1;
            state.faults.get_mut(&header.api_key.code()).and_then(VecDeque::pop_front)
        };
        let refuse = match &fault {
            Some(Fault::CloseBefore) => return,
            Some(Fault::Silence) => continue,
            Some(Fault::Refuse(code)) => Some(*code),
            _ => None,
        };
        let answer = state.lock().answer(&header, &mut reader, address, refuse);
        if header.api_key == ApiKey::Produce && gate.wait_for(|is_open| *is_open).await.is_err() {
            return;
        }
        let written = match fault {
            Some(Fault::CloseAfter) => return,
            Some(Fault::Answer(bytes)) => write.write_all(&bytes).await,
            _ => match answer {
                Some(mut frame) => write.write_all_buf(&mut frame).await,
                None => Ok(()),
            },
        };
        if written.is_err() {
            return;
        }
    }
}
