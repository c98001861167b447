//! TLS: whether clients can trust the balancer, and it knows whom it talks to.

use std::collections::BTreeSet;

use evenkeel_model::clock::Wall;
use evenkeel_model::config::covers;
use evenkeel_model::day::time;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, Certificate, Listener};

use super::fold::{Fault, told};
use crate::rule::{Rule, Subject, Words};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[VALID, VERIFIED, COVERED];

/// Days before its end from which on a certificate is told: three weeks are two tries of whoever renews it monthly.
const SOON_DAYS: u64 = 21;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// TLS-01.
const VALID: Rule = Rule {
    id: "TLS-01",
    title: "certificates are valid for three weeks and more",
    severity: Severity::Error,
    limit: None,
    text: "\
A certificate that a listener shows, with those of its chain, should be valid for 21 days and more from
now; so should one of the authorities that vouch for clients, and the certificate and an authority that a
pool speaks TLS to its backends with. Fewer are a warning, and one that has ended is an error. The audit
that runs on a schedule looks at the certificates in use.

Why: clients refuse a certificate that has ended, all of them at once, and at a moment that nobody
changed anything. Whoever renews certificates should have done it a month before the end.

Example: `shop.pem` ends tomorrow, its renewal failed weeks ago and nobody noticed.",
    check: check_valid,
};

fn check_valid(subject: &Subject<'_>) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let listeners = subject.setup.listeners.iter();
    let to_clients = listeners.flat_map(|listener| &listener.certificates);
    let to_clients = to_clients.map(|certificate| (certificate, Side::Clients));
    let pools = subject.setup.pools.iter();
    let to_backends = pools.flat_map(|pool| &pool.certificates);
    let to_backends = to_backends.map(|certificate| (certificate, Side::Backends));
    to_clients
        .chain(to_backends)
        .filter_map(|(certificate, side)| {
            let end = certificate.not_after?;
            let finding = ending(subject, certificate, side, end)?;
            told.insert(&certificate.file).then_some(finding)
        })
        .collect()
}

/// Who is spoken to with a certificate.
#[derive(Debug, Clone, Copy)]
enum Side {
    Clients,
    Backends,
}

impl Side {
    /// What happens at the end of a certificate.
    const fn effect(self, is_authority: bool) -> &'static str {
        match (self, is_authority) {
            (Self::Clients, true) => {
                "clients whose certificates it vouches for are refused from then on"
            }
            (Self::Clients, false) => "clients refuse it from then on, every one of them",
            (Self::Backends, true) => {
                "backends whose certificates it vouches for are not believed from then on, and get no request"
            }
            (Self::Backends, false) => {
                "backends that ask for it refuse it from then on, and get no request"
            }
        }
    }
}

fn ending(
    subject: &Subject<'_>,
    certificate: &Certificate,
    side: Side,
    end: Wall,
) -> Option<Finding> {
    let left_ms = end.0.saturating_sub(subject.now.0);
    let left = left_ms / DAY_MS;
    let (file, at) = (&certificate.file, time(end));
    let (severity, message) = if left_ms == 0 {
        (
            Severity::Error,
            format!("the certificate of `{file}` ended at {at}"),
        )
    } else if left < SOON_DAYS {
        let days = if left == 1 { "day" } else { "days" };
        let message = format!("the certificate of `{file}` ends in {left} {days}, at {at}");
        (Severity::Warning, message)
    } else {
        return None;
    };
    let words = Words {
        message,
        effect: side.effect(certificate.is_authority).to_owned(),
        fix: format!("renew it, put the new one into `{file}`, and run `evenkeel apply`"),
    };
    let path = certificate.path.as_str();
    let magnitude = SOON_DAYS.saturating_sub(left) as f64;
    Some(subject.finding("TLS-01", severity, (path, path), magnitude, words))
}

/// TLS-04.
const COVERED: Rule = Rule {
    id: "TLS-04",
    title: "each host has a certificate",
    severity: Severity::Warning,
    limit: None,
    text: "\
The host of a route should be one of the names in the certificates of its listener, exactly or by a
wildcard, which stands for one label: `*.shop.example` covers `www.shop.example`, and neither
`shop.example` nor `a.b.shop.example`.

Why: a client that asks for that host gets a certificate for another one and shows its user a warning, or
gives up. Nobody else notices: other hosts work, and so does the health check.

Example: a route for `pay.shop.example` on a listener whose only certificate is for `shop.example`.",
    check: check_covered,
};

fn check_covered(subject: &Subject<'_>) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let routes = subject.setup.routes.iter();
    routes
        .filter_map(|route| {
            let mut listeners = subject.setup.listeners.iter();
            let listener = listeners.find(|listener| listener.name == route.listener)?;
            let names = shown(listener)?;
            let host = route.host.as_deref()?;
            let is_covered = names.iter().any(|name| covers(name, host));
            if is_covered || !told.insert((&listener.name, host)) {
                return None;
            }
            let words = Words {
                message: format!(
                    "no certificate of listener `{}` is for `{host}`",
                    listener.name
                ),
                effect: "clients that ask for that host get the certificate of another one and refuse it"
                    .to_owned(),
                fix: format!(
                    "add a certificate for `{host}` to `{}.tls.certificates`",
                    listener.path
                ),
            };
            let at = format!("{}.host", route.path);
            Some(subject.finding("TLS-04", Severity::Warning, (&at, &at), 0.0, words))
        })
        .collect()
}

/// The names that clients of `listener` can be shown; `None`: it speaks no TLS, or they are not all known.
fn shown(listener: &Listener) -> Option<Vec<&str>> {
    let own = listener.certificates.iter();
    // Of authorities clients see no name.
    let own: Vec<_> = own
        .filter(|certificate| !certificate.is_authority)
        .collect();
    let names = own.iter().map(|certificate| certificate.names.as_deref());
    let names: Option<Vec<&[String]>> = names.collect();
    let names = names.filter(|names| !names.is_empty())?;
    Some(names.into_iter().flatten().map(String::as_str).collect())
}

/// TLS-03.
const VERIFIED: Rule = Rule {
    id: "TLS-03",
    title: "certificates of backends are verified",
    severity: Severity::Warning,
    limit: None,
    text: "\
Where backends are reached over TLS, their certificates should be verified against a CA. Evenkeel does
unless it is told not to; most balancers do not unless they are told to: nginx needs `proxy_ssl_verify
on`, HAProxy `verify required`, Envoy a `validation_context` with `trusted_ca`.

Why: without it the connection is encrypted to whoever answers. A wrong address, a recycled IP of a cloud
or a host in between gets the requests with their cookies and passwords.

Example: `server a 10.0.0.5:443 ssl verify none`.",
    check: check_verified,
};

fn check_verified(subject: &Subject<'_>) -> Vec<Finding> {
    let faults = subject.setup.pools.iter().filter_map(|pool| {
        let mut open = pool.backends.iter().filter(|backend| backend.tls_verified == Some(false));
        let first = open.next()?;
        let count = 1 + open.count();
        let words = Words {
            message: format!(
                "the certificates of {count} of {} backends of pool `{}` are not verified, `{}` first",
                pool.backends.len(),
                pool.name,
                first.name
            ),
            effect: "whoever answers at the address gets the requests, cookies and passwords included".to_owned(),
            fix: match subject.setup.balancer {
                Balancer::Haproxy => "write `verify required ca-file /path/ca.pem`",
                Balancer::Evenkeel => "write `ca` with the CA that the backends' certificates come from in the place of `insecure_skip_verify`",
                Balancer::Nginx => "write `proxy_ssl_verify on` with `proxy_ssl_trusted_certificate`",
                Balancer::Envoy => {
                    "give the CA that the backends' certificates come from (`trusted_ca`)"
                }
            }
            .to_owned(),
        };
        let at = match subject.setup.balancer {
            Balancer::Evenkeel => format!("{}.tls.insecure_skip_verify", pool.path),
            _ => format!("{}.tls", first.path),
        };
        let kind = (count == pool.backends.len()).to_string();
        Some(Fault { pool, severity: Severity::Warning, at, kind, magnitude: 0.0, words })
    });
    told(subject, "TLS-03", faults.collect())
}

#[cfg(test)]
mod tests {
    use evenkeel_model::clock::Wall;
    use evenkeel_model::setup::{Balancer, Certificate, Route, Setup};

    use super::DAY_MS;

    use crate::rules::probe::{heads, pool, says, setup};

    #[test]
    fn tls_03_speaks_of_unverified_backends_only() {
        let mut pools = vec![pool("plain", 2), pool("safe", 2), pool("open", 2)];
        pools[1]
            .backends
            .iter_mut()
            .for_each(|b| b.tls_verified = Some(true));
        pools[2].backends[1].tls_verified = Some(false);
        let findings = says(&setup(Balancer::Haproxy, pools), "TLS-03");
        assert_eq!(heads(&findings), ["warning backend.open"]);
        assert!(
            findings[0]
                .message
                .starts_with("the certificates of 1 of 2 backends of pool `open`")
        );
    }

    #[test]
    fn tls_03_folds_a_fault_of_many_pools_but_not_of_one_that_is_waived() {
        let names = ["a", "b", "c", "d", "e"];
        let mut pools: Vec<_> = names.iter().map(|name| pool(name, 1)).collect();
        for pool in &mut pools {
            pool.backends[0].tls_verified = Some(false);
        }
        let mut setup = setup(Balancer::Nginx, pools);
        let findings = says(&setup, "TLS-03");
        assert_eq!(heads(&findings), ["warning backend.a"]);
        assert!(
            findings[0]
                .message
                .ends_with("; the same in 4 more pools: `b`, `c`, `d`, `e`")
        );
        let severity = evenkeel_model::finding::Severity::Info;
        setup.pools[0]
            .policy
            .severities
            .insert("TLS-03".to_owned(), severity);
        assert_eq!(
            heads(&says(&setup, "TLS-03")),
            ["warning backend.a", "warning backend.b"]
        );
        setup.pools.truncate(3);
        assert_eq!(says(&setup, "TLS-03").len(), 3);
    }

    fn certificate(file: &str, names: Option<&[&str]>, days: u64) -> Certificate {
        Certificate {
            file: file.to_owned(),
            path: "listener.web.tls.certificates".to_owned(),
            is_authority: false,
            names: names.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
            not_after: (days < 1_000).then_some(Wall(days * DAY_MS)),
        }
    }

    fn terminating(certificates: &[Certificate], hosts: &[&str]) -> Setup {
        let mut setup = setup(Balancer::Evenkeel, Vec::new());
        setup.listeners[0].is_tls = true;
        setup.listeners[0].certificates = certificates.to_vec();
        let route = |(index, host): (usize, &&str)| Route {
            path: format!("route.{index}"),
            listener: "web".to_owned(),
            host: Some((*host).to_owned()),
            path_prefix: None,
            whole_segments: true,
            condition: None,
            matcher: None,
            answer: None,
            edits: evenkeel_model::config::Edits::default(),
            targets: Vec::new(),
        };
        setup.routes = hosts.iter().enumerate().map(route).collect();
        setup
    }

    #[test]
    fn tls_01_warns_three_weeks_before_the_end_and_is_an_error_after_it() {
        let of = |days| {
            let setup = terminating(&[certificate("a.pem", Some(&[]), days)], &[]);
            heads(&says(&setup, "TLS-01"))
        };
        let path = "listener.web.tls.certificates";
        assert!(of(21).is_empty());
        assert_eq!(of(20), [format!("warning {path}")]);
        assert_eq!(of(1), [format!("warning {path}")]);
        assert_eq!(of(0), [format!("error {path}")]);
        // Not looked at.
        assert!(of(1_000).is_empty());
    }

    #[test]
    fn tls_01_speaks_of_a_file_once_and_of_authorities_in_their_own_words() {
        let own = certificate("a.pem", Some(&[]), 5);
        let authority = Certificate {
            is_authority: true,
            ..certificate("ca.pem", None, 5)
        };
        let setup = terminating(&[own.clone(), own, authority], &[]);
        let findings = says(&setup, "TLS-01");
        assert_eq!(findings.len(), 2);
        assert!(
            findings[0]
                .message
                .starts_with("the certificate of `a.pem` ends in 5 days, at 1970-01-06T")
        );
        assert!(findings[1].effect.starts_with("clients whose certificates"));
    }

    #[test]
    fn tls_01_looks_at_what_backends_are_spoken_to_with() {
        let mut pool = pool("shop", 1);
        let own = certificate("me.pem", Some(&[]), 5);
        let authority = Certificate {
            is_authority: true,
            ..certificate("ca.pem", None, 0)
        };
        pool.certificates = vec![own, authority];
        let findings = says(&setup(Balancer::Evenkeel, vec![pool]), "TLS-01");
        let told: Vec<_> = findings
            .iter()
            .map(|f| (f.severity.as_str(), &f.effect))
            .collect();
        assert_eq!((told[0].0, told[1].0), ("warning", "error"));
        assert!(told[0].1.starts_with("backends that ask for it refuse it"));
        assert!(told[1].1.starts_with("backends whose certificates"));
    }

    #[test]
    fn tls_04_wants_a_name_for_each_host_by_one_label_of_a_wildcard_at_most() {
        let shop = certificate("a.pem", Some(&["shop.example", "*.shop.example"]), 99);
        let hosts = ["shop.example", "www.shop.example", "*.shop.example"];
        let says = |certificates: &[Certificate], hosts: &[&str]| {
            heads(&says(&terminating(certificates, hosts), "TLS-04"))
        };
        assert!(says(std::slice::from_ref(&shop), &hosts).is_empty());
        let others = ["a.b.shop.example", "pay.example", "pay.example"];
        let told = ["warning route.0.host", "warning route.1.host"];
        assert_eq!(says(std::slice::from_ref(&shop), &others), told);
        let pay = certificate("b.pem", Some(&["pay.example"]), 99);
        assert_eq!(says(&[shop.clone(), pay], &others), told[..1]);
        // A certificate that was not looked at may be for any host; a listener without TLS needs none.
        assert!(says(&[shop, certificate("c.pem", None, 99)], &others).is_empty());
        assert!(says(&[], &others).is_empty());
    }
}
