//! HTTP API, metrics endpoint and page; owns the API view types.
