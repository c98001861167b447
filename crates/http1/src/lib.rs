//! Strict HTTP/1 framing for both directions, as a sans-io codec.
//!
//! A proxy and its backends must agree, byte for byte, on where a message ends; every request
//! smuggling attack is a place where they do not. So this room refuses what is ambiguous
//! instead of repairing it, and it never passes framing through: length, coding, version, host and
//! connection fields are read, judged, dropped and written anew.
//!
//! Bytes come in as slices, heads come out as offsets into those slices ([`RequestHead`],
//! [`ResponseHead`]: reusable, no allocation per message once warm), body parts come out as
//! ranges ([`BodyDecoder`]), and messages are written into a `Vec<u8>` the caller owns. There is no
//! socket, clock or thread here; timeouts (408) are the caller's.
//!
//! ```
//! use evenkeel_http1::{Limits, RequestHead, parse_request};
//! let mut head = RequestHead::default();
//! let bytes = b"GET /cart?id=1 HTTP/1.1\r\nHost: shop.example\r\n\r\n";
//! let consumed = parse_request(bytes, &Limits::default(), &mut head);
//! assert_eq!(consumed, Ok(Some(bytes.len())));
//! assert_eq!((head.host(bytes), head.path(bytes)), ("shop.example", "/cart"));
//! ```
//!
//! # Decisions that differ between proxies
//! - A bare LF or a bare CR ends no line, in heads, chunk lines and trailers, from clients and backends.
//! - One empty line (CRLF) before a request line is skipped (RFC 9112 2.2); a second one is refused.
//! - `Content-Length` beside `Transfer-Encoding` refuses a request; in a response the coding wins,
//!   the length is dropped and the connection is not reused. Two lengths, equal or not, are refused.
//! - A method is made of `A`-`Z`, `-` and `_`; `CONNECT` is 501 (no tunnels), `TRACE` is 405.
//! - A host name is made of letters, digits, `-`, `.`, `_` and `~`. RFC 3986 allows more, DNS does not.
//! - The path is forwarded as it came, dot segments and encoded separators included; only `%00` and
//!   malformed escapes are refused. What a route sees must be normalised by who routes.
//! - Field names with `_` are legal and forwarded, except those that a gateway which maps `-` to `_`
//!   would mix up with a field this room owns (`X_Forwarded_For`, `Content_Length`, ..): dropped.
//! - `Upgrade` is dropped unless the caller passes one protocol on ([`RequestHead::upgrade_to`]); a 101 is
//!   a fault unless it names just that one ([`parse_upgrade_response`]). A request with a body asks for no
//!   upgrade, nor does HTTP/1.0, and `h2c` and other HTTP versions are never passed on: two readers would
//!   then see different requests in the same bytes. `Proxy` is dropped (CVE-2016-5385).
//! - HTTP/1.2 to 1.9 are read as 1.1; any other major version is 505. What is sent is always 1.1.

mod answer;
mod body;
mod chunk;
mod fields;
mod forward;
mod limits;
mod names;
mod refusal;
mod request;
mod response;
mod scan;
mod syntax;
mod upgrade;
mod write;

pub use answer::{Answer, reason, write_answer};
pub use body::{BodyDecoder, BodyError, BodyLength, Step};
pub use chunk::{write_chunk, write_chunk_head, write_chunk_tail, write_last_chunk};
pub use forward::{ClientFields, Scheme, Trust};
pub use limits::Limits;
pub use refusal::{Refusal, ResponseError};
pub use request::{Method, RequestHead, Version, parse_request};
pub use response::{ResponseHead, parse_response, parse_upgrade_response};
pub use upgrade::{is_protocol, may_tunnel};
pub use write::{
    Framing, RequestRewrite, ResponseRewrite, write_request_head, write_response_head,
};
