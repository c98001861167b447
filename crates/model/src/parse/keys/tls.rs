//! TLS of a listener and of a pool, and what was seen of their files.

use super::super::tls::HANDSHAKE_TIMEOUT;
use super::{Key, Kind, Table};

pub(in super::super) static TLS: Table = Table {
    about: "How clients are spoken to by TLS.",
    keys: &[
        Key::new(
            "certificates",
            Kind::TextsOr("shop.pem", &CERTIFICATE_FILES),
            "Certificates, each a PEM file with chain and key, or one of each; the names in them choose, the first is the default.",
        )
        .required(),
        Key::new(
            "min_version",
            Kind::Choice(&["1.2", "1.3"]),
            "Oldest version of TLS that is spoken.",
        )
        .or("\"1.2\""),
        Key::new(
            "sni",
            Kind::Choice(&["default", "strict"]),
            "What a client gets that asks for no name of the certificates: the default certificate, or a refusal.",
        )
        .or("\"default\""),
        Key::new(
            "client",
            Kind::Table(&TLS_CLIENT),
            "Clients are asked for a certificate of their own.",
        ),
        Key::new(
            "handshake_timeout",
            Kind::duration(&HANDSHAKE_TIMEOUT),
            "The handshake must be complete this long after the connection.",
        )
        .or("\"5s\""),
    ],
};

pub(in super::super) static CERTIFICATE_FILES: Table = Table {
    about: "A certificate and its key in two files.",
    keys: &[
        Key::new(
            "chain",
            Kind::Text("shop.crt"),
            "PEM file with the certificate, then those that lead to its root.",
        )
        .required(),
        Key::new(
            "key",
            Kind::Text("shop.key"),
            "PEM file with its private key.",
        )
        .required(),
    ],
};

pub(in super::super) static TLS_CLIENT: Table = Table {
    about: "Certificates of clients (mTLS).",
    keys: &[
        Key::new(
            "ca",
            Kind::Text("clients-ca.pem"),
            "PEM file with the authorities that they must come from.",
        )
        .required(),
        Key::new(
            "require",
            Kind::Boolean,
            "Whether a client without one is refused.",
        )
        .or("true"),
    ],
};

pub(in super::super) static SEEN_FILE: Table = Table {
    about: "What was seen of a file of TLS; written by Evenkeel, refused where the file is another one.",
    keys: &[
        Key::new(
            "sha256",
            Kind::Text("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
            "SHA-256 of its bytes, in hexadecimal.",
        )
        .required(),
        Key::new(
            "names",
            Kind::Texts("shop.example.com"),
            "The DNS names of its certificate.",
        ),
        Key::new(
            "not_after",
            Kind::Text("2027-01-31T12:00:00Z"),
            "When its certificates end, UTC.",
        ),
    ],
};

pub(in super::super) static BACKEND_TLS: Table = Table {
    about: "How backends are spoken to by TLS.",
    keys: &[
        Key::new(
            "ca",
            Kind::Text("backends-ca.pem"),
            "PEM file with the authorities that the certificates of backends must come from; required unless nothing is verified.",
        ),
        Key::new(
            "name",
            Kind::Text("shop.internal"),
            "The name that is asked for and that the certificates must be for, where a backend has no tls_name; in a pool whose members are found by dns it is that host.",
        ),
        Key::new(
            "certificate",
            Kind::Text("client.pem"),
            "PEM file with the certificate that is shown to backends that ask for one, with its chain and, where no key is named, its key.",
        ),
        Key::new(
            "key",
            Kind::Text("client.key"),
            "PEM file with the private key of the certificate.",
        ),
        Key::new(
            "min_version",
            Kind::Choice(&["1.2", "1.3"]),
            "Oldest version of TLS that is spoken.",
        )
        .or("\"1.2\""),
        Key::new(
            "insecure_skip_verify",
            Kind::Boolean,
            "Whoever answers is believed, whatever certificate it shows.",
        )
        .or("false"),
    ],
};

pub(super) const TLS_NAME: Key = Key::new(
    "tls_name",
    Kind::Text("web-1.internal"),
    "The name that its certificate is for; else that of the pool's tls.",
);
