//! The vocabulary of a diagnosis: what is to be undone (cause), how it broke things (mechanism), and whom
//! it concerns (subject). The texts are those of the public JSON.

use std::fmt;

use crate::ids::{DeploymentId, Name, RevisionId};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[expect(missing_docs, reason = "the variants are the words of the public JSON")]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every word, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The variant of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(
    /// What is to be undone.
    Cause {
        ConfigRevision = "config_revision",
        ConfigDrift = "config_drift",
        Deployment = "deployment",
        BackendFault = "backend_fault",
        CapacityShortfall = "capacity_shortfall",
        HealthCheck = "health_check",
        Membership = "membership",
        Drain = "drain",
        Limit = "limit",
        RetryStorm = "retry_storm",
        HotKey = "hot_key",
        Network = "network",
        Dependency = "dependency",
        Certificate = "certificate",
        Unknown = "unknown",
    }
);

words!(
    /// How the cause broke what it broke.
    Mechanism {
        Weight = "weight",
        Algorithm = "algorithm",
        HealthCheck = "health_check",
        Limit = "limit",
        Timeout = "timeout",
        Retry = "retry",
        Route = "route",
        Tls = "tls",
        Membership = "membership",
        Version = "version",
        Latency = "latency",
        Errors = "errors",
        Key = "key",
        Zone = "zone",
        None = "none",
    }
);

/// Whom the cause concerns, as `kind:name` in JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Subject {
    /// `revision:r12`
    Revision(RevisionId),
    /// `deployment:shop/v2`: pool and version.
    Deployment {
        /// The recorded deployment.
        id: DeploymentId,
        /// Its pool.
        pool: Name,
        /// Its version.
        version: Name,
    },
    /// `backend:shop/web-1`
    Backend {
        /// The pool.
        pool: Name,
        /// The backend in it.
        backend: Name,
    },
    /// `pool:shop`
    Pool(Name),
    /// `zone:a`
    Zone(Name),
    /// `key:HASH`: a hash of the key, never the key itself.
    Key(u64),
    /// `listener:web`
    Listener(Name),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision(id) => write!(f, "revision:{id}"),
            Self::Deployment { pool, version, .. } => write!(f, "deployment:{pool}/{version}"),
            Self::Backend { pool, backend } => write!(f, "backend:{pool}/{backend}"),
            Self::Pool(name) => write!(f, "pool:{name}"),
            Self::Zone(name) => write!(f, "zone:{name}"),
            Self::Key(hash) => write!(f, "key:{hash:016x}"),
            Self::Listener(name) => write!(f, "listener:{name}"),
        }
    }
}
