//! Requests divided, and answers altered, in every version.

use super::*;
use crate::protocol::messages::metadata::{MetadataRequest, MetadataResponse, MetadataResponseTopic};

const CODE: ErrorCode = ErrorCode::REQUEST_TIMED_OUT;

fn named() -> Named {
    Named { name: "terns".into(), id: Some(Uuid::random()) }
}

/// The two parts of a request that a client sends.
fn parts<R: Request>(request: &R, version: i16, named: &Named) -> Option<(R, Option<R>)> {
    let frame = encode_request(request, version, 7, Some(&"gull".into())).unwrap();
    let (header, body) = decode_request_header(without_size(frame)).unwrap();
    let (part, rest) = divide(&header, body, named)?;
    let read = |frame: Bytes| {
        let (header, body) = decode_request_header(frame).unwrap();
        assert_eq!((header.api_version, header.correlation_id), (version, 7));
        assert_eq!(header.client_id.as_deref(), Some("gull"));
        decode::<R>(&header, body).map(|(request, _)| request).unwrap()
    };
    Some((read(part), rest.map(read)))
}

#[test]
fn a_topic_is_taken_out_of_a_request_by_name_or_by_id() {
    let named = named();
    let served = ApiKey::DeleteTopics.spec().served;
    for version in served.min..=served.max {
        let by = |name: &str, topic_id: Uuid| DeleteTopicState {
            name: Some(name.into()).filter(|_| !name.is_empty()),
            topic_id,
        };
        let request = match version {
            6.. => DeleteTopicsRequest {
                topics: vec![by("gulls", Uuid::ZERO), by("terns", Uuid::ZERO), by("", named.id.unwrap())],
                ..Default::default()
            },
            _ => DeleteTopicsRequest { topic_names: vec!["gulls".into(), "terns".into()], ..Default::default() },
        };
        let (part, rest) = parts(&request, version, &named).unwrap();
        let rest = rest.unwrap();
        let count = |request: &DeleteTopicsRequest| request.topics.len() + request.topic_names.len();
        assert_eq!((count(&part), count(&rest)), (if version >= 6 { 2 } else { 1 }, 1), "version {version}");
        // What is left names it no more.
        assert_eq!(parts(&rest, version, &named), None);
        assert_eq!(parts(&part, version, &named).unwrap().1, None, "nothing is left of it");
    }
}

#[test]
fn two_answers_are_told_as_one() {
    let served = ApiKey::CreateTopics.spec().served;
    for version in served.min..=served.max {
        let answer = |name: &str, error_code| {
            let topics = vec![CreatableTopicResult { name: name.into(), error_code, ..Default::default() }];
            let response = CreateTopicsResponse { topics, ..Default::default() };
            encode_response::<CreateTopicsRequest>(&response, version, 7).unwrap()
        };
        let (part, rest) = (answer("terns", CODE), answer("gulls", ErrorCode::NONE));
        let Reply::Send(frame) = together(ApiKey::CreateTopics, version, part, rest) else {
            panic!("version {version}")
        };
        let (correlation_id, told) = decode_response::<CreateTopicsRequest>(without_size(frame), version).unwrap();
        let told: Vec<_> = told.topics.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
        assert_eq!((correlation_id, told), (7, vec![("gulls", ErrorCode::NONE), ("terns", CODE)]));
    }
}

#[test]
fn an_answer_that_does_not_tell_of_the_topic_is_left() {
    let named = named();
    let answer = |name: &str| {
        let topics = vec![MetadataResponseTopic { name: Some(name.into()), ..Default::default() }];
        let response = MetadataResponse { topics, ..Default::default() };
        encode_response::<MetadataRequest>(&response, 12, 7).unwrap().into_bytes()
    };
    assert!(alter(ApiKey::Metadata, 12, answer("gulls"), &named, CODE).is_none());
    let Some(Reply::Send(frame)) = alter(ApiKey::Metadata, 12, answer("terns"), &named, CODE) else { panic!() };
    let (_, told) = decode_response::<MetadataRequest>(without_size(frame), 12).unwrap();
    assert_eq!(told.topics[0].error_code, CODE);
}

#[test]
fn what_is_divided_can_be_refused() {
    for api in DIVIDED.iter().chain(ALTERED) {
        assert!(super::super::can_be_refused(*api), "{api}");
    }
}
