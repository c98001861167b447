//! Why a message is refused: one variant per reason, each with a stable code for logs and
//! metrics. Enums instead of text so that a test can name the reason and not only the status.

/// Declares an error enum whose variants carry a stable code and a sentence.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($variant:ident $status:literal $code:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name { $(#[doc = $text] #[error($text)] $variant,)* }
        impl $name {
            /// Every reason, for documents and tests.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// The status to answer the client with.
            pub fn status(self) -> u16 { match self { $($name::$variant => $status,)* } }
            /// A stable identifier for logs, metrics and the error header.
            pub fn code(self) -> &'static str { match self { $($name::$variant => $code,)* } }
        }
    };
}

reasons! {
    /// Why a request head is refused. The connection closes after the answer: where the next
    /// request would start is not known.
    Refusal {
        LineSyntax 400 "line_syntax" "the request line is malformed",
        BareLineEnd 400 "bare_line_end" "a line does not end with CRLF",
        BlankLines 400 "blank_lines" "more than one empty line before the request line",
        MethodSyntax 400 "method_syntax" "the method is not made of A-Z, `-` and `_`",
        MethodTooLong 501 "method_too_long" "the method is longer than any known one",
        MethodConnect 501 "method_connect" "CONNECT is not implemented: no tunnels",
        MethodTrace 405 "method_trace" "TRACE is not allowed: it would echo credentials",
        TargetSyntax 400 "target_syntax" "the request target has bytes that are not allowed in it",
        TargetForm 400 "target_form" "the request target has a form that does not fit the method",
        TargetScheme 400 "target_scheme" "the absolute target is neither http nor https",
        TargetUserinfo 400 "target_userinfo" "the absolute target carries user information",
        TargetFragment 400 "target_fragment" "the request target has a fragment",
        TargetEscape 400 "target_escape" "the request target has a malformed or NUL escape",
        TargetTooLong 414 "target_too_long" "the request target is longer than the limit",
        VersionSyntax 400 "version_syntax" "the protocol version is malformed",
        VersionMajor 505 "version_major" "only HTTP/1 is spoken here",
        FieldSyntax 400 "field_syntax" "a field line is malformed",
        HeadTooLarge 431 "head_too_large" "the head is larger than the limit",
        TooManyFields 431 "too_many_fields" "the head has more fields than the limit",
        HostMissing 400 "host_missing" "an HTTP/1.1 request needs Host",
        HostTwice 400 "host_twice" "Host is given twice",
        HostSyntax 400 "host_syntax" "Host is not a host name or address with an optional port",
        LengthSyntax 400 "length_syntax" "Content-Length is not a number of at most 18 digits",
        LengthTwice 400 "length_twice" "Content-Length is given twice",
        LengthAndCoding 400 "length_and_coding" "Content-Length beside Transfer-Encoding",
        CodingSyntax 400 "coding_syntax" "Transfer-Encoding is malformed or says chunked twice",
        CodingUnknown 501 "coding_unknown" "Transfer-Encoding is not exactly chunked",
        CodingVersion 400 "coding_version" "Transfer-Encoding in an HTTP/1.0 request",
        ExpectUnknown 417 "expect_unknown" "Expect is not 100-continue",
        MaxForwards 400 "max_forwards" "Max-Forwards is not a number",
    }
}

reasons! {
    /// Why a response head is refused: the client gets 502, the upstream connection is dropped.
    ResponseError {
        Syntax 502 "response_syntax" "the status line is malformed",
        Version 502 "response_version" "the response is not HTTP/1.0 or HTTP/1.1",
        Status 502 "response_status" "the status code is not a number from 100 to 999",
        BareLineEnd 502 "response_bare_line_end" "a line does not end with CRLF",
        FieldSyntax 502 "response_field_syntax" "a field line is malformed",
        HeadTooLarge 502 "response_head_too_large" "the head is larger than the limit",
        TooManyFields 502 "response_too_many_fields" "the head has more fields than the limit",
        LengthSyntax 502 "response_length_syntax" "Content-Length is not a number of at most 18 digits",
        LengthTwice 502 "response_length_twice" "Content-Length is given twice",
        Coding 502 "response_coding" "Transfer-Encoding is not exactly chunked",
        CodingVersion 502 "response_coding_version" "Transfer-Encoding in an HTTP/1.0 response",
        Switched 502 "response_switched" "101 although no upgrade was asked for",
        SwitchedElsewhere 502 "response_switched_elsewhere" "101 without exactly the protocol that was asked for",
    }
}
