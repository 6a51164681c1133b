use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use cairn_protocol::{Message, Reader};

use crate::harness::TestBroker;

fn request() -> ApiVersionsRequest {
    ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1.0".into() }
}

#[tokio::test]
async fn every_version_shows_what_is_served() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for version in 0..=4 {
        let request = if version < 3 { ApiVersionsRequest::default() } else { request() };
        let response = client.call(version, &request).await;
        assert_eq!(response.error_code, 0);
        let of = |api: ApiKey| response.api_keys.iter().find(|shown| shown.api_key == api.code()).unwrap();
        assert_eq!((of(ApiKey::ApiVersions).min_version, of(ApiKey::ApiVersions).max_version), (0, 4));
        assert_eq!((of(ApiKey::Metadata).min_version, of(ApiKey::Metadata).max_version), (0, 13));
        assert!(response.api_keys.is_sorted_by_key(|shown| shown.api_key));
    }
}

#[tokio::test]
async fn an_unknown_version_is_answered_in_version_0_with_the_range() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    // Length, key 18, version 99, correlation id 7, then what that version may hold.
    client.send_raw(&[0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 2]).await;
    let mut reader = Reader::new(client.frame().await.unwrap().slice(4..));
    let response = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
    assert_eq!(reader.left(), 0);
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(response.api_keys.len(), 1);
    assert_eq!(response.api_keys[0].max_version, 4);
    let again = client.call(4, &request()).await;
    assert_eq!(again.error_code, 0, "the client can go on");
}

#[tokio::test]
async fn a_software_name_that_is_none_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let response = client.call(3, &ApiVersionsRequest::default()).await;
    assert_eq!(response.error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let broker = TestBroker::start().await;
    let mut other = broker.connect().await;
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &[0, 0, 0, 8, 0x7f, 0xff, 0, 0, 0, 0, 0, 1],        // no such API
        &[0, 0, 0, 8, 0, 3, 0, 99, 0, 0, 0, 1],             // no such version
        &[0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff], // client id longer than the frame
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0x7f, 0xff, 0xff, 0xff], // 2^31 topics
        &[0xff; 64],
    ];
    for bytes in garbage {
        let mut client = broker.connect().await;
        client.send_raw(bytes).await;
        client.expect_close().await;
    }
    assert_eq!(other.call(4, &request()).await.error_code, 0);
}
