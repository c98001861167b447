//! The pools so far: one for each `upstream`, and one of a single backend for each address that is passed to directly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel_model::canonical::path_segment;
use evenkeel_model::setup::{Backend, Health, Pool, Timeouts, Touches, Wait};

use crate::nginx::address::Address;
use crate::nginx::lex::Word;
use crate::nginx::notes::Reader;
use crate::nginx::passing::{Passing, UPSTREAM_KEEP};

/// A pool that is being put together.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) pool: Pool,
    /// How long `keepalive` keeps a connection; `None`: it stands not there, or without effect.
    pub(super) keep: Option<Wait>,
    /// What the places that pass to it say, the strictest of each; `None`: nobody passes to it.
    passing: Option<Passing>,
    /// In what these places differ.
    differs: BTreeSet<&'static str>,
}

impl Draft {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            keep: None,
            passing: None,
            differs: BTreeSet::new(),
        }
    }
}

/// All pools so far.
#[derive(Debug, Default)]
pub(super) struct Pools {
    drafts: Vec<Draft>,
    /// `upstream` by protocol (HTTP or not) and name in lower case: nginx compares host names so.
    groups: BTreeMap<(bool, String), usize>,
    /// Addresses that are passed to directly.
    direct: BTreeMap<(bool, String), usize>,
    names: BTreeSet<String>,
    by_name: BTreeMap<String, usize>,
    /// Backends over all pools.
    pub(super) backends: usize,
}

impl Pools {
    /// Adds a pool under a name that none has yet, `name` or one made from it.
    pub(super) fn unique(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        let mut number = 1;
        while !self.names.insert(unique.clone()) {
            number += 1;
            unique = format!("{name}#{number}");
        }
        unique
    }

    /// Adds an `upstream`; `false`: its name is taken.
    pub(super) fn add_group(&mut self, is_http: bool, name: &str, draft: Draft) -> bool {
        let key = (is_http, name.to_ascii_lowercase());
        if self.groups.contains_key(&key) {
            return false;
        }
        self.groups.insert(key, self.drafts.len());
        self.by_name
            .insert(draft.pool.name.clone(), self.drafts.len());
        self.drafts.push(draft);
        true
    }

    /// The `upstream` called `name`.
    pub(super) fn group(&self, is_http: bool, name: &str) -> Option<usize> {
        let key = (is_http, name.to_ascii_lowercase());
        self.groups.get(&key).copied()
    }

    /// The pool of a single backend at `address`; `path`: where it is first passed to, such as `proxy_pass`.
    /// Also says whether it is a new one.
    pub(super) fn direct(
        &mut self,
        is_http: bool,
        directive: &str,
        address: &Address,
    ) -> (usize, bool) {
        let full = address.full();
        let key = (is_http, full.to_ascii_lowercase());
        if let Some(index) = self.direct.get(&key) {
            return (*index, false);
        }
        let name = self.unique(&full);
        let kind = if is_http { "" } else { "stream." };
        let path = format!("{kind}{directive}.{}", path_segment(&name));
        let backend_path = format!("{path}.server.{}", path_segment(&full));
        let backend = Backend::blank(&full, &backend_path, &full);
        let mut pool = Pool::blank(&name, &path);
        pool.is_http = is_http;
        pool.backends.push(backend);
        pool.queue_max = Some(0);
        pool.timeouts.queue = Wait::For(Duration::ZERO);
        self.backends += 1;
        self.direct.insert(key, self.drafts.len());
        self.by_name.insert(name, self.drafts.len());
        self.drafts.push(Draft::new(pool));
        (self.drafts.len() - 1, true)
    }

    /// The pool called `name`.
    pub(super) fn by_name(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Gives a pool a check.
    pub(super) fn check(&mut self, index: usize, health: Health) {
        if let Some(draft) = self.drafts.get_mut(index) {
            draft.pool.health = Some(health);
        }
    }

    /// The name of a pool.
    pub(super) fn name(&self, index: usize) -> &str {
        self.drafts.get(index).map_or("", |d| &d.pool.name)
    }

    /// The path of a pool.
    pub(super) fn path(&self, index: usize) -> &str {
        self.drafts.get(index).map_or("", |d| &d.pool.path)
    }

    /// Takes in what one more place says that passes to a pool.
    pub(super) fn pass(&mut self, index: usize, passing: Passing) {
        let Some(draft) = self.drafts.get_mut(index) else {
            return;
        };
        match &mut draft.passing {
            None => draft.passing = Some(passing),
            Some(known) => known.merge(passing, &mut draft.differs),
        }
    }
}

/// The finished pools.
pub(super) fn finish(reader: &mut Reader<'_, '_>) -> Vec<Pool> {
    let drafts = std::mem::take(&mut reader.pools.drafts);
    drafts
        .into_iter()
        .map(|draft| close(reader, draft))
        .collect()
}

fn close(reader: &mut Reader<'_, '_>, draft: Draft) -> Pool {
    let Draft {
        mut pool,
        keep,
        passing,
        differs,
    } = draft;
    let passing = passing.unwrap_or_else(|| Passing::usual(pool.is_http));
    let path = pool.path.clone();
    let placed: [(&str, &Option<Word>); 6] = [
        ("timeout.connect", &passing.connect.at),
        ("timeout.response", &passing.response.at),
        ("timeout.idle", &passing.response.at),
        ("retry", &passing.retry_at),
        ("retry.attempts", &passing.attempts.at),
        ("retry.timeout", &passing.retry_timeout.at),
    ];
    for (key, word) in placed {
        if let Some(word) = word {
            reader.place(&format!("{path}.{key}"), word);
        }
    }
    let idle = passing.response.value;
    let is_kept = passing.keeps;
    pool.timeouts = Timeouts {
        connect: passing.connect.value,
        response: passing.response.value,
        idle,
        keep: keep.filter(|_| is_kept),
        ..pool.timeouts
    };
    // With a single server there is nobody to try next.
    let is_single = pool.backends.len() == 1;
    pool.retry.attempts = passing.attempts.value.or(is_single.then_some(0));
    pool.retry.unsafe_methods = passing.unsafe_methods;
    pool.retry.after_sent = passing.after_sent;
    for backend in &mut pool.backends {
        backend.tls_verified = passing.tls_verified;
        if let (Some(word), Some(_)) = (&passing.verify_at, passing.tls_verified) {
            reader.place(&format!("{}.tls", backend.path), word);
        }
    }
    if keep.is_some() && !is_kept {
        let message = format!("`keepalive` of `{}` has no effect", pool.name);
        let effect = "every request opens a connection to a backend of its own";
        reader.warn(
            &format!("{path}.{UPSTREAM_KEEP}"),
            message,
            effect,
            passing.keep_fix(),
        );
    }
    if !differs.is_empty() {
        let what: Vec<&str> = differs.into_iter().collect();
        let what = format!("different {} for one pool", what.join(", "));
        let because = "the shortest times and the fewest tries of its places are judged";
        let touches = Touches::Resilience;
        reader.book.gap_because(&path, &what, because, touches);
    }
    pool
}
