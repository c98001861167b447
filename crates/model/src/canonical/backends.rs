//! Backends of a pool in the canonical form, and where further ones are looked for.

use super::{duration, number, quote};
use crate::config::{Backend, Members, MembersSource};

pub(super) fn members_entries(members: &Members) -> Vec<(&'static str, String)> {
    let source = match &members.source {
        MembersSource::File(path) => return vec![("file", quote(&path.display().to_string()))],
        MembersSource::Dns { host, port } => ("dns", quote(&format!("{host}:{port}"))),
        MembersSource::Srv(service) => ("srv", quote(service)),
    };
    let mut entries = vec![source];
    if let Some(resolver) = members.resolver {
        entries.push(("resolver", quote(&resolver.to_string())));
    }
    entries.extend([
        ("ttl_min", duration(members.ttl_min)),
        ("ttl_max", duration(members.ttl_max)),
    ]);
    entries
}

pub(super) fn backend_entries(backend: &Backend) -> Vec<(&'static str, String)> {
    let mut entries = vec![("address", quote(&backend.address.to_string()))];
    if backend.weight_declared {
        entries.push(("weight", backend.weight.to_string()));
    }
    if let Some(capacity_rps) = backend.capacity_rps {
        entries.push(("capacity_rps", number(capacity_rps)));
    }
    if backend.priority > 0 {
        entries.push(("priority", backend.priority.to_string()));
    }
    if let Some(zone) = &backend.zone {
        entries.push(("zone", quote(zone.as_str())));
    }
    if let Some(version) = &backend.version {
        entries.push(("version", quote(version.as_str())));
    }
    let tls_name = backend.tls_name.as_deref();
    entries.extend(tls_name.map(|name| ("tls_name", quote(name))));
    entries
}
