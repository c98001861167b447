//! Members by DNS: every A and AAAA record of a host, or the SRV records of a service with their ports and weights.
//!
//! Nothing is cached here but by the times to live themselves, within the bounds of the pool: an answer is asked again
//! when the shortest of its records is over. That a name has no record (NXDOMAIN, or no data) is an answer, an empty
//! one; everything else that goes wrong is a failure, in either address family, and the members before it stay.
//!
//! Names of members: the address for `dns` (`10.0.0.5`, `fd00--1`), the target for `srv` (with its port where a target
//! is named twice, with its address where it has several). A target that gets a new address stays the same member.
//! Limits: of SRV records those of the lowest priority are used; a weight of 0 counts as 1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use evenkeel_model::config::{Address, Backend, Members};
use evenkeel_model::ids::Name;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

/// Longest wait for one try.
const TRY: Duration = Duration::from_secs(2);
/// Tries of one question.
const TRIES: usize = 2;

/// What DNS said and for how long it is good.
type Answered = (Vec<Backend>, Duration);

fn resolver(members: &Members) -> Result<TokioResolver, String> {
    let set = |options: &mut ResolverOpts| {
        options.cache_size = 0;
        options.timeout = TRY;
        options.attempts = TRIES;
    };
    let builder = match members.resolver {
        None => {
            let mut builder = TokioResolver::builder_tokio().map_err(|e| e.to_string())?;
            set(builder.options_mut());
            builder
        }
        Some(address) => {
            let at_port = |mut connection: ConnectionConfig| {
                connection.port = address.port();
                connection
            };
            let connections = vec![
                at_port(ConnectionConfig::udp()),
                at_port(ConnectionConfig::tcp()),
            ];
            let server = NameServerConfig::new(address.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            set(builder.options_mut());
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        }
    };
    builder.build().map_err(|error| error.to_string())
}

/// What was asked so far, and until when all of it is good.
struct Asking {
    resolver: TokioResolver,
    good_until: Option<Instant>,
}

impl Asking {
    fn new(members: &Members) -> Result<Self, String> {
        Ok(Self {
            resolver: resolver(members)?,
            good_until: None,
        })
    }

    async fn ask(&mut self, name: &str, kind: RecordType) -> Result<Vec<RData>, String> {
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let until = lookup.valid_until();
                self.good_until = Some(self.good_until.map_or(until, |known| known.min(until)));
                Ok(lookup
                    .answers()
                    .iter()
                    .map(|record| record.data.clone())
                    .collect())
            }
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(format!("{kind} of `{name}`: {error}")),
        }
    }

    /// Every address of `host`, in order.
    async fn addresses(&mut self, host: &str) -> Result<BTreeSet<IpAddr>, String> {
        let mut addresses = BTreeSet::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            for data in self.ask(host, kind).await? {
                match data {
                    RData::A(a) => addresses.insert(IpAddr::V4(a.0)),
                    RData::AAAA(aaaa) => addresses.insert(IpAddr::V6(aaaa.0)),
                    _ => false,
                };
            }
        }
        Ok(addresses)
    }

    /// For how long the answers are good, within the bounds of the pool.
    fn good_for(&self, members: &Members) -> Duration {
        let left = self.good_until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        });
        left.clamp(members.ttl_min, members.ttl_max)
    }
}

/// Every A and AAAA record of `host`.
pub(super) async fn addresses(
    members: &Members,
    host: &str,
    port: u16,
) -> Result<Answered, String> {
    let mut asking = Asking::new(members)?;
    let addresses = asking.addresses(host).await?;
    let found = addresses
        .into_iter()
        .map(|ip| member(&named(ip), SocketAddr::new(ip, port), None))
        .collect::<Result<_, _>>()?;
    Ok((found, asking.good_for(members)))
}

/// The SRV records of `service`.
pub(super) async fn services(members: &Members, service: &str) -> Result<Answered, String> {
    let mut asking = Asking::new(members)?;
    let mut records = Vec::new();
    for data in asking.ask(service, RecordType::SRV).await? {
        if let RData::SRV(srv) = data {
            let target = srv
                .target
                .to_ascii()
                .trim_end_matches('.')
                .to_ascii_lowercase();
            if !target.is_empty() && srv.port > 0 {
                records.push((srv.priority, target, srv.port, srv.weight));
            }
        }
    }
    records.sort();
    records.dedup_by(|a, b| (&a.1, a.2) == (&b.1, b.2));
    let mut ports: BTreeMap<String, usize> = BTreeMap::new();
    for (_, target, ..) in &records {
        *ports.entry(target.clone()).or_default() += 1;
    }
    let levels: BTreeSet<u16> = records.iter().map(|(priority, ..)| *priority).collect();
    let mut found = Vec::new();
    for (priority, target, port, weight) in records {
        let level = levels.range(..priority).count();
        let addresses = asking.addresses(&format!("{target}.")).await?;
        if addresses.is_empty() {
            return Err(format!(
                "SRV target `{target}` of `{service}` has no address"
            ));
        }
        let mut name = target.clone();
        if ports.get(&target).is_some_and(|ports| *ports > 1) {
            name = format!("{name}_{port}");
        }
        let is_only = addresses.len() == 1;
        for ip in addresses {
            let name = if is_only {
                name.clone()
            } else {
                format!("{name}_{}", named(ip))
            };
            let weight = Some(u32::from(weight.max(1)));
            let member = member(&name, SocketAddr::new(ip, port), weight)?;
            found.push(Backend {
                priority: (level as u32).min(Backend::PRIORITY_MAX),
                ..member
            });
        }
    }
    Ok((found, asking.good_for(members)))
}

/// An address as a name: a colon is none of its characters.
fn named(ip: IpAddr) -> String {
    ip.to_string().replace(':', "-")
}

fn member(name: &str, address: SocketAddr, weight: Option<u32>) -> Result<Backend, String> {
    let name = Name::new(name).map_err(|error| format!("`{name}` cannot be a member: {error}"))?;
    Ok(Backend {
        name,
        address: Address::Tcp(address),
        weight: weight.unwrap_or(1),
        weight_declared: weight.is_some(),
        capacity_rps: None,
        priority: 0,
        zone: None,
        version: None,
        discovered: true,
    })
}
