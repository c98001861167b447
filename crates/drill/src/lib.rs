//! One scenario format, two stages: simulated and live.
