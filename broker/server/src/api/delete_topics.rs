//! DeleteTopics, versions 1 to 6: by name, from version 6 on also by id. Records and configs go with the topic.
//!
//! - A topic that stands in the request twice, or by name and id at once, is refused with INVALID_REQUEST.
//! - Beyond `controller_mutation_rate`: THROTTLING_QUOTA_EXCEEDED from version 5 on, a wait afterwards before (KIP-599).
//! - The answer comes when the topic is gone from the metadata; its files go in the background.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use cairn_metadata::{Command, Image, Topic};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::TopicId;
use cairn_protocol::messages::delete_topics_request::DeleteTopicState;
use cairn_protocol::messages::delete_topics_response::DeletableTopicResult;
use cairn_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::refusal::Refusal;
use crate::clock;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::quotas::Mutations;

/// The first version that is refused beyond controller_mutation_rate; earlier ones wait afterwards.
const STRICT_FROM: i16 = 5;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: DeleteTopicsRequest) -> Outcome<DeleteTopicsResponse> {
    let node = Arc::clone(node);
    let mut mutations = call.mutations(&node, STRICT_FROM);
    let wanted = if call.version >= 6 { request.topics } else { by_name(request.topic_names) };
    Outcome::alone(async move {
        let mut seen = HashSet::new();
        let mut responses = Vec::with_capacity(wanted.len());
        for state in wanted {
            let found = find(&node.image(), &state);
            let deleted = match &found {
                Ok(topic) if !seen.insert(topic.id) => {
                    let message = format!("topic '{}' stands in the request more than once", topic.name);
                    Err(Refusal::new(ErrorCode::InvalidRequest, message))
                }
                Ok(topic) => delete(&node, topic, &mut mutations).await,
                Err(refusal) => Err(refusal.clone()),
            };
            responses.push(answer(&state, found.ok().as_deref(), deleted.err()));
        }
        let throttle_time_ms = mutations.throttle(Instant::now()).millis();
        DeleteTopicsResponse { throttle_time_ms, responses }
    })
}

fn by_name(names: Vec<Box<str>>) -> Vec<DeleteTopicState> {
    names.into_iter().map(|name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() }).collect()
}

fn find(image: &Image, state: &DeleteTopicState) -> Result<Arc<Topic>, Refusal> {
    let id = TopicId(state.topic_id);
    match (&state.name, id.is_zero()) {
        (Some(name), true) => image.topic_by_name(name).cloned().ok_or_else(|| Refusal::unknown_topic(name)),
        (None, false) => {
            let unknown = || Refusal::new(ErrorCode::UnknownTopicId, format!("no topic has the id {id}"));
            image.topic(id).cloned().ok_or_else(unknown)
        }
        (Some(_), false) => Err(Refusal::new(ErrorCode::InvalidRequest, "a topic is given by name or id, not by both")),
        (None, true) => Err(Refusal::new(ErrorCode::InvalidRequest, "a topic has neither name nor id")),
    }
}

async fn delete(node: &Node, topic: &Topic, mutations: &mut Mutations) -> Result<(), Refusal> {
    if !node.config.start().delete_topic_enable {
        return Err(Refusal::new(ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false"));
    }
    mutations.take(topic.partitions.len(), Instant::now())?;
    node.cluster.propose(Command::DeleteTopic { id: topic.id }).await?;
    // A crash in between leaves offsets behind that expire later, and that no topic of the same name is given.
    node.coordinator.on_topic_deleted(&node.cluster, &topic.name, topic.id, clock::now()).await;
    Ok(())
}

fn answer(state: &DeleteTopicState, topic: Option<&Topic>, refusal: Option<Refusal>) -> DeletableTopicResult {
    let name = topic.map(|topic| (*topic.name).into()).or_else(|| state.name.clone());
    DeletableTopicResult {
        name,
        topic_id: topic.map_or(state.topic_id, |topic| topic.id.0),
        error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
        error_message: refusal.map(|refusal| refusal.message),
    }
}
