//! Closed forms and the event engine: what share and load each backend will get.
