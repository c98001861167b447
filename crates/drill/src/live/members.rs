//! Members of live pools: each finds them in a watched file, whatever the scenario's configuration says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evenkeel_model::ids::Name;
use evenkeel_shop::fault::TTL_MAX;
use evenkeel_shop::server::ServerHandle;
use evenkeel_shop::{Fault, FaultKind};
use toml::{Table, Value};

use super::place::Place;
use crate::registry::Registry;
use crate::scenario::Discovery;

type Stubs = BTreeMap<(Name, Name), ServerHandle>;

fn list(directory: &Path, pool: &str) -> PathBuf {
    directory.join(format!("members-{pool}.toml"))
}

/// Writes what discovery names of `pool`; without an answer there is no file.
pub(super) fn write(
    directory: &Path,
    (pool, registry): (&Name, &Registry),
    stubs: &Stubs,
    scale: f64,
) -> Result<(), String> {
    let address = |name: &str| {
        let key = (pool.clone(), Name::new(name).ok()?);
        Some(stubs.get(&key)?.address().to_string())
    };
    let file = list(directory, pool.as_str());
    let said = |error: std::io::Error| format!("{}: {error}", file.display());
    match registry.list(scale, address) {
        Some(text) => {
            // Nobody must read half of it.
            let new = file.with_extension("new");
            std::fs::write(&new, text).map_err(said)?;
            std::fs::rename(&new, &file).map_err(said)
        }
        None if file.exists() => std::fs::remove_file(&file).map_err(said),
        None => Ok(()),
    }
}

/// Lets `pool` find its members in the file of this place; a note where it would have looked elsewhere.
pub(super) fn localise(pool: &str, table: &mut Table, directory: &Path) -> Option<String> {
    let members = table.get_mut("members")?.as_table_mut()?;
    let is_file = members.contains_key("file");
    let file = list(directory, pool).display().to_string();
    *members = Table::from_iter([("file".to_owned(), Value::from(file))]);
    (!is_file).then(|| {
        format!("pool `{pool}` finds its members in a file: a live drill asks no name server")
    })
}

impl Place<'_> {
    /// Carries out a step: who is gone although the pool does not learn it refuses connections.
    pub(super) fn discover(&mut self, change: &Discovery) -> Result<(), String> {
        let found = self.registries.iter_mut();
        let mut found = found.filter(|(pool, _)| **pool == change.pool.as_str());
        let (pool, registry) = found.next().ok_or("no such pool")?;
        for gone in registry.change(change) {
            let stub = self.stubs.iter();
            let mut stub = stub.filter(|((of, name), _)| of == pool && *name == gone.as_str());
            let (_, stub) = stub.next().ok_or_else(|| format!("no member `{gone}`"))?;
            let (kind, ttl) = (FaultKind::Refuse, TTL_MAX);
            stub.inject(Fault { kind, ttl })
                .map_err(|e| e.to_string())?;
        }
        write(
            self.directory.path(),
            (pool, registry),
            &self.stubs,
            self.scale,
        )
    }
}
