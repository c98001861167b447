//! Resources that stand in other files, as `path_config_source` names them. All other sources are gaps: a server that
//! hands out configuration is not at hand.

use std::rc::Rc;

use evenkeel_model::setup::Touches;

use crate::book::Book;
use crate::envoy::Reading;
use crate::envoy::fields::{Fields, put};
use crate::envoy::http::Web;
use crate::envoy::members::{self, Members, Roster, is_typed};
use crate::envoy::node::{Node, Value};
use crate::envoy::{document, route};

/// Number of the first listener or cluster that stands in another file.
const FIRST_IN_FILES: usize = 1_000_000;

/// The file that a `ConfigSource` names and the source it stands in; `None`: it comes from elsewhere.
fn path_of(book: &mut Book<'_>, source: &mut Fields<'_>) -> Option<(String, usize)> {
    let place = source.start()?;
    let path = match source.message(book, "path_config_source") {
        Some(mut file) => file.text(book, "path").map(str::to_owned),
        None => source.text(book, "path").map(str::to_owned),
    };
    path.map(|path| (path, place.source as usize))
}

/// The resources of the file `path`, each of them handed to `take`.
fn resources(
    book: &mut Book<'_>,
    from: usize,
    path: &str,
    at: &str,
    mut take: impl FnMut(&mut Book<'_>, &Node),
) {
    // A name with a star in it is a name here.
    book.include(from, path, at, |book, source| {
        let Some(root) = document(book, source) else {
            return;
        };
        let Some(mut response) = Fields::open(book, &root, at) else {
            return;
        };
        let items = response.list(book, "resources");
        for item in items {
            take(book, item);
        }
        if items.is_empty() && is_typed(&root) {
            take(book, &root);
        }
    });
}

/// Hosts of an EDS cluster.
pub(super) fn endpoints(
    book: &mut Book<'_>,
    cluster: &mut Fields<'_>,
    roster: &mut Roster<'_>,
) -> Members {
    let name = cluster.text(book, "name").unwrap_or("").to_owned();
    let at = cluster.at("eds_cluster_config");
    cluster.place_key(book, "eds_cluster_config", &at);
    let Some(mut config) = cluster.message(book, "eds_cluster_config") else {
        let message = "an EDS cluster needs `eds_cluster_config`".to_owned();
        if let Some(place) = cluster.start() {
            super::fields::refuse(book, &at, place, message);
        }
        return Members::none();
    };
    let service = config
        .text(book, "service_name")
        .filter(|name| !name.is_empty());
    let service = service.unwrap_or(&name).to_owned();
    let source = config.message(book, "eds_config");
    let file = source.and_then(|mut source| path_of(book, &mut source));
    config.close(book, &[], &Touches::Resilience);
    let Some((path, from)) = file else {
        let because = "its members come from a management server";
        book.unknowable(&at, "type EDS", because, roster.touches.clone());
        return Members::none();
    };
    let mut found = None;
    resources(book, from, &path, &at, |book, node| {
        if let Some(mut fields) = Fields::open(book, node, &at)
            && fields.text(book, "cluster_name") == Some(&service)
        {
            found = Some(members::read(book, roster, fields));
        }
    });
    found.unwrap_or_else(|| {
        let because = format!("`{path}` has no hosts for it");
        book.unknowable(&at, &service, &because, roster.touches.clone());
        Members::none()
    })
}

/// The routes of an `rds`.
pub(super) fn routes(reading: &mut Reading<'_, '_>, mut rds: Fields<'_>, web: &Web) {
    let at = rds.at("config_source");
    let name = rds
        .text(reading.book, "route_config_name")
        .unwrap_or("")
        .to_owned();
    rds.place_key(reading.book, "config_source", &at);
    let source = rds.message(reading.book, "config_source");
    let file = source.and_then(|mut source| path_of(reading.book, &mut source));
    rds.close(reading.book, &[], &Touches::Routing);
    let Some((path, from)) = file else {
        let because = format!("the routes `{name}` come from elsewhere");
        reading
            .book
            .unknowable(&at, "rds", &because, Touches::Routing);
        return;
    };
    let mut nodes = Vec::new();
    collect(reading.book, from, &path, &at, &mut nodes);
    for node in nodes {
        if let Some(mut fields) = Fields::open(reading.book, &node, &at)
            && fields.text(reading.book, "name") == Some(&name)
        {
            route::read(reading, fields, web);
            return;
        }
    }
    let because = format!("`{path}` has no routes with this name");
    reading
        .book
        .unknowable(&at, &name, &because, Touches::Routing);
}

/// The resources of a file as nodes of their own.
fn collect(book: &mut Book<'_>, from: usize, path: &str, at: &str, nodes: &mut Vec<Rc<Node>>) {
    book.include(from, path, at, |book, source| {
        let Some(root) = document(book, source) else {
            return;
        };
        if let Value::Map(entries) = &root.value
            && let Some((_, list)) = entries.iter().find(|(key, _)| key.text == "resources")
            && let Value::List(items) = &list.value
        {
            nodes.extend(items.iter().cloned());
        } else if is_typed(&root) {
            nodes.push(Rc::new(root));
        }
    });
}

/// Listeners (`lds_config`) or clusters (`cds_config`) of `dynamic_resources`, read by `read`. The result: who hands
/// out those that are in no file.
pub(super) fn dynamic(
    reading: &mut Reading<'_, '_>,
    fields: &mut Fields<'_>,
    name: &str,
    read: fn(&mut Reading<'_, '_>, &[Rc<Node>], usize),
) -> Option<String> {
    let at = fields.at(name);
    let (key, _) = fields.entry(name)?;
    put(reading.book, &at, key.place);
    let mut source = fields.message(reading.book, name);
    let file = source
        .as_mut()
        .and_then(|source| path_of(reading.book, source));
    let Some((path, from)) = file else {
        let server = source.map_or("elsewhere", |mut source| server(&mut source));
        let what = if name == "cds_config" {
            "clusters"
        } else {
            "listeners"
        };
        let because = format!("these {what} come from {server}");
        reading
            .book
            .unknowable(&at, name, &because, Touches::Routing);
        return Some(server.to_owned());
    };
    let mut nodes = Vec::new();
    collect(reading.book, from, &path, &at, &mut nodes);
    // Numbered beyond those of the file that was named, so that paths differ.
    read(reading, &nodes, FIRST_IN_FILES);
    None
}

/// Who hands out what a `ConfigSource` stands for, in words.
fn server(source: &mut Fields<'_>) -> &'static str {
    if source.take("ads").is_some() {
        "the management server (ADS)"
    } else if source.take("api_config_source").is_some() {
        "a management server"
    } else {
        "elsewhere"
    }
}
