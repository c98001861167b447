//! One fault's story: status machine, timeline, escalation, impact, post-mortem facts.
