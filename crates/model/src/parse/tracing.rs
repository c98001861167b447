//! `[tracing]`: which requests are told to a collector of traces.

use super::reader::{Reader, Section};
use super::reference::sub;
use super::typed::{Expected, Limits};
use super::{keys, text};
use crate::config::Tracing;
use crate::units::Ratio;

/// Longest name of a service.
const NAME_MAX: usize = 128;
/// What Evenkeel is called in spans when nothing is said.
const SERVICE: &str = "evenkeel";

pub(super) const SAMPLE: Limits<Ratio> = Limits {
    min: Ratio::from_percent(0),
    max: Ratio::from_percent(100),
    outside: "a part of the requests is none of them, all of them or something between",
};

/// Reads it; nothing: no spans.
pub(super) fn read(reader: &mut Reader, root: &Section<'_>) -> Option<Tracing> {
    let s = sub(reader, root, "tracing", &keys::TRACING)?;
    s.require(
        reader,
        "endpoint",
        "no span could be sent",
        "endpoint = \"http://127.0.0.1:4318/v1/traces\"",
    );
    let endpoint = s.read(reader, "endpoint", endpoint);
    let service_name = s.read(reader, "service_name", service_name);
    let sample = s.ratio(reader, "sample", &SAMPLE);
    let follow = s.boolean(reader, "follow");
    Some(Tracing {
        endpoint: endpoint?,
        service_name: service_name.unwrap_or_else(|| SERVICE.to_owned()),
        sample: sample.unwrap_or(Ratio::from_percent(1)),
        follow: follow.unwrap_or(true),
    })
}

fn endpoint(text: &str) -> Result<String, Expected> {
    let fix =
        "write the whole URL, \"http://127.0.0.1:4318/v1/traces\" for a collector on this machine";
    let wrong = |_not_a_url| Expected::new("an http or https URL", fix);
    let url = text::url(text).map_err(wrong)?;
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    if path.is_empty() {
        return Err(Expected::new(
            "an http or https URL with the path that takes spans",
            fix,
        ));
    }
    Ok(url)
}

fn service_name(text: &str) -> Result<String, Expected> {
    let is_plain = text.chars().all(|c| !c.is_control());
    if (1..=NAME_MAX).contains(&text.len()) && is_plain {
        return Ok(text.to_owned());
    }
    Err(Expected::new(
        format!("a name of 1 to {NAME_MAX} bytes without control characters"),
        "write \"evenkeel\", or what the team calls this balancer",
    ))
}
