//! A broker in this process that speaks frames, keeps a log in memory, and fails as it is told to.
//!
//! It checks producers' sequence numbers as Kafka's brokers do. One broker leads everything.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::frame::{FrameCodec, response_frame};
use cairn_protocol::header::RequestHeader;
use cairn_protocol::ids::{LeaderEpoch, Offset};
use cairn_protocol::messages::*;
use cairn_protocol::records::{BatchHeader, BatchProducer, BatchView, HEADER_BYTES};
use cairn_protocol::{ApiKey, EncodedFrame, Message, Reader};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::codec::FramedRead;

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

/// A batch's sequence, count and offset.
type Known = (i32, i32, i64);

/// One partition's log.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) batches: Vec<(Offset, Bytes)>,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// By producer id and epoch: the last batches' sequence, count and offset.
    producers: HashMap<i64, (i16, VecDeque<Known>)>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) topics: HashMap<String, Vec<Log>>,
    pub(crate) committed: HashMap<(String, String, i32), i64>,
    /// What happens to the next requests of an API, first to last.
    pub(crate) faults: HashMap<i16, VecDeque<Fault>>,
    /// How many requests came, by API.
    pub(crate) requests: HashMap<i16, usize>,
    pub(crate) next_producer_id: i64,
    /// The newest ApiVersions that is understood.
    pub(crate) api_versions_max: i16,
    pub(crate) auto_create: bool,
    /// The largest batch that is taken; 0 for any.
    pub(crate) batch_bytes_max: usize,
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

fn code(code: ErrorCode) -> i16 {
    code.code()
}

impl State {
    fn answer(
        &mut self,
        header: &RequestHeader,
        reader: &mut Reader,
        address: SocketAddr,
        refuse: Option<ErrorCode>,
    ) -> Option<EncodedFrame> {
        let version = header.api_version;
        let id = header.correlation_id;
        macro_rules! with {
            ($request:ident, $answer:expr) => {{
                let request = $request::decode(reader, version).expect("the client sends what it should");
                let answer = $answer(self, request);
                Some(response_frame(header.api_key, version, id, &answer).expect("encodes"))
            }};
        }
        match header.api_key {
            ApiKey::ApiVersions if version > self.api_versions_max => {
                let answer =
                    ApiVersionsResponse { error_code: code(ErrorCode::UnsupportedVersion), ..Default::default() };
                Some(response_frame(ApiKey::ApiVersions, 0, id, &answer).expect("encodes"))
            }
            ApiKey::ApiVersions => with!(ApiVersionsRequest, |_: &mut Self, _| api_versions()),
            ApiKey::Metadata => with!(MetadataRequest, |it: &mut Self, request| it.metadata(request, address)),
            ApiKey::Produce => {
                let request = ProduceRequest::decode(reader, version).expect("the client sends what it should");
                let is_answered = request.acks != 0;
                let answer = self.produce(request, refuse);
                is_answered.then(|| response_frame(ApiKey::Produce, version, id, &answer).expect("encodes"))
            }
            ApiKey::Fetch => with!(FetchRequest, |it: &mut Self, request| it.fetch(request, refuse)),
            ApiKey::ListOffsets => with!(ListOffsetsRequest, |it: &mut Self, request| it.list_offsets(request, refuse)),
            ApiKey::InitProducerId => with!(InitProducerIdRequest, |it: &mut Self, _| {
                it.next_producer_id += 1;
                InitProducerIdResponse { producer_id: it.next_producer_id, ..Default::default() }
            }),
            ApiKey::FindCoordinator => {
                with!(FindCoordinatorRequest, |_: &mut Self, request: FindCoordinatorRequest| {
                    let coordinator = |key: Box<str>| find_coordinator_response::Coordinator {
                        key,
                        node_id: 1,
                        host: address.ip().to_string().into(),
                        port: address.port().into(),
                        error_code: refuse.map_or(0, code),
                        ..Default::default()
                    };
                    let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
                    FindCoordinatorResponse { coordinators, ..Default::default() }
                })
            }
            ApiKey::OffsetCommit => with!(OffsetCommitRequest, |it: &mut Self, request| it.commit(request, refuse)),
            ApiKey::OffsetFetch => with!(OffsetFetchRequest, |it: &mut Self, request| it.committed(request, refuse)),
            other => panic!("{other} is not faked"),
        }
    }

    fn metadata(&mut self, request: MetadataRequest, address: SocketAddr) -> MetadataResponse {
        let names: Vec<String> = match request.topics {
            None => self.topics.keys().cloned().collect(),
            Some(topics) => topics.into_iter().map(|topic| topic.name.unwrap_or_default().into()).collect(),
        };
        let mut topics = Vec::new();
        for name in names {
            if self.auto_create && request.allow_auto_topic_creation && !self.topics.contains_key(&name) {
                self.topics.insert(name.clone(), vec![Log::default()]);
            }
            let partitions = self.topics.get(&name).map_or(0, Vec::len);
            let partition = |index: usize| metadata_response::MetadataResponsePartition {
                partition_index: i32::try_from(index).expect("few"),
                leader_id: 1,
                leader_epoch: 3,
                replica_nodes: vec![1],
                isr_nodes: vec![1],
                ..Default::default()
            };
            topics.push(metadata_response::MetadataResponseTopic {
                error_code: if partitions == 0 { code(ErrorCode::UnknownTopicOrPartition) } else { 0 },
                name: Some(name.as_str().into()),
                partitions: (0..partitions).map(partition).collect(),
                ..Default::default()
            });
        }
        let broker = metadata_response::MetadataResponseBroker {
            node_id: 1,
            host: address.ip().to_string().into(),
            port: address.port().into(),
            rack: None,
        };
        MetadataResponse { brokers: vec![broker], controller_id: 1, topics, ..Default::default() }
    }

    fn produce(&mut self, request: ProduceRequest, refuse: Option<ErrorCode>) -> ProduceResponse {
        let mut responses = Vec::new();
        for topic in request.topic_data {
            let mut partition_responses = Vec::new();
            for partition in topic.partition_data {
                let log = self
                    .topics
                    .get_mut(&*topic.name)
                    .and_then(|logs| logs.get_mut(usize::try_from(partition.index).ok()?));
                let outcome = match (refuse, log) {
                    (Some(code), _) => Err(code),
                    (None, None) => Err(ErrorCode::UnknownTopicOrPartition),
                    (None, Some(log)) => {
                        let records = partition.records.expect("records");
                        if (1..records.len()).contains(&self.batch_bytes_max) {
                            Err(ErrorCode::MessageTooLarge)
                        } else {
                            log.append(&records)
                        }
                    }
                };
                partition_responses.push(produce_response::PartitionProduceResponse {
                    index: partition.index,
                    error_code: outcome.as_ref().err().map_or(0, |error| code(*error)),
                    base_offset: outcome.unwrap_or(-1),
                    ..Default::default()
                });
            }
            responses.push(produce_response::TopicProduceResponse {
                name: topic.name,
                partition_responses,
                ..Default::default()
            });
        }
        ProduceResponse { responses, ..Default::default() }
    }

    fn fetch(&mut self, request: FetchRequest, refuse: Option<ErrorCode>) -> FetchResponse {
        let mut responses = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for partition in topic.partitions {
                let log = self
                    .topics
                    .get(&*topic.topic)
                    .and_then(|logs| logs.get(usize::try_from(partition.partition).ok()?));
                let (error, records, end) = match (refuse, log) {
                    (Some(code), _) => (Some(code), Bytes::new(), -1),
                    (None, None) => (Some(ErrorCode::UnknownTopicOrPartition), Bytes::new(), -1),
                    (None, Some(log)) if !(log.start..=log.end).contains(&partition.fetch_offset) => {
                        (Some(ErrorCode::OffsetOutOfRange), Bytes::new(), log.end)
                    }
                    (None, Some(log)) => {
                        (None, log.read(partition.fetch_offset, partition.partition_max_bytes), log.end)
                    }
                };
                partitions.push(fetch_response::PartitionData {
                    partition_index: partition.partition,
                    error_code: error.map_or(0, code),
                    high_watermark: end,
                    records: Some(records),
                    ..Default::default()
                });
            }
            responses.push(fetch_response::FetchableTopicResponse {
                topic: topic.topic,
                partitions,
                ..Default::default()
            });
        }
        FetchResponse { responses, ..Default::default() }
    }

    fn list_offsets(&mut self, request: ListOffsetsRequest, refuse: Option<ErrorCode>) -> ListOffsetsResponse {
        let mut topics = Vec::new();
        for topic in request.topics {
            let logs = &self.topics[&*topic.name];
            let answer = |asked: &list_offsets_request::ListOffsetsPartition| {
                let log = &logs[usize::try_from(asked.partition_index).expect("an index")];
                let offset = match asked.timestamp {
                    -1 => log.end,
                    -2 => log.start,
                    time => log.offset_for(time),
                };
                list_offsets_response::ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: refuse.map_or(0, code),
                    offset: if refuse.is_some() { -1 } else { offset },
                    ..Default::default()
                }
            };
            let partitions = topic.partitions.iter().map(answer).collect();
            topics.push(list_offsets_response::ListOffsetsTopicResponse { name: topic.name, partitions });
        }
        ListOffsetsResponse { topics, ..Default::default() }
    }

    fn commit(&mut self, request: OffsetCommitRequest, refuse: Option<ErrorCode>) -> OffsetCommitResponse {
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for partition in topic.partitions {
                if refuse.is_none() {
                    let key = (request.group_id.to_string(), topic.name.to_string(), partition.partition_index);
                    self.committed.insert(key, partition.committed_offset);
                }
                partitions.push(offset_commit_response::OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: refuse.map_or(0, code),
                });
            }
            topics.push(offset_commit_response::OffsetCommitResponseTopic {
                name: topic.name,
                partitions,
                ..Default::default()
            });
        }
        OffsetCommitResponse { topics, ..Default::default() }
    }

    fn committed(&mut self, request: OffsetFetchRequest, refuse: Option<ErrorCode>) -> OffsetFetchResponse {
        let mut groups = Vec::new();
        for group in request.groups {
            let mut topics = Vec::new();
            for topic in group.topics.unwrap_or_default() {
                let answer = |index: &i32| offset_fetch_response::OffsetFetchResponsePartitions {
                    partition_index: *index,
                    committed_offset: *self
                        .committed
                        .get(&(group.group_id.to_string(), topic.name.to_string(), *index))
                        .unwrap_or(&-1),
                    ..Default::default()
                };
                let partitions = topic.partition_indexes.iter().map(answer).collect();
                topics.push(offset_fetch_response::OffsetFetchResponseTopics {
                    name: topic.name,
                    partitions,
                    ..Default::default()
                });
            }
            let error_code = refuse.map_or(0, code);
            groups.push(offset_fetch_response::OffsetFetchResponseGroup {
                group_id: group.group_id,
                topics,
                error_code,
            });
        }
        OffsetFetchResponse { groups, ..Default::default() }
    }
}

impl Log {
    /// The batch's offset, or that of the same batch from before.
    pub(crate) fn append(&mut self, batch: &Bytes) -> Result<i64, ErrorCode> {
        let view = BatchView::parse(batch).map_err(|_| ErrorCode::CorruptMessage)?;
        view.verify_crc().map_err(|_| ErrorCode::CorruptMessage)?;
        let header = *view.header();
        if let Some(producer) = header.producer
            && let Some(known) = self.check_sequence(producer, header.record_count)?
        {
            return Ok(known);
        }
        let offset = self.end;
        let mut stamped = header;
        stamped.stamp(Offset(offset), LeaderEpoch(3));
        let mut bytes = BytesMut::with_capacity(batch.len());
        bytes.put_slice(&stamped.encode());
        bytes.put_slice(&batch[HEADER_BYTES..]);
        self.batches.push((Offset(offset), bytes.freeze()));
        self.end += i64::from(header.record_count);
        if let Some(producer) = header.producer {
            let (_, last) = self.producers.get_mut(&producer.id.0).expect("checked");
            last.push_back((producer.base_sequence, header.record_count, offset));
            if last.len() > 5 {
                last.pop_front();
            }
        }
        Ok(offset)
    }

    fn check_sequence(&mut self, producer: BatchProducer, count: i32) -> Result<Option<i64>, ErrorCode> {
        let (epoch, last) = self.producers.entry(producer.id.0).or_default();
        if producer.epoch.0 > *epoch {
            (*epoch, *last) = (producer.epoch.0, VecDeque::new());
        }
        if let Some((_, _, offset)) = last.iter().find(|it| (it.0, it.1) == (producer.base_sequence, count)) {
            return Ok(Some(*offset));
        }
        // Of a producer that it does not know, Kafka's broker takes any sequence number (KIP-360).
        let Some(last) = last.back() else { return Ok(None) };
        let expected = BatchProducer::sequence_after(last.0, last.1);
        if producer.base_sequence == expected { Ok(None) } else { Err(ErrorCode::OutOfOrderSequenceNumber) }
    }

    /// Whole batches from the one that holds `from`, at least one.
    fn read(&self, from: i64, max_bytes: i32) -> Bytes {
        let mut bytes = BytesMut::new();
        for (_, batch) in &self.batches {
            let header = BatchHeader::decode(batch).expect("was checked");
            if header.end_offset().0 <= from {
                continue;
            }
            if !bytes.is_empty() && bytes.len() + batch.len() > usize::try_from(max_bytes).unwrap_or(0) {
                break;
            }
            bytes.put_slice(batch);
        }
        bytes.freeze()
    }

    fn offset_for(&self, time: i64) -> i64 {
        let newer = |batch: &Bytes| BatchHeader::decode(batch).expect("was checked").max_timestamp.0 >= time;
        self.batches.iter().find(|(_, batch)| newer(batch)).map_or(-1, |(offset, _)| offset.0)
    }
}

fn api_versions() -> ApiVersionsResponse {
    let served = [
        (ApiKey::Produce, 3, 12),
        (ApiKey::Fetch, 4, 12),
        (ApiKey::ListOffsets, 1, 7),
        (ApiKey::Metadata, 4, 12),
        (ApiKey::OffsetCommit, 2, 9),
        (ApiKey::OffsetFetch, 8, 9),
        (ApiKey::FindCoordinator, 4, 5),
        (ApiKey::ApiVersions, 0, 3),
        (ApiKey::InitProducerId, 0, 5),
    ];
    let api = |(key, min_version, max_version): (ApiKey, i16, i16)| api_versions_response::ApiVersion {
        api_key: key.code(),
        min_version,
        max_version,
    };
    ApiVersionsResponse { api_keys: served.into_iter().map(api).collect(), ..Default::default() }
}
