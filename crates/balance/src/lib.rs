//! Every decision of the data path as a state machine: choosing a backend, health, retries, routes.
