//! How bad an incident is, from facts alone.
//!
//! | severity | facts |
//! |---|---|
//! | sev1 | the objective is missed and at least 10 % of the users or of the requests are harmed, or nothing can be served |
//! | sev2 | the objective is missed by less than that |
//! | sev3 | no harm yet: traffic is not spread as intended, a backend is above its planned limit, or an audit found an error |
//! | sev4 | information: nothing of the above |
//!
//! Unsure means higher: an unknown share of users does not lower the severity, the share of requests decides.
//! A severity rises by itself and is never lowered by itself: people were paged for the higher one.

use evenkeel_model::record::IncidentSeverity;

/// From this share of harmed users or requests on, a missed objective is sev1.
pub const WIDE_HARM_SHARE: f64 = 0.10;

/// What is known when the severity is judged.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Facts {
    /// The pool misses its declared objective (error rate or p99).
    pub objective_missed: bool,
    /// Share of the requests of the window that were harmed, 0..1.
    pub harmed_requests_share: f64,
    /// Share of the users of the window that were harmed, 0..1; `None`: unknown.
    pub harmed_users_share: Option<f64>,
    /// No backend can take a request.
    pub nothing_served: bool,
    /// A share test says that traffic is not spread as intended.
    pub imbalance: bool,
    /// A backend is above its planned limit (capacity less headroom).
    pub overloaded: bool,
    /// An audit found a new error in what runs.
    pub audit_error: bool,
}

/// The severity of `facts`; the table stands at the top of this module.
pub fn severity(facts: &Facts) -> IncidentSeverity {
    let wide = facts.harmed_requests_share >= WIDE_HARM_SHARE
        || facts
            .harmed_users_share
            .is_some_and(|share| share >= WIDE_HARM_SHARE);
    if facts.nothing_served || (facts.objective_missed && wide) {
        IncidentSeverity::Sev1
    } else if facts.objective_missed {
        IncidentSeverity::Sev2
    } else if facts.imbalance || facts.overloaded || facts.audit_error {
        IncidentSeverity::Sev3
    } else {
        IncidentSeverity::Sev4
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::record::IncidentSeverity;

    use super::{Facts, severity};

    #[test]
    fn extent_of_harm_decides_between_sev1_and_sev2() {
        let missed = Facts {
            objective_missed: true,
            harmed_requests_share: 0.02,
            ..Facts::default()
        };
        assert_eq!(severity(&missed), IncidentSeverity::Sev2);
        let users = Facts {
            harmed_users_share: Some(0.1),
            ..missed
        };
        assert_eq!(severity(&users), IncidentSeverity::Sev1);
        let requests = Facts {
            harmed_requests_share: 0.4,
            ..missed
        };
        assert_eq!(severity(&requests), IncidentSeverity::Sev1);
        let nothing = Facts {
            nothing_served: true,
            ..Facts::default()
        };
        assert_eq!(severity(&nothing), IncidentSeverity::Sev1);
    }

    #[test]
    fn imbalance_without_harm_is_sev3_whatever_noise_of_harm_there_is() {
        let facts = Facts {
            imbalance: true,
            harmed_requests_share: 0.5,
            ..Facts::default()
        };
        assert_eq!(severity(&facts), IncidentSeverity::Sev3);
        assert_eq!(severity(&Facts::default()), IncidentSeverity::Sev4);
    }
}
