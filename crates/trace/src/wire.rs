//! Spans as OTLP has them: an `ExportTraceServiceRequest` in protobuf.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Sent, Status};
use prost::Message as _;

use crate::span::{Span, Value};

/// The flags of a span besides those of the context: it is known whether the parent is remote, and it is.
const PARENT_IS_REMOTE: u32 = 0x300;

/// Who sends, as every span of a message has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sender {
    /// `service.name`.
    pub(crate) service: String,
    /// `service.version`.
    pub(crate) version: String,
    /// `service.instance.id`.
    pub(crate) instance: Option<String>,
}

/// The body of a message.
pub(crate) fn body(sender: &Sender, spans: &[Span]) -> Vec<u8> {
    let text = |key: &str, value: &str| pair(key, Any::StringValue(value.to_owned()));
    let mut attributes = vec![
        text("service.name", &sender.service),
        text("service.version", &sender.version),
    ];
    let instance = sender.instance.iter();
    attributes.extend(instance.map(|instance| text("service.instance.id", instance)));
    let scope = InstrumentationScope {
        name: "evenkeel".to_owned(),
        version: sender.version.clone(),
        ..InstrumentationScope::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.iter().map(sent).collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    };
    request.encode_to_vec()
}

/// Spans that the collector says it did not keep, and why.
pub(crate) fn rejected(body: &[u8]) -> Option<(u64, String)> {
    let response = ExportTraceServiceResponse::decode(body).ok()?;
    let partial = response.partial_success?;
    let rejected = u64::try_from(partial.rejected_spans).unwrap_or_default();
    (rejected > 0).then_some((rejected, partial.error_message))
}

fn sent(span: &Span) -> Sent {
    let attributes = span.attributes.iter();
    let attributes = attributes.map(|(key, value)| {
        let value = match value {
            Value::Text(text) => Any::StringValue(text.clone()),
            Value::Number(number) => Any::IntValue(i64::try_from(*number).unwrap_or(i64::MAX)),
            Value::Real(real) => Any::DoubleValue(*real),
        };
        pair(key, value)
    });
    let ended = nanoseconds(span.ended);
    let took = u64::try_from(span.took.as_nanos()).unwrap_or(u64::MAX);
    let remote = span.parent.map_or(0, |_| PARENT_IS_REMOTE);
    Sent {
        trace_id: span.context.trace.0.to_vec(),
        span_id: span.context.span.0.to_vec(),
        trace_state: span.state.clone(),
        parent_span_id: span
            .parent
            .map(|parent| parent.0.to_vec())
            .unwrap_or_default(),
        flags: u32::from(span.context.is_sampled) | remote,
        name: span.name.clone(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: ended.saturating_sub(took),
        end_time_unix_nano: ended,
        attributes: attributes.collect(),
        status: span.is_error.then(|| Status {
            message: String::new(),
            code: StatusCode::Error.into(),
        }),
        ..Sent::default()
    }
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
