//! Why there is no TLS with a backend: as a stable word for counts and the access log, and in words for a person.
//!
//! What a backend sends is not trusted: of the names in its certificate a few are shown, without control characters.

use std::io;

use evenkeel_model::clock::Wall;
use evenkeel_model::config::BackendTls;
use evenkeel_model::day::time;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use super::handshake::{Broken, results};

/// Names of a certificate that are shown.
const NAMES_SHOWN: usize = 3;
/// Characters of a name, or of what rustls says, that are shown.
const SHOWN_MAX: usize = 200;

results! {
    /// What became of a handshake with a backend.
    Dialled:
    /// Done, with new keys; its certificate was verified.
    Full = "full",
    /// Done, by a session of an earlier one.
    Resumed = "resumed",
    /// Not done within the pool's `connect_timeout`, or given up before.
    Timeout = "timeout",
    /// The backend left in the middle.
    Closed = "closed",
    /// The backend speaks plain HTTP.
    NotTls = "not_tls",
    /// No version, cipher or protocol in common.
    Incompatible = "incompatible",
    /// Its certificate comes from none of the authorities.
    UnknownAuthority = "unknown_authority",
    /// Its certificate is for another name.
    WrongName = "wrong_name",
    /// Its certificate has ended, or has not begun.
    Expired = "expired",
    /// Its certificate cannot be used for another reason.
    Certificate = "certificate",
    /// The backend refused, our certificate or the lack of it in most cases.
    Refused = "refused_by_backend",
    /// What came is not TLS as it should be.
    Invalid = "invalid",
}

impl Dialled {
    /// Stable code in `x-evenkeel-error` and the access log.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            // Never a failure.
            Self::Full | Self::Resumed => "tls",
            Self::Timeout => "connect_timeout",
            Self::Closed => "tls_closed",
            Self::NotTls => "tls_not_spoken",
            Self::Incompatible => "tls_incompatible",
            Self::UnknownAuthority => "tls_unknown_authority",
            Self::WrongName => "tls_wrong_name",
            Self::Expired => "tls_expired",
            Self::Certificate => "tls_certificate",
            Self::Refused => "tls_refused",
            Self::Invalid => "tls_invalid",
        }
    }
}

/// Why there is no TLS with a backend.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) result: Dialled,
    /// As one says it of the backend: "its certificate is for ...".
    pub(crate) words: String,
}

impl Refused {
    /// Of a handshake under `tls` that broke.
    pub(super) fn of(broken: Broken, tls: &BackendTls) -> Self {
        let (result, words) = match broken {
            Broken::Tls(error) => return Self::by(&error, tls),
            Broken::Closed => (
                Dialled::Closed,
                "it closed the connection in the TLS handshake",
            ),
            Broken::Plain => (Dialled::NotTls, "it speaks plain HTTP, not TLS"),
        };
        Self {
            result,
            words: words.to_owned(),
        }
    }

    /// By what rustls says.
    pub(super) fn by(error: &Error, tls: &BackendTls) -> Self {
        let (result, words) = match error {
            Error::InvalidCertificate(error) => of_certificate(error, tls),
            Error::AlertReceived(alert) => (Dialled::Refused, refusal(*alert, Some(tls))),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => (
                Dialled::Incompatible,
                format!("no TLS in common with it: {}", clip(&error.to_string())),
            ),
            error => (
                Dialled::Invalid,
                format!("what it sends is no TLS: {}", clip(&error.to_string())),
            ),
        };
        Self { result, words }
    }

    /// By an error on a new connection whose handshake was done on our side: with TLS 1.3 a backend looks at our
    /// certificate only then. `None`: another alert, which says nothing of what became of a request.
    pub(crate) fn late(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::AlertReceived(alert) if is_about_certificate(*alert) => Some(Self {
                result: Dialled::Refused,
                words: refusal(*alert, None),
            }),
            _ => None,
        }
    }
}

fn of_certificate(error: &CertificateError, tls: &BackendTls) -> (Dialled, String) {
    match error {
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            (
                Dialled::WrongName,
                format!(
                    "its certificate is for {}, not for `{expected}`",
                    names(presented)
                ),
            )
        }
        CertificateError::NotValidForName => (
            Dialled::WrongName,
            "its certificate is for another name".to_owned(),
        ),
        CertificateError::ExpiredContext { not_after, .. } => (
            Dialled::Expired,
            format!("its certificate ended at {}", at(*not_after)),
        ),
        CertificateError::NotValidYetContext { not_before, .. } => (
            Dialled::Expired,
            format!("its certificate is valid from {} on only", at(*not_before)),
        ),
        // An authority of the same name with another key did not sign it either.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let ca = tls.ca.as_deref().unwrap_or_else(|| "".as_ref());
            let words = format!(
                "its certificate comes from none of the authorities in `{}`",
                ca.display()
            );
            (Dialled::UnknownAuthority, words)
        }
        error => (
            Dialled::Certificate,
            format!(
                "its certificate cannot be accepted: {}",
                clip(&error.to_string())
            ),
        ),
    }
}

/// Whether it is what a server says of a certificate of ours, or of the lack of one (RFC 8446 section 6.2).
const fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::DecryptError
            | Alert::HandshakeFailure
    )
}

fn refusal(alert: AlertDescription, tls: Option<&BackendTls>) -> String {
    use AlertDescription as Alert;
    let asks = match alert {
        Alert::CertificateRequired => true,
        // What servers of TLS 1.2 say for it, among other things.
        Alert::HandshakeFailure | Alert::BadCertificate => {
            tls.is_some_and(|tls| tls.certificate.is_none())
        }
        _ => false,
    };
    let hint = if asks {
        "; it may ask for a certificate of ours (`tls.certificate`)"
    } else {
        ""
    };
    format!("it refused the TLS handshake: {alert:?}{hint}")
}

/// The names in a certificate.
fn names(presented: &[String]) -> String {
    let name = |text: &String| {
        let inner = text
            .split_once('(')
            .and_then(|(_, rest)| rest.strip_suffix(')'));
        let inner = inner.unwrap_or(text).trim_matches('"');
        format!("`{}`", clip(inner))
    };
    let shown: Vec<String> = presented.iter().take(NAMES_SHOWN).map(name).collect();
    let more = presented.len() - shown.len();
    match (shown.is_empty(), more) {
        (true, _) => "no name at all".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn at(when: UnixTime) -> String {
    time(Wall(when.as_secs().saturating_mul(1_000)))
}

/// What another wrote, in bounds.
fn clip(text: &str) -> String {
    let shown = text.chars().take(SHOWN_MAX);
    shown
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_of_a_certificate_are_shown_in_bounds_and_without_control_characters() {
        let dns = |name: &str| format!("DnsName(\"{name}\")");
        assert_eq!(names(&[]), "no name at all");
        assert_eq!(names(&[dns("a.b"), dns("*.c")]), "`a.b`, `*.c`");
        assert_eq!(names(&["IpAddress(10.0.0.1)".to_owned()]), "`10.0.0.1`");
        assert_eq!(names(&[dns("a\u{1b}[31m\nb")]), "`a?[31m?b`");
        let many: Vec<String> = (0..9).map(|n| dns(&n.to_string())).collect();
        assert_eq!(names(&many), "`0`, `1`, `2` and 6 more");
        assert!(names(&[dns(&"x".repeat(9_000))]).len() < 300);
    }
}
