//! The append-only record of revisions, deployments and incidents.
