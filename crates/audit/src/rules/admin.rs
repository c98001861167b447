//! ADM: who can reach the place where changes are made.

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::Balancer;

use crate::rule::{Rule, Subject, Words};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[ADMIN];

/// ADM-01.
const ADMIN: Rule = Rule {
    id: "ADM-01",
    title: "the admin address is on loopback",
    severity: Severity::Error,
    limit: None,
    text: "\
`[admin] address` must be a loopback address: there is no TLS on the admin listener in this version. For
other balancers (Envoy's `admin`, a `stats socket` of HAProxy on TCP) it is a warning: they know no
password there, and often stand in a container of their own.

Why: page, API and metrics would travel in the clear, the token that may change the configuration with
them. From elsewhere, use an SSH tunnel or a proxy with TLS on the same machine. Envoy's admin page stops
the process for anyone who asks (`/quitquitquit`).

Example: `address = \"0.0.0.0:7700\"` is reachable on every interface.",
    check: check_admin,
};

fn check_admin(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(address) = subject.setup.admin else {
        return Vec::new();
    };
    if address.ip().to_canonical().is_loopback() {
        return Vec::new();
    }
    let is_own = subject.setup.balancer == Balancer::Evenkeel;
    let (severity, message, effect) = if is_own {
        (
            Severity::Error,
            format!("the admin address {address} is not on loopback, and it has no TLS"),
            "whoever is on the way can read the token and change where traffic goes",
        )
    } else {
        (
            Severity::Warning,
            format!("the admin address {address} is not on loopback, and it asks for no password"),
            "whoever reaches it can take backends out or stop the process",
        )
    };
    let fix = if is_own {
        format!(
            "write `address = \"127.0.0.1:{}\"` and reach it through a tunnel",
            address.port()
        )
    } else {
        format!("listen on 127.0.0.1:{} or a Unix socket", address.port())
    };
    let words = Words {
        message,
        effect: effect.to_owned(),
        fix,
    };
    let at = if is_own || subject.origin.declares("admin.address") {
        "admin.address"
    } else {
        "admin"
    };
    vec![subject.finding("ADM-01", severity, ("admin.address", at), 0.0, words)]
}

#[cfg(test)]
mod tests {
    use evenkeel_model::finding::Severity;
    use evenkeel_model::setup::Balancer;

    use crate::rules::probe::{says, setup, severities};

    #[test]
    fn adm_01_is_an_error_for_evenkeel_and_a_warning_for_others() {
        for (balancer, severity) in [
            (Balancer::Evenkeel, Severity::Error),
            (Balancer::Envoy, Severity::Warning),
        ] {
            let mut setup = setup(balancer, Vec::new());
            assert!(says(&setup, "ADM-01").is_empty());
            setup.admin = Some("127.0.0.1:9901".parse().unwrap());
            assert!(says(&setup, "ADM-01").is_empty());
            setup.admin = Some("0.0.0.0:9901".parse().unwrap());
            assert_eq!(severities(&says(&setup, "ADM-01")), [severity]);
        }
    }
}
