//! Traces: what backends see of them, and what a collector is told.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::seen::scraped;
use crate::support::{Home, Instance, PATIENCE, until};
use crate::wire::{Origin, config, exchange, nobody};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector that reads what it is sent.
struct Collector {
    origin: Origin,
    messages: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    /// Answers with each of `answers` once, and 200 from then on; keeps what it answered 200.
    fn start(answers: &'static [&'static str]) -> Self {
        let messages = Arc::new(Mutex::new(Vec::new()));
        let (kept, turn) = (Arc::clone(&messages), Mutex::new(answers.iter()));
        let origin = Origin::start(move |conn| {
            while let Some((head, body)) = conn.message() {
                assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                let kind = crate::wire::field(&head, "content-type");
                assert_eq!(kind, Some("application/x-protobuf"));
                let answer = turn.lock().unwrap().next();
                if answer.is_none() {
                    let message = ExportTraceServiceRequest::decode(&*body).unwrap();
                    kept.lock().unwrap().push(message);
                }
                let line = answer.unwrap_or(&"200 OK\r\n");
                conn.send(format!("HTTP/1.1 {line}content-length: 0\r\n\r\n").as_bytes());
            }
        });
        Self { origin, messages }
    }

    fn table(&self, more: &str) -> String {
        let address = self.origin.text();
        format!("[tracing]\nendpoint = \"http://{address}/v1/traces\"\n{more}\n")
    }

    fn spans(&self) -> Vec<Span> {
        let messages = self.messages.lock().unwrap();
        let resources = messages.iter().flat_map(|m| &m.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// Its text, or its number as one.
fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let pair = attributes.iter().find(|pair| pair.key == key)?;
    match pair.value.as_ref()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => Some(text.clone()),
        AnyValue {
            value: Some(Value::IntValue(number)),
        } => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn get(instance: &Instance, path: &str, fields: &str) -> u16 {
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}connection: close\r\n\r\n");
    exchange(instance.front(), head.as_bytes()).status()
}

fn sent(origin: &Origin, name: &str) -> Vec<Option<String>> {
    let heads = origin.heads();
    let fields = heads.iter().map(|head| crate::wire::field(head, name));
    fields.map(|field| field.map(str::to_owned)).collect()
}

#[test]
fn a_trace_goes_on_through_the_balancer_and_the_collector_is_told_who_served() {
    let (origin, collector) = (Origin::saying("one"), Collector::start(&[]));
    let table = collector.table("service_name = \"edge\"\nsample = \"0%\"");
    let home = Home::new(&(config(&[origin.text()], "", "") + &table));
    let instance = home.start(&[]);
    let fields = format!("traceparent: {GIVEN}\r\ntracestate: vendor=1\r\n");
    assert_eq!(get(&instance, "/cart?card=4111", &fields), 200);
    let unrecorded = format!("traceparent: {}\r\n", GIVEN.replace("-01", "-00"));
    assert_eq!(get(&instance, "/", &unrecorded), 200);
    assert_eq!(get(&instance, "/", "tracestate: vendor=1\r\n"), 200);
    assert!(instance.stop().success());

    let spans = collector.spans();
    let [span] = &*spans else { panic!("{spans:?}") };
    assert_eq!(hex(&span.trace_id), GIVEN[3..35]);
    assert_eq!(hex(&span.parent_span_id), GIVEN[36..52]);
    assert_eq!(
        (&*span.name, &*span.trace_state, span.kind),
        ("GET", "vendor=1", 2)
    );
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    assert_eq!(span.status, None);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/cart"),
        ("server.address", "shop.test"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("evenkeel.listener", "web"),
        ("evenkeel.route", "/"),
        ("evenkeel.pool", "shop"),
        ("evenkeel.backend", "web-1"),
        ("evenkeel.revision", "r1"),
        ("evenkeel.attempts", "1"),
    ] {
        assert_eq!(
            attribute(&span.attributes, key).as_deref(),
            Some(value),
            "{key}"
        );
    }
    let whole = format!("{:?}", collector.messages.lock().unwrap());
    assert!(!whole.contains("4111"), "the query is told: {whole}");
    let messages = collector.messages.lock().unwrap();
    let resource = messages[0].resource_spans[0].resource.as_ref().unwrap();
    let service = attribute(&resource.attributes, "service.name");
    assert_eq!(service.as_deref(), Some("edge"));

    let parents = sent(&origin, "traceparent");
    let ours = format!("00-{}-{}-01", &GIVEN[3..35], hex(&span.span_id));
    assert_eq!(parents[0].as_ref(), Some(&ours));
    assert_eq!(parents[1], Some(GIVEN.replace("-01", "-00")));
    let begun = parents[2].as_ref().unwrap();
    assert!(
        begun.ends_with("-00") && !begun.contains(&GIVEN[3..35]),
        "{begun}"
    );
    let vendor = Some("vendor=1".to_owned());
    assert_eq!(sent(&origin, "tracestate"), [vendor, None, None]);
}

#[test]
fn a_trace_begins_here_where_callers_are_not_followed_and_a_failure_is_an_error() {
    let collector = Collector::start(&[]);
    let log = "access_log = \"access.log\"\naccess_log_fields = [\"status\", \"trace_id\"]\n";
    let table = collector.table("follow = false\nsample = \"100%\"");
    let home = Home::new(&(log.to_owned() + &config(&[nobody().to_string()], "", "") + &table));
    let instance = home.start(&[]);
    assert_eq!(
        get(&instance, "/", &format!("traceparent: {GIVEN}\r\n")),
        502
    );
    let unknown = "BREW / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(instance.front(), unknown.as_bytes()).status(), 502);
    assert!(instance.stop().success());

    let spans = collector.spans();
    let [span, brewed] = &*spans else {
        panic!("{spans:?}")
    };
    assert_ne!(hex(&span.trace_id), GIVEN[3..35]);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
    let error = attribute(&span.attributes, "error.type");
    assert_eq!(error.as_deref(), Some("connect_refused"));
    assert_eq!(brewed.name, "HTTP");
    let original = attribute(&brewed.attributes, "http.request.method_original");
    assert_eq!(original.as_deref(), Some("BREW"));
    let lines = std::fs::read_to_string(home.dir().join("access.log")).unwrap();
    let first = format!(
        "{{\"status\":502,\"trace_id\":\"{}\"}}",
        hex(&span.trace_id)
    );
    assert_eq!(lines.lines().next(), Some(&*first));
}

#[test]
fn spans_outlast_a_collector_that_is_busy_and_nobody_waits_for_one_that_refuses() {
    let busy: &[&str] = &[
        "503 Busy\r\nretry-after: 0\r\n",
        "429 Slow\r\nretry-after: 0\r\n",
    ];
    let (origin, collector) = (Origin::saying("one"), Collector::start(busy));
    let text = config(&[origin.text()], "", "");
    let home = Home::new(&(text.clone() + &collector.table("sample = \"100%\"")));
    let instance = home.start(&[]);
    assert_eq!(get(&instance, "/", ""), 200);
    until("the span arrives", PATIENCE, || {
        (!collector.spans().is_empty()).then_some(())
    });
    // A change of the collector needs no restart.
    let refuses = Collector::start(&["400 No\r\n"]);
    home.write("next.toml", &(text + &refuses.table("sample = \"100%\"")));
    instance.ends("apply next.toml --yes --wait 60s", 0);
    assert_eq!(get(&instance, "/", ""), 200);
    let counted = until("the refusal is counted", PATIENCE, || {
        let samples = scraped(&instance);
        let of = |outcome: &str| {
            let mut spans = samples
                .iter()
                .filter(|s| s.0 == "evenkeel_trace_spans_total");
            spans.find(|s| s.1["outcome"] == outcome).map(|s| s.2)
        };
        (of("failed") == Some(1.0)).then(|| (of("sent"), of("dropped")))
    });
    assert_eq!(counted, (Some(1.0), Some(0.0)));
    assert_eq!(get(&instance, "/", ""), 200);
    assert!(instance.stop().success());
    // The last word is an attempt whatever was before.
    assert_eq!(refuses.spans().len(), 1);
}

#[test]
fn without_tracing_the_headers_pass_as_they_came() {
    let origin = Origin::saying("one");
    let home = Home::new(&config(&[origin.text()], "", ""));
    let instance = home.start(&[]);
    let fields = "traceparent: whatever\r\ntracestate: a=1\r\n";
    assert_eq!(get(&instance, "/", fields), 200);
    assert_eq!(get(&instance, "/", ""), 200);
    let whatever = Some("whatever".to_owned());
    assert_eq!(sent(&origin, "traceparent"), [whatever, None]);
    assert_eq!(sent(&origin, "tracestate"), [Some("a=1".to_owned()), None]);
}
