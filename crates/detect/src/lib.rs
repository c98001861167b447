//! Always-valid statistics: share tests, confidence sequences, harm.
