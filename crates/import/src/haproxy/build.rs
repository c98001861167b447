//! The whole file as a [`Setup`]: references between proxies, routes, listeners, pools.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use evenkeel_model::setup::{Balancer, Setup, Wait};

use crate::book::Book;
use crate::haproxy::desk::{At, Desk, shorten};
use crate::haproxy::front;
use crate::haproxy::keys::{self, Values, Variety};
use crate::haproxy::pool;
use crate::haproxy::proxy::{Kind, Proxy, Stick};
use crate::haproxy::reader::{Global, Whole};
use crate::haproxy::server::{Server, Settings};

/// Longest chain of servers that track each other.
const TRACKS_MAX: usize = 100;

/// What references point at.
pub(super) struct Tables<'w> {
    pub(super) global: &'w Global,
    /// Backends and listens by name.
    backs: BTreeMap<&'w str, &'w Proxy>,
    /// Every proxy that has a stick-table.
    stick: BTreeMap<&'w str, Wait>,
    /// Each server by proxy and name.
    servers: BTreeMap<(&'w str, &'w str), &'w Server>,
    /// Sections with addresses by the backends that they lead to.
    fronts: BTreeMap<&'w str, Vec<&'w Proxy>>,
    /// Sections with addresses that may lead to any backend, as the request names it.
    open_fronts: Vec<&'w Proxy>,
}

/// Whose state a server has that tracks another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracked<'w> {
    pub(super) proxy: &'w Proxy,
    pub(super) name: &'w str,
    pub(super) settings: &'w Settings,
    /// Whether it, or one in between, is out.
    pub(super) is_disabled: bool,
}

/// Makes the setup of what was read.
pub(super) fn setup(book: &mut Book<'_>, source: usize, whole: &Whole) -> Setup {
    let mut desk = Desk {
        book,
        source,
        section: String::new(),
        errors: 0,
        gaps: 0,
    };
    let desk = &mut desk;
    let mut setup = Setup {
        // Threads share cursors and counts.
        workers: Some(1),
        connections_max: whole.global.maxconn.as_ref().map(|most| most.value),
        files_max: whole.global.files_max.as_ref().map(|most| most.value),
        ..Setup::blank(Balancer::Haproxy)
    };
    for (key, value) in [
        ("connections_max", &whole.global.maxconn),
        ("files_max", &whole.global.files_max),
    ] {
        if let Some(value) = value {
            desk.place(key, &value.range);
        }
    }
    if let Some(admin) = &whole.global.admin {
        let address = admin.value.rsplit('@').next().unwrap_or_default();
        setup.admin = address.parse::<SocketAddr>().ok();
        if setup.admin.is_some() {
            desk.place("admin.address", &admin.range);
        }
    }
    let tables = Tables::of(desk, whole);
    let mut names = front::Names::of(whole);
    for proxy in &whole.proxies {
        desk.section.clone_from(&proxy.path);
        if proxy.kind.has_back() {
            server_names(desk, proxy, whole);
            if Tables::is_pool(proxy) {
                let pool = pool::pool(desk, proxy, &tables);
                setup.pools.push(pool);
            }
        }
        if proxy.kind.has_front() && !proxy.inherited.disabled {
            front::front(desk, proxy, &tables, &mut names, &mut setup);
        }
    }
    setup
}

/// Names that must differ or exist within one backend.
fn server_names(desk: &mut Desk<'_, '_>, proxy: &Proxy, whole: &Whole) {
    let mut seen = BTreeSet::new();
    let trusts = whole.global.trusts_servers;
    for server in &proxy.servers {
        if !seen.insert(server.name.as_str()) {
            let message = format!(
                "server `{}` is already in `{}`",
                shorten(&server.name),
                proxy.name
            );
            desk.refuse(&server.range, message);
        }
        let settings = &server.settings;
        if let Some(resolvers) = &settings.resolvers
            && !whole.resolvers.contains(&resolvers.value)
        {
            let message = format!("there is no `resolvers {}`", shorten(&resolvers.value));
            desk.refuse(&resolvers.range, message);
        }
        let is_required = settings
            .verify
            .as_ref()
            .map_or(!trusts, |verify| verify.value);
        if let (Some(ssl), None, true) = (&settings.ssl, &settings.ca_file, is_required) {
            let message = format!(
                "server `{}` is to be verified, but has no `ca-file`",
                shorten(&server.name)
            );
            desk.refuse(&ssl.range, message);
        }
    }
    for server in &proxy.use_servers {
        if !seen.contains(server.value.as_str()) {
            let message = format!(
                "there is no server `{}` in `{}`",
                shorten(&server.value),
                proxy.name
            );
            desk.refuse(&server.range, message);
        }
    }
}

impl<'w> Tables<'w> {
    fn of(desk: &mut Desk<'_, '_>, whole: &'w Whole) -> Self {
        let mut tables = Self {
            global: &whole.global,
            backs: BTreeMap::new(),
            stick: BTreeMap::new(),
            servers: BTreeMap::new(),
            fronts: BTreeMap::new(),
            open_fronts: Vec::new(),
        };
        let mut fronts = BTreeSet::new();
        for proxy in &whole.proxies {
            let name = proxy.name.as_str();
            let is_back_again = proxy.kind.has_back() && tables.backs.insert(name, proxy).is_some();
            let is_front_again = proxy.kind.has_front() && !fronts.insert(name);
            if is_back_again || is_front_again {
                desk.section.clone_from(&proxy.path);
                let message = format!("there are two `{name}`");
                desk.refuse(&proxy.header, message);
            }
            tables.lead(proxy);
            if let Some(table) = &proxy.table {
                tables.stick.insert(name, table.value);
            }
            for server in &proxy.servers {
                tables.servers.insert((name, &server.name), server);
            }
        }
        tables
    }

    /// Notes which backends a section leads to.
    fn lead(&mut self, proxy: &'w Proxy) {
        if !proxy.kind.has_front() || proxy.inherited.disabled || proxy.binds.is_empty() {
            return;
        }
        if proxy.is_led_by_request {
            self.open_fronts.push(proxy);
            return;
        }
        let default = proxy.inherited.default_backend.as_ref();
        let named = proxy.rules.iter().filter_map(|rule| rule.target.as_ref());
        let named = named.chain(default).map(|target| target.value.as_str());
        let own = (proxy.kind == Kind::Listen && !proxy.servers.is_empty()).then_some(&*proxy.name);
        let names: BTreeSet<&str> = named.chain(own).collect();
        for name in names {
            self.fronts.entry(name).or_default().push(proxy);
        }
    }

    /// What an expression of the backend `proxy` can be, as far as the sections say that lead to it.
    pub(super) fn values(&self, proxy: &Proxy, variety: &Variety) -> Values {
        let led = self.fronts.get(proxy.name.as_str()).into_iter().flatten();
        let fronts: Vec<&Proxy> = led.chain(&self.open_fronts).copied().collect();
        let found = match variety {
            Variety::Constant(value) => return Values::One(value.clone()),
            Variety::Few(count) => return Values::AtMost(*count),
            Variety::Any => None,
            Variety::Backend => return Values::One(proxy.name.clone()),
            Variety::Frontends => Some(fronts.iter().map(|front| front.name.clone()).collect()),
            Variety::Ports => keys::ports(fronts.iter().flat_map(|front| &front.binds)),
            Variety::Addresses => keys::addresses(fronts.iter().flat_map(|front| &front.binds)),
        };
        let mut found: Vec<String> =
            found.map_or_else(Vec::new, |set: BTreeSet<String>| set.into_iter().collect());
        match (found.len(), found.pop()) {
            (1, Some(only)) => Values::One(only),
            (count, Some(_)) => u32::try_from(count).map_or(Values::Any, Values::AtMost),
            _ => Values::Any,
        }
    }

    /// Whether a proxy shares requests among servers; one that only answers or only holds a table does not.
    pub(super) fn is_pool(proxy: &Proxy) -> bool {
        let has_members = !proxy.servers.is_empty() || proxy.dispatch.is_some();
        let does_something_else =
            proxy.is_answering || proxy.table.is_some() || proxy.answers_all().is_some();
        let passes_on = proxy.kind == Kind::Listen
            && (proxy.inherited.default_backend.is_some() || !proxy.answers.is_empty());
        has_members || !does_something_else && !passes_on
    }

    /// The pool that a rule names; `None`, with a finding where it is not there, without one.
    pub(super) fn target<'t>(
        &self,
        desk: &mut Desk<'_, '_>,
        proxy: &Proxy,
        target: &'t At<String>,
        keyword: &str,
    ) -> Option<&'t str> {
        let name = target.value.as_str();
        let Some(back) = self.backs.get(name) else {
            let message = format!("`{keyword} {}` names no backend", shorten(name));
            desk.refuse(&target.range, message);
            return None;
        };
        if proxy.inherited.is_http && !back.inherited.is_http {
            let message =
                format!("`{keyword} {name}` leads from `mode http` to a backend in `mode tcp`");
            desk.refuse(&target.range, message);
        }
        let reaches = Tables::is_pool(back) && back.answers_all().is_none();
        reaches.then_some(name)
    }

    /// The name of a proxy as the tables hold it.
    pub(super) fn name(&self, name: &str) -> Option<&'w str> {
        self.backs.get_key_value(name).map(|(name, _)| *name)
    }

    /// How long the table of `stick` keeps a client.
    pub(super) fn lasts(&self, desk: &mut Desk<'_, '_>, proxy: &Proxy, stick: &At<Stick>) -> Wait {
        let (name, range) = match &stick.value.table {
            Some(table) => (table.value.as_str(), &table.range),
            None => (proxy.name.as_str(), &stick.range),
        };
        // A table of a `peers` section is named with a slash.
        let lasts = self.stick.get(name).copied();
        if lasts.is_none() && !name.contains('/') {
            let message = format!("there is no stick-table in `{}`", shorten(name));
            desk.refuse(range, message);
        }
        lasts.unwrap_or(Wait::Endless)
    }

    pub(super) fn is_verified(&self, settings: &Settings) -> bool {
        let verify = settings.verify.as_ref().map(|verify| verify.value);
        verify.unwrap_or(!self.global.trusts_servers)
    }

    /// The server whose checks and state decide over a server that tracks another.
    pub(super) fn tracked(
        &self,
        desk: &mut Desk<'_, '_>,
        proxy: &Proxy,
        track: &At<String>,
    ) -> Option<Tracked<'w>> {
        let mut is_disabled = false;
        let mut from = proxy.name.as_str();
        let mut track = track;
        for _ in 0..TRACKS_MAX {
            let (back, name) = track.value.rsplit_once('/').unwrap_or((from, &track.value));
            let found = self
                .backs
                .get_key_value(back)
                .zip(self.servers.get(&(back, name)));
            let Some(((key, proxy), server)) = found else {
                let message = format!("`track {}` names no server", shorten(&track.value));
                desk.refuse(&track.range, message);
                return None;
            };
            let settings = &server.settings;
            is_disabled |= settings.disabled.is_some();
            match &settings.track {
                Some(next) => (from, track) = (key, next),
                None if settings.check.is_some() || settings.agent.is_some() => {
                    return Some(Tracked {
                        proxy,
                        name: &server.name,
                        settings,
                        is_disabled,
                    });
                }
                None => {
                    let message = format!(
                        "`track {}` names a server that is not checked",
                        shorten(&track.value)
                    );
                    desk.refuse(&track.range, message);
                    return None;
                }
            }
        }
        let message = "servers track each other in a circle".to_owned();
        desk.refuse(&track.range, message);
        None
    }
}
