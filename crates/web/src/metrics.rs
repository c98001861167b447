//! GET /metrics: what runs as numbers for a collector, in OpenMetrics text.
//!
//! Every scrape is computed from the published present; nothing is registered or counted here, so a reload, a
//! renamed backend or a dropped pool leaves no stale series. Labels are names and routes from the configuration and
//! words from closed sets, never paths of requests, clients or messages. What is unknown is absent, never 0.
//!
//! Limits: the sum of a histogram is estimated from its buckets (within 10 %), because workers count buckets only.

mod names;
mod samples;
mod traffic;

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use evenkeel_control::{Handle, Published};
use http::{StatusCode, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::registry::Registry;

use crate::api::Problem;
use crate::api::webhooks::Messages;
use names::Metric;
use samples::{Sample, Value};

/// The format that `prometheus-client` writes.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn routes() -> Router<Handle> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(
    State(handle): State<Handle>,
    Extension(messages): Extension<Messages>,
) -> Result<Response, Problem> {
    let body = render(handle.published(), messages)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response())
}

/// The whole answer.
fn render(published: Arc<Published>, messages: Messages) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Present(published, messages)));
    let mut body = String::new();
    text::encode(&mut body, &registry)?;
    Ok(body)
}

/// The present as a collector.
#[derive(Debug)]
struct Present(Arc<Published>, Messages);

impl Collector for Present {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in Metric::ALL {
            let samples = samples::of(*metric, &self.0, &self.1);
            let about = metric.about();
            let mut family = encoder.encode_descriptor(about.name, about.help, None, about.kind)?;
            for Sample { labels, value } in &samples {
                let labels: Vec<(&str, &str)> = labels
                    .iter()
                    .map(|(key, text)| (*key, text.as_str()))
                    .collect();
                if labels.is_empty() {
                    write(&mut family, value)?;
                } else {
                    write(&mut family.encode_family(&labels)?, value)?;
                }
            }
        }
        Ok(())
    }
}

fn write(encoder: &mut MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Count(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
        Value::Gauge(gauge) => encoder.encode_gauge(gauge),
        Value::Times {
            sum,
            count,
            buckets,
        } => encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None),
    }
}

#[cfg(test)]
mod tests;
