//! What a side file puts on a setup, and what it refuses.
