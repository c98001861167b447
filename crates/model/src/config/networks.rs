//! Networks of addresses, and whom a listener believes who its client is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network in CIDR notation: `10.0.0.0/8`, `fd00::/8`; a plain address is a network of one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Network {
    address: IpAddr,
    /// Bits that count.
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No address, or no number of bits behind the slash.
    #[error("not an address with the number of bits that count")]
    Form,
    /// More bits than such an address has.
    #[error("more than {0} bits")]
    Bits(u8),
    /// Bits beyond those that count are set.
    #[error("bits beyond those that count are set; the network is {0}")]
    Host(Network),
}

/// `proxy_protocol` of a listener.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProxyProtocol {
    /// Networks of the proxies in front; not empty.
    pub from: Vec<Network>,
}

impl ProxyProtocol {
    /// Whether a connection from `address` may say who its client is.
    pub fn believes(&self, address: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(address))
    }
}

impl Network {
    /// Whether `address` is in it. An IPv4 address in IPv6 dress (`::ffff:10.0.0.1`) is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.address)
    }

    /// Whether every address of its family is in it.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// `address` with all bits beyond the first `prefix` cleared; `None`: it has not so many.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    Some(match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX
                .checked_shl(32_u32.checked_sub(prefix)?)
                .unwrap_or(0);
            IpAddr::V4((ip.to_bits() & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128_u32.checked_sub(prefix)?)
                .unwrap_or(0);
            IpAddr::V6((ip.to_bits() & mask).into())
        }
    })
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(NetworkError::Form);
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) && prefix.len() <= 3 => {
                prefix
                    .parse::<u16>()
                    .map_err(|_error| NetworkError::Form)?
                    .try_into()
                    .unwrap_or(u8::MAX)
            }
            Some(_) => return Err(NetworkError::Form),
        };
        let Some(network) = masked(address, prefix) else {
            return Err(NetworkError::Bits(bits));
        };
        let network = Self {
            address: network,
            prefix,
        };
        if network.address == address {
            Ok(network)
        } else {
            Err(NetworkError::Host(network))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::{Network, NetworkError};

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_the_addresses_that_share_its_bits() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "::1", "127.0.0.1"),
            ("::1", "::1", "::2"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{text}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{text}");
            assert_eq!(network(&network(text).to_string()), network(text));
        }
    }

    #[test]
    fn what_is_no_network_is_refused_and_stray_bits_name_the_network_meant() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/ 8",
            "10/8",
            "a",
            "10.0.0.0/8/8",
            "10.0.0.0/1000",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Form), "{text}");
        }
        assert_eq!(
            "10.0.0.0/33".parse::<Network>(),
            Err(NetworkError::Bits(32))
        );
        assert_eq!("::/129".parse::<Network>(), Err(NetworkError::Bits(128)));
        let meant = NetworkError::Host(network("10.0.0.0/8"));
        assert_eq!("10.1.0.0/8".parse::<Network>(), Err(meant));
    }
}
