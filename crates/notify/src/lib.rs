//! Tells people and systems: signed webhooks.
