//! The API table against what a running Apache Kafka 4.3.1 announces on its listeners: key, first and last version,
//! first flexible version (-1: never), and whether brokers (B), controllers (C) or both listen for it.

use cairn_protocol::ApiKey;

const ANNOUNCED: [(i16, i16, i16, i16, &str); 89] = [
    (0, 0, 13, 9, "B"),
    (1, 4, 18, 12, "BC"),
    (2, 1, 11, 6, "B"),
    (3, 0, 13, 9, "B"),
    (8, 2, 10, 8, "B"),
    (9, 1, 10, 6, "B"),
    (10, 0, 6, 3, "B"),
    (11, 0, 9, 6, "B"),
    (12, 0, 4, 4, "B"),
    (13, 0, 5, 4, "B"),
    (14, 0, 5, 4, "B"),
    (15, 0, 6, 5, "B"),
    (16, 0, 5, 3, "B"),
    (17, 0, 1, -1, "BC"),
    (18, 0, 4, 3, "BC"),
    (19, 2, 7, 5, "BC"),
    (20, 1, 6, 4, "BC"),
    (21, 0, 2, 2, "B"),
    (22, 0, 5, 2, "B"),
    (23, 2, 4, 4, "B"),
    (24, 0, 5, 3, "B"),
    (25, 0, 4, 3, "B"),
    (26, 0, 5, 3, "B"),
    (27, 1, 2, 1, "B"),
    (28, 0, 5, 3, "B"),
    (29, 1, 3, 2, "BC"),
    (30, 1, 3, 2, "BC"),
    (31, 1, 3, 2, "BC"),
    (32, 1, 4, 4, "BC"),
    (33, 0, 2, 2, "BC"),
    (34, 1, 2, 2, "B"),
    (35, 1, 5, 2, "B"),
    (36, 0, 2, 2, "BC"),
    (37, 0, 3, 2, "BC"),
    (38, 1, 3, 2, "BC"),
    (39, 1, 2, 2, "BC"),
    (40, 1, 2, 2, "BC"),
    (41, 1, 3, 2, "BC"),
    (42, 0, 2, 2, "B"),
    (43, 0, 2, 2, "BC"),
    (44, 0, 1, 1, "BC"),
    (45, 0, 1, 0, "BC"),
    (46, 0, 0, 0, "BC"),
    (47, 0, 0, -1, "B"),
    (48, 0, 1, 1, "B"),
    (49, 0, 1, 1, "BC"),
    (50, 0, 0, 0, "BC"),
    (51, 0, 0, 0, "BC"),
    (52, 0, 2, 0, "C"),
    (53, 0, 1, 1, "C"),
    (54, 0, 1, 1, "C"),
    (55, 0, 2, 0, "BC"),
    (56, 2, 3, 0, "C"),
    (57, 0, 2, 0, "BC"),
    (58, 0, 0, 0, "C"),
    (59, 0, 1, 0, "C"),
    (60, 0, 2, 0, "BC"),
    (61, 0, 0, 0, "B"),
    (62, 0, 4, 0, "C"),
    (63, 0, 2, 0, "C"),
    (64, 0, 0, 0, "BC"),
    (65, 0, 0, 0, "B"),
    (66, 0, 2, 0, "B"),
    (67, 0, 0, 0, "C"),
    (68, 0, 1, 0, "B"),
    (69, 0, 1, 0, "B"),
    (70, 0, 0, 0, "C"),
    (71, 0, 0, 0, "B"),
    (72, 0, 0, 0, "B"),
    (73, 0, 0, 0, "C"),
    (74, 0, 1, 0, "B"),
    (75, 0, 0, 0, "B"),
    (76, 1, 1, 0, "B"),
    (77, 1, 1, 0, "B"),
    (78, 1, 2, 0, "B"),
    (79, 1, 2, 0, "B"),
    (80, 0, 1, 0, "BC"),
    (81, 0, 0, 0, "BC"),
    (82, 0, 0, 0, "C"),
    (83, 0, 0, 0, "B"),
    (84, 0, 0, 0, "B"),
    (85, 0, 1, 0, "B"),
    (86, 0, 0, 0, "B"),
    (87, 0, 1, 0, "B"),
    (88, 0, 0, 0, "B"),
    (89, 0, 0, 0, "B"),
    (90, 0, 1, 0, "B"),
    (91, 0, 0, 0, "B"),
    (92, 0, 0, 0, "B"),
];

#[test]
fn the_table_is_what_kafka_announces() {
    let table = ApiKey::ALL.map(|key| {
        let (facts, versions) = (key.facts(), key.advertised_versions());
        let listeners = match (facts.on_broker, facts.on_controller) {
            (true, true) => "BC",
            (true, false) => "B",
            (false, true) => "C",
            (false, false) => "",
        };
        (key.code(), *versions.start(), *versions.end(), facts.flexible_from.unwrap_or(-1), listeners)
    });
    for (ours, announced) in table.iter().zip(&ANNOUNCED) {
        assert_eq!(ours, announced);
    }
    assert_eq!(table.len(), ANNOUNCED.len());
}

#[test]
fn keys_are_found_by_their_numbers() {
    for key in ApiKey::ALL {
        assert_eq!(ApiKey::from_code(key.code()), Some(key));
        assert!(!key.versions().is_empty());
    }
    // 4 to 7 have no versions any more.
    for code in [-1, 4, 5, 6, 7, 93, i16::MAX, i16::MIN] {
        assert_eq!(ApiKey::from_code(code), None);
    }
}

#[test]
fn header_versions_follow_the_body() {
    assert_eq!((ApiKey::Produce.request_header_version(8), ApiKey::Produce.request_header_version(9)), (1, 2));
    assert_eq!((ApiKey::Produce.response_header_version(8), ApiKey::Produce.response_header_version(9)), (0, 1));
    assert_eq!((ApiKey::ApiVersions.request_header_version(3), ApiKey::ApiVersions.response_header_version(3)), (2, 0));
    for key in [ApiKey::SaslHandshake, ApiKey::OffsetDelete] {
        for version in key.versions() {
            assert_eq!((key.request_header_version(version), key.response_header_version(version)), (1, 0), "{key}");
        }
    }
}
