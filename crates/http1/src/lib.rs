//! Strict HTTP/1 framing for both directions, as a sans-io codec.
