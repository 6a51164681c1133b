//! What the fake broker holds, and what it answers to each API. One broker leads everything.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::frame::response_frame;
use cairn_protocol::header::RequestHeader;
use cairn_protocol::messages::*;
use cairn_protocol::{ApiKey, EncodedFrame, Message, Reader};

use crate::broker::Fault;
use crate::log::Log;

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

impl State {
    pub(crate) fn answer(
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

fn code(code: ErrorCode) -> i16 {
    code.code()
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
