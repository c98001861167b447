//! Rules over a configuration, a change and its forecast.
