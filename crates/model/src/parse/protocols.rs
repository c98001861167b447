//! `protocols` and `streams_max` of a listener.

use super::reader::{Reader, Report, Section};
use super::typed::Limits;
use crate::config::Protocols;

pub(super) const STREAMS_MAX: Limits<u32> = Limits {
    min: 1,
    max: 1_000,
    outside: "no request could be made, or one connection could hold more requests than many connections of HTTP/1.1",
};

/// Reads both; the defaults where they are not there.
pub(super) fn protocols(reader: &mut Reader, listener: &Section<'_>) -> Protocols {
    let default = Protocols::default();
    let [http1, http2] = Protocols::WORDS;
    let words = [(http1, false), (http2, true)];
    let spoken = listener.choices(reader, "protocols", &words);
    if let (Some([]), Some(found)) = (spoken.as_deref(), listener.get(reader, "protocols")) {
        let fix = format!("write `protocols = [\"{http1}\"]`, or remove it");
        reader.wrong(&found, "a list of at least one protocol", fix);
    }
    let streams_max = listener.integer(reader, "streams_max", &STREAMS_MAX);
    let protocols = Protocols {
        http1: spoken.as_ref().is_none_or(|list| list.contains(&false)),
        http2: spoken.is_some_and(|list| list.contains(&true)),
        streams_max: streams_max.unwrap_or(default.streams_max),
    };
    if streams_max.is_some() && !protocols.http2 {
        unused(reader, listener);
    }
    protocols
}

/// A limit of what is not spoken limits nothing.
fn unused(reader: &mut Reader, listener: &Section<'_>) {
    let Some(found) = listener.get(reader, "streams_max") else {
        return;
    };
    let report = Report {
        id: "CFG-06",
        message: format!(
            "`{}` stands at a listener that does not speak HTTP/2",
            found.path
        ),
        effect: "it limits nothing: a connection of HTTP/1.1 has one request at once".to_owned(),
        fix: "add `protocols = [\"http/1.1\", \"h2\"]`, or remove it".to_owned(),
    };
    reader.warning(&found.path, found.span, report);
}
