//! What holds for every header and for every other input.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use evenkeel_preface::{HEADER_MAX, LINE_MAX, Refusal, Step, Told, read};
use proptest::collection::vec;
use proptest::prelude::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn line(client: SocketAddr, port: u16) -> Vec<u8> {
    let (family, to) = match client {
        SocketAddr::V4(_) => ("TCP4", "192.0.2.2"),
        SocketAddr::V6(_) => ("TCP6", "2001:db8::2"),
    };
    format!(
        "PROXY {family} {} {to} {} {port}\r\n",
        client.ip(),
        client.port()
    )
    .into_bytes()
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn addresses(client: SocketAddr) -> (u8, Vec<u8>) {
    let port = client.port().to_be_bytes();
    match client.ip() {
        IpAddr::V4(ip) => (
            0x11,
            [&ip.octets()[..], &[192, 0, 2, 2], &port, &[1, 187]].concat(),
        ),
        IpAddr::V6(ip) => (
            0x21,
            [&ip.octets()[..], &[9; 16], &port, &[1, 187]].concat(),
        ),
    }
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], value].concat()
}

/// As the specification's reference has it, by a table this time.
fn crc32c(bytes: &[u8]) -> u32 {
    let entry = |n: u32| {
        (0..8).fold(n, |c, _| {
            if c & 1 == 1 {
                0x82f6_3b78 ^ (c >> 1)
            } else {
                c >> 1
            }
        })
    };
    !bytes.iter().fold(u32::MAX, |crc, b| {
        entry((crc ^ u32::from(*b)) & 0xff) ^ (crc >> 8)
    })
}

/// The header of `client` with these extensions, and a checksum among them.
fn with_checksum(client: SocketAddr, before: &[u8], after: &[u8]) -> (Vec<u8>, usize) {
    let (family, addresses) = addresses(client);
    let rest = [&addresses[..], before, &tlv(0x03, &[0; 4]), after].concat();
    let mut header = binary(0x21, family, &rest);
    let at = 16 + addresses.len() + before.len() + 3;
    let sum = crc32c(&header).to_be_bytes();
    header[at..at + 4].copy_from_slice(&sum);
    (header, at)
}

/// Reads `bytes` as a socket would give them, never more than is asked for: the answer and how much was taken.
fn by_need(bytes: &[u8]) -> (Result<Option<Told>, Refusal>, usize) {
    let mut taken = 0;
    loop {
        match read(&bytes[..taken]) {
            Err(refusal) => return (Err(refusal), taken),
            Ok(Step::Done { told, length }) => {
                assert_eq!(length, taken);
                return (Ok(Some(told)), taken);
            }
            Ok(Step::Need(more)) => {
                assert!(more > 0 && taken + more <= HEADER_MAX);
                if taken + more > bytes.len() {
                    return (Ok(None), taken);
                }
                taken += more;
            }
        }
    }
}

/// However it comes, the header is `length` bytes and says `told`, and nothing behind it is touched.
fn holds(header: &[u8], told: Told) {
    let length = header.len();
    assert_eq!(read(header), Ok(Step::Done { told, length }));
    let followed = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
    assert_eq!(read(&followed), Ok(Step::Done { told, length }));
    assert_eq!(by_need(&followed), (Ok(Some(told)), length));
    for end in 0..length {
        let step = read(&header[..end]);
        assert!(
            matches!(step, Ok(Step::Need(more)) if more <= length - end),
            "{end} {step:?}"
        );
    }
}

fn client() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits))),
        any::<u32>().prop_map(|bits| IpAddr::V6(Ipv4Addr::from(bits).to_ipv6_mapped())),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn a_header_says_who_the_client_is_in_both_versions(
        client in client(), port: u16, noise in vec((4u8..0x40, vec(any::<u8>(), 0..60)), 0..4),
    ) {
        holds(&line(client, port), Told::Client(client));
        let extensions: Vec<u8> = noise.iter().flat_map(|(kind, value)| tlv(*kind, value)).collect();
        let (family, addresses) = addresses(client);
        holds(&binary(0x21, family, &[&addresses[..], &extensions].concat()), Told::Client(client));
        holds(&binary(0x20, family, &extensions), Told::Nothing);
        let (header, _) = with_checksum(client, &extensions, &extensions);
        holds(&header, Told::Client(client));
    }

    #[test]
    fn a_header_with_a_checksum_is_refused_when_any_bit_was_turned(
        client in client(), noise in vec(any::<u8>(), 0..40), at: prop::sample::Index, bit in 0u8..8,
    ) {
        let (mut header, sum) = with_checksum(client, b"", &tlv(5, &noise));
        let at = at.index(header.len());
        header[at] ^= 1 << bit;
        let whole = Ok(Step::Done { told: Told::Client(client), length: header.len() });
        // What is no longer called a checksum is none.
        let is_renamed = at == sum - 3;
        prop_assert!(is_renamed || read(&header) != whole);
    }

    #[test]
    fn garbage_never_panics_and_is_taken_no_further_than_its_bound(
        start in 0usize..4, bytes in vec(any::<u8>(), 0..200),
    ) {
        let start: &[u8] = [b"", SIGNATURE, b"PROXY ", b"PROXY TCP4 1.1."][start];
        let bytes = [start, &bytes].concat();
        let (told, taken) = by_need(&bytes);
        let cut: Vec<_> = (0..=bytes.len()).map(|end| read(&bytes[..end])).collect();
        match told {
            // Whoever reads ahead comes to the same.
            Ok(Some(told)) => prop_assert_eq!(read(&bytes), Ok(Step::Done { told, length: taken })),
            Err(refusal) => prop_assert_eq!(cut[taken], Err(refusal)),
            Ok(None) => prop_assert!(matches!(cut[taken], Ok(Step::Need(_)))),
        }
    }
}

#[test]
fn a_line_has_one_form() {
    for text in [
        "PROXY TCP4 01.0.0.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 -1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
        "PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rX",
        "PROXY TCP4 1.1.1.1\r\n1.1.1.1 1 1\r\n",
        "PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n       ",
    ] {
        assert_eq!(read(text.as_bytes()), Err(Refusal::Line), "{text:?}");
    }
    for text in [
        "proxy TCP4",
        "PROXZ",
        "GET / HTTP/1.1\r\n",
        "\r\n\r\n\0\r\nQUIX",
        "\x16\x03\x01",
    ] {
        assert_eq!(read(text.as_bytes()), Err(Refusal::NoHeader), "{text:?}");
    }
    holds(b"PROXY UNKNOWN\r\n", Told::Nothing);
    holds(b"PROXY UNKNOWN ffff:f...f:ffff 1 2 3 x\r\n", Told::Nothing);
}

#[test]
fn a_line_of_107_bytes_passes_and_a_longer_one_is_refused() {
    let of = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16)).into_bytes();
    holds(&of(LINE_MAX), Told::Nothing);
    assert_eq!(by_need(&of(LINE_MAX + 1)).0, Err(Refusal::LineTooLong));
    let endless = "PROXY TCP4 1".repeat(20);
    assert_eq!(
        by_need(endless.as_bytes()),
        (Err(Refusal::LineTooLong), LINE_MAX)
    );
}

#[test]
fn a_header_of_a_family_without_a_client_address_says_nothing() {
    holds(&binary(0x21, 0x00, b""), Told::Nothing);
    holds(&binary(0x21, 0x31, &[b'/'; 216]), Told::Nothing);
    holds(&binary(0x21, 0x12, &[1; 12]), Told::Nothing);
    holds(&binary(0x20, 0x11, b"anything"), Told::Nothing);
}

#[test]
fn what_is_not_assigned_too_long_or_cut_is_refused() {
    let client = &[1; 12][..];
    for (command, family) in [
        (0x11, 0x11),
        (0x22, 0x11),
        (0x31, 0x11),
        (0x21, 0x41),
        (0x21, 0x13),
    ] {
        assert_eq!(
            read(&binary(command, family, client)),
            Err(Refusal::Unassigned)
        );
    }
    let long = vec![0; HEADER_MAX - 15];
    assert_eq!(
        read(&binary(0x21, 0x11, &long)[..16]),
        Err(Refusal::TooLong)
    );
    let fits = [client, &tlv(4, &vec![0; HEADER_MAX - 31])].concat();
    assert!(matches!(
        read(&binary(0x21, 0x11, &fits)),
        Ok(Step::Done {
            length: HEADER_MAX,
            ..
        })
    ));
    for (family, length) in [(0x11, 11), (0x21, 35), (0x31, 215)] {
        assert_eq!(
            read(&binary(0x21, family, &vec![0; length])),
            Err(Refusal::Cut)
        );
    }
    for more in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0, 2, 9], &[4, 0, 0, 4]] {
        assert_eq!(
            read(&binary(0x21, 0x11, &[client, more].concat())),
            Err(Refusal::Cut)
        );
    }
    let short = [client, &tlv(3, &[0; 3])].concat();
    assert_eq!(read(&binary(0x21, 0x11, &short)), Err(Refusal::Checksum));
}
