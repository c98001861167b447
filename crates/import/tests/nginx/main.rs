//! The nginx reader on whole files: good ones that nginx 1.22.1 accepts, bad ones that it refuses, and ones for editions
//! and modules that are not at hand. Each snapshot is everything that was read, with the findings.

use evenkeel_import::{Files, Imported, NoFiles, recognise};
use evenkeel_model::setup::Balancer;

mod asides;
mod behaviour;
mod hostile;
mod intake;
mod keys_and_access;

#[path = "../support/summary.rs"]
mod summary;

/// Files by name, as they would lie on a disk.
pub(crate) struct Shelf(pub(crate) Vec<(&'static str, &'static str)>);

impl Files for Shelf {
    fn open(&self, _from: &str, pattern: &str) -> Result<Vec<evenkeel_import::File>, String> {
        let (start, end) = pattern.split_once('*').unwrap_or((pattern, ""));
        let is_glob = pattern.contains('*');
        let matches = |name: &str| {
            if is_glob {
                name.starts_with(start) && name.ends_with(end)
            } else {
                name == pattern
            }
        };
        let found = self.0.iter().filter(|(name, _)| matches(name));
        let files: Vec<_> = found.map(|(name, text)| file(name, text)).collect();
        if files.is_empty() && !is_glob {
            return Err("no such file".to_owned());
        }
        Ok(files)
    }
}

pub(crate) fn file(name: &str, text: &str) -> evenkeel_import::File {
    evenkeel_import::File {
        name: name.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

/// Reads one text.
pub(crate) fn read(text: &str) -> Imported {
    evenkeel_import::read(Balancer::Nginx, file("nginx.conf", text), &NoFiles)
}

macro_rules! reads {
    ($($test:ident: $file:literal;)+) => {$(
        #[test]
        fn $test() {
            let text = include_str!($file);
            assert_eq!(recognise("file", text), Some(Balancer::Nginx));
            insta::assert_snapshot!(summary::summary(&read(text)));
        }
    )+};
}

reads! {
    weights_backups_limits_and_repetitions_are_read: "weights.conf";
    every_method_of_selection_is_read: "selection.conf";
    static_variables_become_weighted_and_conditional_routes: "canary.conf";
    a_file_that_is_not_there_leads_to_the_pool_of_php: "php.conf";
    tcp_servers_have_pools_by_name_and_by_variable: "stream.conf";
    connections_are_kept_only_where_nginx_keeps_them: "keepalive.conf";
    locations_and_hosts_are_in_the_order_of_nginx: "locations.conf";
    silent_fallbacks_of_nginx_are_named: "redefined.conf";
    tls_and_other_protocols_to_the_backends_are_read: "tls.conf";
    a_whole_gateway_is_read: "gateway.conf";
    every_fault_of_syntax_is_shown: "bad_syntax.conf";
    every_value_that_nginx_refuses_is_shown: "bad_values.conf";
    every_reference_that_nginx_refuses_is_shown: "bad_references.conf";
    the_commercial_edition_is_read_and_foreign_modules_are_gaps: "foreign.conf";
}

#[test]
fn a_part_of_http_is_read_by_itself() {
    let shelf = Shelf(vec![(
        "proxy_params",
        "proxy_set_header Host $http_host;\n",
    )]);
    let main = file("app", include_str!("snippet.conf"));
    let imported = evenkeel_import::read(Balancer::Nginx, main, &shelf);
    insta::assert_snapshot!(summary::summary(&imported));
}

#[test]
fn included_files_are_put_where_they_are_included() {
    let shelf = Shelf(vec![
        (
            "conf.d/proxy.conf",
            "proxy_connect_timeout 3s;\nproxy_read_timeout 7s;\n",
        ),
        (
            "conf.d/upstreams.conf",
            "upstream shop { include servers.inc; }\n",
        ),
        (
            "servers.inc",
            "server 10.0.0.1;\nserver 10.0.0.2 weight=4;\n",
        ),
        (
            "sites-enabled/shop.conf",
            "server { listen 80; location / { proxy_pass http://shop; } }\n",
        ),
    ]);
    let main = file("nginx.conf", include_str!("included.conf"));
    let imported = evenkeel_import::read(Balancer::Nginx, main, &shelf);
    insta::assert_snapshot!(summary::summary(&imported));
    let place = imported
        .origin
        .locate("upstream.shop.server.\"10.0.0.2\".weight");
    assert_eq!(place.0.as_deref(), Some("servers.inc"));
    assert_eq!(place.1.map(|at| (at.line, at.column)), Some((2, 17)));
}
