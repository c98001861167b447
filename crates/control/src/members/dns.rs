//! Members by DNS: every A and AAAA record of a host, or the SRV records of a service with their ports and weights.
//!
//! Nothing is cached here but by the times to live themselves, within the bounds of the pool: an answer is asked again
//! when the shortest of its records is over. That a name has no record (NXDOMAIN, or no data) is an answer, an empty
//! one; everything else that goes wrong is a failure, in either address family, and the members before it stay. So is a
//! reply that holds records, but none that leads from the name to an address (a loop of aliases, another name's).
//!
//! Names of members: the address for `dns` (`10.0.0.5`, `fd00--1`), the target for `srv` (with its port where a target
//! is named twice, with its address where it has several). A target that gets a new address stays the same member.
//! Limits: a target that is named at two priorities is used at the lower one alone; a weight of 0 counts as 1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use evenkeel_model::config::{Address, Backend, Members};
use evenkeel_model::ids::Name;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle as _, FirstAnswer as _};
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{DnsRequestOptions, Query, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, TokioResolver};

/// Longest wait for one try.
const TRY: Duration = Duration::from_secs(2);
/// Tries of one question.
const TRIES: usize = 2;

/// What DNS said and for how long it is good.
type Answered = (Vec<Backend>, Duration);

/// Who is asked, and how.
fn servers(members: &Members) -> Result<(ResolverConfig, ResolverOpts), String> {
    let (config, mut options) = match members.resolver {
        None => read_system_conf().map_err(|error| error.to_string())?,
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
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            (config, options)
        }
    };
    options.cache_size = 0;
    options.timeout = TRY;
    options.attempts = TRIES;
    Ok((config, options))
}

/// What was asked so far, and until when all of it is good.
struct Asking {
    config: ResolverConfig,
    options: ResolverOpts,
    resolver: TokioResolver,
    good_until: Option<Instant>,
}

impl Asking {
    fn new(members: &Members) -> Result<Self, String> {
        let (config, options) = servers(members)?;
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(config.clone(), provider);
        let resolver = builder.with_options(options.clone()).build();
        Ok(Self {
            config,
            options,
            resolver: resolver.map_err(|error| error.to_string())?,
            good_until: None,
        })
    }

    /// Whether the reply without a record of the name was empty. The resolver says no more of one that holds others, so
    /// the same is asked again past it, unless the reply proves itself (its zone's SOA, NXDOMAIN).
    async fn is_empty(&self, no_records: &NoRecords) -> Result<bool, NetError> {
        if no_records.response_code == ResponseCode::NXDomain || no_records.authorities.is_some() {
            return Ok(true);
        }
        let context = PoolContext::new(self.options.clone(), TlsConfig::new()?);
        let servers = self.config.name_servers().to_vec();
        let provider = TokioRuntimeProvider::default();
        let pool = NameServerPool::from_config(servers, context.into(), provider);
        let question = Query::clone(&no_records.query);
        let reply = pool.lookup(question, DnsRequestOptions::default());
        match reply.first_answer().await {
            Ok(reply) => Ok(reply.answers.is_empty()),
            Err(error) if error.is_no_records_found() => Ok(true),
            Err(error) => Err(error),
        }
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
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                match self.is_empty(&none).await {
                    Ok(true) => Ok(Vec::new()),
                    Ok(false) => Err(format!(
                        "{kind} of `{name}`: the reply holds no address of it, only a loop of aliases or another name's"
                    )),
                    Err(error) => Err(format!("{kind} of `{name}`: {error}")),
                }
            }
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
    let mut found = Vec::new();
    for target in targets(records) {
        let addresses = asking.addresses(&format!("{}.", target.host)).await?;
        if addresses.is_empty() {
            return Err(format!(
                "SRV target `{}` of `{service}` has no address",
                target.host
            ));
        }
        let is_only = addresses.len() == 1;
        for ip in addresses {
            let name = if is_only {
                target.name.clone()
            } else {
                format!("{}_{}", target.name, named(ip))
            };
            let member = member(&name, SocketAddr::new(ip, target.port), Some(target.weight))?;
            found.push(Backend {
                priority: target.level,
                ..member
            });
        }
    }
    Ok((found, asking.good_for(members)))
}

/// What SRV records say of one target.
#[derive(Debug, PartialEq)]
struct Target {
    host: String,
    port: u16,
    weight: u32,
    level: u32,
    /// The host, with the port where that has several.
    name: String,
}

/// The targets of `records` (priority, host, port, weight), each once, at its lowest priority.
fn targets(mut records: Vec<(u16, String, u16, u16)>) -> Vec<Target> {
    records.sort();
    let mut seen = BTreeSet::new();
    records.retain(|(_, host, port, _)| seen.insert((host.clone(), *port)));
    let mut ports: BTreeMap<String, usize> = BTreeMap::new();
    for (host, _) in seen {
        *ports.entry(host).or_default() += 1;
    }
    let levels: BTreeSet<u16> = records.iter().map(|(priority, ..)| *priority).collect();
    let target = |(priority, host, port, weight): (u16, String, u16, u16)| {
        let level = levels.range(..priority).count() as u32;
        let has_several = ports.get(&host).is_some_and(|ports| *ports > 1);
        Target {
            name: if has_several {
                format!("{host}_{port}")
            } else {
                host.clone()
            },
            host,
            port,
            weight: u32::from(weight.max(1)),
            level: level.min(Backend::PRIORITY_MAX),
        }
    };
    records.into_iter().map(target).collect()
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
        tls_name: None,
        discovered: true,
    })
}

#[cfg(test)]
mod tests {
    use super::targets;

    fn say(records: &[(u16, &str, u16, u16)]) -> Vec<(String, u32, u32)> {
        let records = records.iter();
        let records = records.map(|(p, host, port, w)| (*p, (*host).to_owned(), *port, *w));
        let targets = targets(records.collect()).into_iter();
        targets.map(|t| (t.name, t.level, t.weight)).collect()
    }

    #[test]
    fn a_target_named_at_two_priorities_has_the_lower_one_and_keeps_its_name() {
        let two = [(10, "h2", 80, 1), (20, "h3", 80, 0)];
        let named = [("h2".to_owned(), 0, 1), ("h3".to_owned(), 1, 1)];
        assert_eq!(say(&two), named);
        for last_resort in [(30, "h2", 80, 9), (20, "h2", 80, 9), (10, "h2", 80, 9)] {
            assert_eq!(say(&[two[0], two[1], last_resort]), named);
        }
    }

    #[test]
    fn a_target_with_two_ports_carries_them_in_its_names() {
        assert_eq!(
            say(&[(1, "h", 81, 2), (1, "h", 80, 3), (7, "g", 80, 4)]),
            [
                ("h_80".to_owned(), 0, 3),
                ("h_81".to_owned(), 0, 2),
                ("g".to_owned(), 1, 4)
            ]
        );
    }
}
