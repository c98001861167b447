//! What clients of a listener speak.

/// `protocols` and `streams_max` of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Protocols {
    /// HTTP/1.1 and HTTP/1.0.
    pub http1: bool,
    /// HTTP/2: offered by ALPN with TLS, else a client must know beforehand.
    pub http2: bool,
    /// Requests that one HTTP/2 connection may have open at once. Default 100.
    pub streams_max: u32,
}

impl Protocols {
    /// The words of the configuration, in the order in which they are written.
    pub const WORDS: [&'static str; 2] = ["http/1.1", "h2"];
    /// `streams_max` where nothing is said: RFC 9113 advises against less.
    pub const STREAMS_MAX_DEFAULT: u32 = 100;

    /// The words of what is spoken.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let spoken = [self.http1, self.http2];
        let words = Self::WORDS.into_iter().zip(spoken);
        words.filter_map(|(word, is_spoken)| is_spoken.then_some(word))
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self {
            http1: true,
            http2: false,
            streams_max: Self::STREAMS_MAX_DEFAULT,
        }
    }
}
