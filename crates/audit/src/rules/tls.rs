//! TLS: whether the balancer knows whom it talks to.

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::Balancer;

use super::fold::{Fault, told};
use crate::rule::{Rule, Subject, Words};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[VERIFIED];

/// TLS-03.
const VERIFIED: Rule = Rule {
    id: "TLS-03",
    title: "certificates of backends are verified",
    severity: Severity::Warning,
    limit: None,
    text: "\
Where backends are reached over TLS, their certificates should be verified against a CA. Most balancers
do not unless they are told to: nginx needs `proxy_ssl_verify on`, HAProxy `verify required`, Envoy a
`validation_context` with `trusted_ca`.

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
                Balancer::Nginx => "write `proxy_ssl_verify on` with `proxy_ssl_trusted_certificate`",
                _ => "give the CA that the backends' certificates come from (`trusted_ca`)",
            }
            .to_owned(),
        };
        let at = format!("{}.tls", first.path);
        let kind = (count == pool.backends.len()).to_string();
        Some(Fault { pool, severity: Severity::Warning, at, kind, magnitude: 0.0, words })
    });
    told(subject, "TLS-03", faults.collect())
}

#[cfg(test)]
mod tests {
    use evenkeel_model::setup::Balancer;

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
}
