//! What a scenario needs, and what of it exists on each stage in this version.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::step::Action;

/// Something that a drill may need. The words of `needs`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Guarded changes: verification, automatic rollback, `confirm`, `rollback`.
    Apply,
    /// Recorded deployments.
    DeployRecord,
    /// Deployments in steps: rolling, canary, blue-green.
    DeploySteps,
    /// Faults of backends.
    BackendFaults,
    /// A shared dependency.
    Dependency,
    /// The network between the balancer and the backends.
    Network,
    /// Rates, clients, retries of the traffic.
    Traffic,
    /// Edits outside the journal, stale pushes.
    Drift,
    /// Draining.
    Drain,
    /// Members from discovery.
    Discovery,
    /// Certificates.
    Certificates,
    /// Hash balancing by a key.
    HashKeys,
    /// Sticky sessions.
    Sticky,
    /// Loss of the journal.
    JournalLoss,
    /// Kill and restart of the balancer.
    Restart,
    /// A person's commands on incidents.
    Operator,
}

/// Where a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Virtual clock, event engine.
    Sim,
    /// Real data plane, real sockets.
    Live,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sim => "--sim",
            Self::Live => "--live",
        })
    }
}

impl Feature {
    /// The word in the scenario.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::DeployRecord => "deploy_record",
            Self::DeploySteps => "deploy_steps",
            Self::BackendFaults => "backend_faults",
            Self::Dependency => "dependency",
            Self::Network => "network",
            Self::Traffic => "traffic",
            Self::Drift => "drift",
            Self::Drain => "drain",
            Self::Discovery => "discovery",
            Self::Certificates => "certificates",
            Self::HashKeys => "hash_keys",
            Self::Sticky => "sticky",
            Self::JournalLoss => "journal_loss",
            Self::Restart => "restart",
            Self::Operator => "operator",
        }
    }

    /// Whether this version has it on `stage`.
    pub const fn exists(self, stage: Stage) -> bool {
        match self {
            Self::Apply
            | Self::DeployRecord
            | Self::DeploySteps
            | Self::BackendFaults
            | Self::Dependency
            | Self::Traffic
            | Self::Drain
            | Self::Discovery
            | Self::HashKeys
            | Self::Sticky
            | Self::Operator => true,
            Self::Network | Self::Drift | Self::JournalLoss | Self::Restart => {
                matches!(stage, Stage::Sim)
            }
            Self::Certificates => false,
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Action<'_> {
    /// What carrying it out needs.
    pub const fn needs(&self) -> Feature {
        match self {
            Self::Apply(_) | Self::Rollback(_) | Self::Confirm(_) => Feature::Apply,
            Self::Deploy(_) => Feature::DeployRecord,
            Self::DeploySteps(_) => Feature::DeploySteps,
            Self::BackendFault(_) => Feature::BackendFaults,
            Self::DependencyFault(_) => Feature::Dependency,
            Self::NetworkFault(_) => Feature::Network,
            Self::Traffic(_) => Feature::Traffic,
            Self::EditOutside(_) | Self::StalePush(_) => Feature::Drift,
            Self::Drain(_) | Self::Undrain(_) => Feature::Drain,
            Self::Discovery(_) => Feature::Discovery,
            Self::Certificate(_) => Feature::Certificates,
            Self::JournalFault(_) => Feature::JournalLoss,
            Self::Restart(_) => Feature::Restart,
            Self::Operator(_) => Feature::Operator,
        }
    }
}

impl Scenario {
    /// Every feature that the scenario uses or names, each with the path that says so.
    pub fn features(&self) -> Vec<(Feature, String)> {
        let mut found = Vec::new();
        for (index, feature) in self.needs.iter().enumerate() {
            found.push((*feature, format!("needs.{index}")));
        }
        for (index, step) in self.step.iter().enumerate() {
            for action in step.actions() {
                found.push((action.needs(), format!("step.{index}.{}", action.word())));
            }
            if step.traffic.as_ref().is_some_and(|t| t.key_skew.is_some()) {
                found.push((Feature::HashKeys, format!("step.{index}.traffic.key_skew")));
            }
        }
        let text = self.config.text.as_deref().unwrap_or("");
        let parsed = evenkeel_model::parse::parse(text, None).config;
        let pools = parsed.iter().flat_map(|config| &config.pools);
        if pools.into_iter().any(|pool| pool.affinity.sticky.is_some()) {
            found.push((Feature::Sticky, "config.text".to_owned()));
        }
        if self.traffic.key.is_some() {
            found.push((Feature::HashKeys, "traffic.key".to_owned()));
        }
        for (name, stream) in &self.stream {
            if stream.key.is_some() {
                found.push((Feature::HashKeys, format!("stream.{name}.key")));
            }
        }
        found
    }

    /// What the scenario needs that `stage` does not have, in words.
    pub fn missing(&self, stage: Stage) -> Option<String> {
        let mut words: Vec<String> = Vec::new();
        for (feature, path) in self.features() {
            if !feature.exists(stage) {
                words.push(format!("`{feature}` (for `{path}`)"));
            }
        }
        words.dedup();
        (!words.is_empty()).then(|| {
            format!(
                "this version has not on {stage} what the drill needs: {}",
                words.join(", ")
            )
        })
    }
}
