//! Kafka's error codes as of 4.3: numbers, names, and whether a client may try again.
//!
//! Must not know: which request an error answers.

use std::fmt;

/// Whether the same request may succeed later, as the Java client sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Never,
    May,
}

macro_rules! error_codes {
    ($($code:literal $variant:ident $name:literal $retry:ident $message:literal;)*) => {
        /// The outcome of a request or of a part of it. Unlisted numbers are no [`ErrorCode`]: clients treat them as
        /// [`UnknownServerError`](Self::UnknownServerError).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $name, "`: ", $message, ".")] $variant = $code,)*
        }

        impl ErrorCode {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The one with this number.
            #[must_use]
            pub fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's name for it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it means, in words for people.
            #[must_use]
            pub fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)*
                }
            }

            fn retry(self) -> Retry {
                match self {
                    $(Self::$variant => Retry::$retry,)*
                }
            }
        }
    };
}

#[rustfmt::skip] // a table
error_codes! {
    -1 UnknownServerError "UNKNOWN_SERVER_ERROR" Never "the broker failed in a way that it has no code for";
    0 None "NONE" Never "no error";
    1 OffsetOutOfRange "OFFSET_OUT_OF_RANGE" Never "the offset lies outside of the partition's log";
    2 CorruptMessage "CORRUPT_MESSAGE" May "the record batch is damaged: wrong checksum, impossible size or unreadable content";
    3 UnknownTopicOrPartition "UNKNOWN_TOPIC_OR_PARTITION" May "the broker knows no such topic or partition";
    4 InvalidFetchSize "INVALID_FETCH_SIZE" Never "the fetch size is out of range";
    5 LeaderNotAvailable "LEADER_NOT_AVAILABLE" May "the partition has no leader at the moment";
    6 NotLeaderOrFollower "NOT_LEADER_OR_FOLLOWER" May "the broker is not the partition's leader, or no replica of it";
    7 RequestTimedOut "REQUEST_TIMED_OUT" May "the broker did not finish the request in time";
    8 BrokerNotAvailable "BROKER_NOT_AVAILABLE" Never "the broker is not available";
    9 ReplicaNotAvailable "REPLICA_NOT_AVAILABLE" May "the partition's replica is not available";
    10 MessageTooLarge "MESSAGE_TOO_LARGE" Never "the record batch is larger than the topic allows";
    11 StaleControllerEpoch "STALE_CONTROLLER_EPOCH" Never "the request comes from a controller that has been replaced";
    12 OffsetMetadataTooLarge "OFFSET_METADATA_TOO_LARGE" Never "the metadata string of the committed offset is too long";
    13 NetworkException "NETWORK_EXCEPTION" May "the connection ended before the answer came";
    14 CoordinatorLoadInProgress "COORDINATOR_LOAD_IN_PROGRESS" May "the coordinator is still loading its state";
    15 CoordinatorNotAvailable "COORDINATOR_NOT_AVAILABLE" May "no coordinator is available at the moment";
    16 NotCoordinator "NOT_COORDINATOR" May "the broker is not the coordinator";
    17 InvalidTopicException "INVALID_TOPIC_EXCEPTION" Never "the topic's name or the operation on this topic is not allowed";
    18 RecordListTooLarge "RECORD_LIST_TOO_LARGE" Never "the record batch is larger than a segment";
    19 NotEnoughReplicas "NOT_ENOUGH_REPLICAS" May "too few replicas are in sync to accept the records";
    20 NotEnoughReplicasAfterAppend "NOT_ENOUGH_REPLICAS_AFTER_APPEND" May "the records were written, but too few replicas were in sync to hold them";
    21 InvalidRequiredAcks "INVALID_REQUIRED_ACKS" Never "acks must be 0, 1 or -1";
    22 IllegalGeneration "ILLEGAL_GENERATION" Never "the member's generation is not the group's";
    23 InconsistentGroupProtocol "INCONSISTENT_GROUP_PROTOCOL" Never "the member's protocols do not fit the group's";
    24 InvalidGroupId "INVALID_GROUP_ID" Never "the group id is not allowed";
    25 UnknownMemberId "UNKNOWN_MEMBER_ID" Never "the group has no such member";
    26 InvalidSessionTimeout "INVALID_SESSION_TIMEOUT" Never "the session timeout is outside of the broker's bounds";
    27 RebalanceInProgress "REBALANCE_IN_PROGRESS" Never "the group is rebalancing and the member has to join again";
    28 InvalidCommitOffsetSize "INVALID_COMMIT_OFFSET_SIZE" Never "the committed offsets are too large to be stored";
    29 TopicAuthorizationFailed "TOPIC_AUTHORIZATION_FAILED" Never "the principal has no permission for the topic";
    30 GroupAuthorizationFailed "GROUP_AUTHORIZATION_FAILED" Never "the principal has no permission for the group";
    31 ClusterAuthorizationFailed "CLUSTER_AUTHORIZATION_FAILED" Never "the principal has no permission for the cluster";
    32 InvalidTimestamp "INVALID_TIMESTAMP" Never "a record's timestamp is outside of the topic's bounds";
    33 UnsupportedSaslMechanism "UNSUPPORTED_SASL_MECHANISM" Never "the broker has not enabled this SASL mechanism";
    34 IllegalSaslState "ILLEGAL_SASL_STATE" Never "the request does not fit the state of SASL authentication";
    35 UnsupportedVersion "UNSUPPORTED_VERSION" Never "the broker does not support this version of the API";
    36 TopicAlreadyExists "TOPIC_ALREADY_EXISTS" Never "a topic of this name exists already";
    37 InvalidPartitions "INVALID_PARTITIONS" Never "the number of partitions is not allowed";
    38 InvalidReplicationFactor "INVALID_REPLICATION_FACTOR" Never "the replication factor is below 1 or above the number of brokers";
    39 InvalidReplicaAssignment "INVALID_REPLICA_ASSIGNMENT" Never "the replica assignment is not valid";
    40 InvalidConfig "INVALID_CONFIG" Never "a configuration is not valid";
    41 NotController "NOT_CONTROLLER" May "the broker is not the active controller";
    42 InvalidRequest "INVALID_REQUEST" Never "the request contradicts itself or the protocol";
    43 UnsupportedForMessageFormat "UNSUPPORTED_FOR_MESSAGE_FORMAT" Never "the message format does not support the request";
    44 PolicyViolation "POLICY_VIOLATION" Never "the request violates a policy of the cluster";
    45 OutOfOrderSequenceNumber "OUT_OF_ORDER_SEQUENCE_NUMBER" Never "the batch's sequence number does not follow the producer's last one";
    46 DuplicateSequenceNumber "DUPLICATE_SEQUENCE_NUMBER" Never "the batch's sequence number was written before";
    47 InvalidProducerEpoch "INVALID_PRODUCER_EPOCH" Never "the producer's epoch is out of date";
    48 InvalidTxnState "INVALID_TXN_STATE" Never "the transaction's state does not allow the operation";
    49 InvalidProducerIdMapping "INVALID_PRODUCER_ID_MAPPING" Never "the producer id does not belong to the transactional id";
    50 InvalidTransactionTimeout "INVALID_TRANSACTION_TIMEOUT" Never "the transaction timeout is above the broker's maximum";
    51 ConcurrentTransactions "CONCURRENT_TRANSACTIONS" May "another operation on the transaction is still running";
    52 TransactionCoordinatorFenced "TRANSACTION_COORDINATOR_FENCED" Never "the transaction marker comes from a coordinator that has been replaced";
    53 TransactionalIdAuthorizationFailed "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" Never "the principal has no permission for the transactional id";
    54 SecurityDisabled "SECURITY_DISABLED" Never "the broker has no security features enabled";
    55 OperationNotAttempted "OPERATION_NOT_ATTEMPTED" Never "the operation was skipped because another one in the request failed";
    56 KafkaStorageError "KAFKA_STORAGE_ERROR" May "the broker cannot read or write its storage";
    57 LogDirNotFound "LOG_DIR_NOT_FOUND" Never "the broker has no such log directory";
    58 SaslAuthenticationFailed "SASL_AUTHENTICATION_FAILED" Never "authentication failed";
    59 UnknownProducerId "UNKNOWN_PRODUCER_ID" Never "the broker has no state for the producer id";
    60 ReassignmentInProgress "REASSIGNMENT_IN_PROGRESS" Never "a reassignment of the partition is running";
    61 DelegationTokenAuthDisabled "DELEGATION_TOKEN_AUTH_DISABLED" Never "delegation tokens are not enabled";
    62 DelegationTokenNotFound "DELEGATION_TOKEN_NOT_FOUND" Never "the broker knows no such delegation token";
    63 DelegationTokenOwnerMismatch "DELEGATION_TOKEN_OWNER_MISMATCH" Never "the principal neither owns nor renews the delegation token";
    64 DelegationTokenRequestNotAllowed "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" Never "delegation tokens cannot be asked for on this kind of connection";
    65 DelegationTokenAuthorizationFailed "DELEGATION_TOKEN_AUTHORIZATION_FAILED" Never "the principal has no permission for the delegation token";
    66 DelegationTokenExpired "DELEGATION_TOKEN_EXPIRED" Never "the delegation token has expired";
    67 InvalidPrincipalType "INVALID_PRINCIPAL_TYPE" Never "the type of the principal is not supported";
    68 NonEmptyGroup "NON_EMPTY_GROUP" Never "the group still has members";
    69 GroupIdNotFound "GROUP_ID_NOT_FOUND" Never "there is no such group";
    70 FetchSessionIdNotFound "FETCH_SESSION_ID_NOT_FOUND" May "the broker knows no such fetch session";
    71 InvalidFetchSessionEpoch "INVALID_FETCH_SESSION_EPOCH" May "the epoch of the fetch session is not the expected one";
    72 ListenerNotFound "LISTENER_NOT_FOUND" May "the leader has no listener of the name that the request came by";
    73 TopicDeletionDisabled "TOPIC_DELETION_DISABLED" Never "deletion of topics is disabled";
    74 FencedLeaderEpoch "FENCED_LEADER_EPOCH" May "the leader epoch in the request is older than the broker's";
    75 UnknownLeaderEpoch "UNKNOWN_LEADER_EPOCH" May "the leader epoch in the request is newer than the broker's";
    76 UnsupportedCompressionType "UNSUPPORTED_COMPRESSION_TYPE" Never "the compression is not supported by this version of the API or by the broker";
    77 StaleBrokerEpoch "STALE_BROKER_EPOCH" Never "the broker has registered anew since";
    78 OffsetNotAvailable "OFFSET_NOT_AVAILABLE" May "the new leader does not know yet up to which offset records are committed";
    79 MemberIdRequired "MEMBER_ID_REQUIRED" Never "the member has to join again with the id that it was given";
    80 PreferredLeaderNotAvailable "PREFERRED_LEADER_NOT_AVAILABLE" May "the preferred leader is not available";
    81 GroupMaxSizeReached "GROUP_MAX_SIZE_REACHED" Never "the group has its maximum number of members";
    82 FencedInstanceId "FENCED_INSTANCE_ID" Never "another member with this group instance id has taken over";
    83 EligibleLeadersNotAvailable "ELIGIBLE_LEADERS_NOT_AVAILABLE" May "no replica that could become leader is available";
    84 ElectionNotNeeded "ELECTION_NOT_NEEDED" May "the partition already has the wanted leader";
    85 NoReassignmentInProgress "NO_REASSIGNMENT_IN_PROGRESS" Never "no reassignment of the partition is running";
    86 GroupSubscribedToTopic "GROUP_SUBSCRIBED_TO_TOPIC" Never "the group is subscribed to the topic, so its offsets cannot be deleted";
    87 InvalidRecord "INVALID_RECORD" Never "the broker refuses a record or batch as not valid";
    88 UnstableOffsetCommit "UNSTABLE_OFFSET_COMMIT" May "offsets of a transaction that is not finished have to be settled first";
    89 ThrottlingQuotaExceeded "THROTTLING_QUOTA_EXCEEDED" May "the quota for this kind of request is used up for now";
    90 ProducerFenced "PRODUCER_FENCED" Never "a newer producer with this transactional id has taken over";
    91 ResourceNotFound "RESOURCE_NOT_FOUND" Never "a resource in the request does not exist";
    92 DuplicateResource "DUPLICATE_RESOURCE" Never "a resource stands twice in the request";
    93 UnacceptableCredential "UNACCEPTABLE_CREDENTIAL" Never "the credential does not meet the requirements";
    94 InconsistentVoterSet "INCONSISTENT_VOTER_SET" Never "sender or receiver is not among the expected voters";
    95 InvalidUpdateVersion "INVALID_UPDATE_VERSION" Never "the version of the update is not valid";
    96 FeatureUpdateFailed "FEATURE_UPDATE_FAILED" Never "the finalized features could not be updated";
    97 PrincipalDeserializationFailure "PRINCIPAL_DESERIALIZATION_FAILURE" Never "the forwarded principal could not be read";
    98 SnapshotNotFound "SNAPSHOT_NOT_FOUND" Never "there is no such snapshot";
    99 PositionOutOfRange "POSITION_OUT_OF_RANGE" Never "the position lies outside of the snapshot";
    100 UnknownTopicId "UNKNOWN_TOPIC_ID" May "the broker knows no topic of this id";
    101 DuplicateBrokerRegistration "DUPLICATE_BROKER_REGISTRATION" Never "another broker with this id is registered";
    102 BrokerIdNotRegistered "BROKER_ID_NOT_REGISTERED" Never "no broker of this id is registered";
    103 InconsistentTopicId "INCONSISTENT_TOPIC_ID" May "the topic id is not that of the log";
    104 InconsistentClusterId "INCONSISTENT_CLUSTER_ID" Never "the cluster id is not that of the cluster";
    105 TransactionalIdNotFound "TRANSACTIONAL_ID_NOT_FOUND" Never "there is no such transactional id";
    106 FetchSessionTopicIdError "FETCH_SESSION_TOPIC_ID_ERROR" May "the fetch session mixes requests with and without topic ids";
    107 IneligibleReplica "INELIGIBLE_REPLICA" Never "a replica of the new in-sync set may not be in it";
    108 NewLeaderElected "NEW_LEADER_ELECTED" Never "the partition was changed and has another leader now";
    109 OffsetMovedToTieredStorage "OFFSET_MOVED_TO_TIERED_STORAGE" Never "the offset is in tiered storage";
    110 FencedMemberEpoch "FENCED_MEMBER_EPOCH" Never "the member's epoch is out of date and it has to give up its partitions and join again";
    111 UnreleasedInstanceId "UNRELEASED_INSTANCE_ID" Never "another member still holds this group instance id";
    112 UnsupportedAssignor "UNSUPPORTED_ASSIGNOR" Never "the group does not support the assignor or its version";
    113 StaleMemberEpoch "STALE_MEMBER_EPOCH" Never "the member's epoch is out of date, retry with the one from its next heartbeat";
    114 MismatchedEndpointType "MISMATCHED_ENDPOINT_TYPE" Never "the endpoint is of another type than the request needs";
    115 UnsupportedEndpointType "UNSUPPORTED_ENDPOINT_TYPE" Never "this type of endpoint is not supported";
    116 UnknownControllerId "UNKNOWN_CONTROLLER_ID" Never "there is no controller of this id";
    117 UnknownSubscriptionId "UNKNOWN_SUBSCRIPTION_ID" Never "the telemetry subscription id is not known or out of date";
    118 TelemetryTooLarge "TELEMETRY_TOO_LARGE" Never "the pushed telemetry is larger than the broker accepts";
    119 InvalidRegistration "INVALID_REGISTRATION" Never "the controller refuses the broker's registration";
    120 TransactionAbortable "TRANSACTION_ABORTABLE" Never "the transaction cannot go on and has to be aborted";
    121 InvalidRecordState "INVALID_RECORD_STATE" Never "the record's state does not allow the acknowledgement";
    122 ShareSessionNotFound "SHARE_SESSION_NOT_FOUND" May "the broker knows no such share session";
    123 InvalidShareSessionEpoch "INVALID_SHARE_SESSION_EPOCH" May "the epoch of the share session is not the expected one";
    124 FencedStateEpoch "FENCED_STATE_EPOCH" Never "the epoch of the share group's state is not the expected one";
    125 InvalidVoterKey "INVALID_VOTER_KEY" Never "the voter key is not that of the receiving replica";
    126 DuplicateVoter "DUPLICATE_VOTER" Never "the voter is already in the voter set";
    127 VoterNotFound "VOTER_NOT_FOUND" Never "the voter is not in the voter set";
    128 InvalidRegularExpression "INVALID_REGULAR_EXPRESSION" Never "the regular expression is not valid";
    129 RebootstrapRequired "REBOOTSTRAP_REQUIRED" Never "the client's metadata is too old and it has to bootstrap again";
    130 StreamsInvalidTopology "STREAMS_INVALID_TOPOLOGY" Never "the streams topology is not valid";
    131 StreamsInvalidTopologyEpoch "STREAMS_INVALID_TOPOLOGY_EPOCH" Never "the epoch of the streams topology is not valid";
    132 StreamsTopologyFenced "STREAMS_TOPOLOGY_FENCED" Never "the epoch of the streams topology is out of date";
    133 ShareSessionLimitReached "SHARE_SESSION_LIMIT_REACHED" May "the broker has its maximum number of share sessions";
}

impl ErrorCode {
    /// Its number on the wire.
    #[must_use]
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Whether the same request may succeed later, perhaps at another broker.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        self.retry() == Retry::May
    }

    /// Whether it is [`None`](Self::None).
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::None
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `number name retriable` of every code, printed by Apache Kafka 4.3.1's own client library.
    const GOLDEN: &str = include_str!("../tests/golden/error_codes.txt");

    #[test]
    fn agrees_with_apache_kafka() {
        let ours: String = ErrorCode::ALL
            .iter()
            .map(|error| format!("{} {} {}\n", error.code(), error.name(), error.is_retriable()))
            .collect();
        assert_eq!(ours, GOLDEN);
        assert_eq!(ErrorCode::ALL.len(), 135);
        assert_eq!(ErrorCode::ALL.iter().filter(|error| error.is_retriable()).count(), 32);
    }

    #[test]
    fn numbers_lead_back() {
        for code in i16::MIN..=i16::MAX {
            match ErrorCode::from_code(code) {
                Some(error) => assert_eq!(error.code(), code),
                None => assert!(!(-1..=133).contains(&code)),
            }
        }
    }
}
