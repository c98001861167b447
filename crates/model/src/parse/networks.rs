//! `proxy_protocol` of a listener: the proxies in front that say who the client is.

use toml::de::DeValue;

use super::keys;
use super::reader::{Found, Reader, Report, Section, clip};
use super::reference::sub;
use crate::config::{Address, Network, NetworkError, ProxyProtocol};

/// Networks that one listener may name.
const NETWORKS_MAX: usize = 256;
const EXAMPLE: &str = "write the networks of the proxies in front: `from = [\"10.0.0.0/8\"]`";

/// Reads the table; `None` where there is none.
pub(super) fn proxy_protocol(
    reader: &mut Reader,
    listener: &Section<'_>,
    address: Option<&Address>,
) -> Option<ProxyProtocol> {
    let table = sub(reader, listener, "proxy_protocol", &keys::PROXY_PROTOCOL)?;
    table.require(
        reader,
        "from",
        "nobody could connect: who may say who the client is, is not known",
        "from = [\"10.0.0.0/8\"]",
    );
    if let (Some(Address::Unix(_)), Some(found)) = (address, listener.get(reader, "proxy_protocol"))
    {
        let report = Report {
            id: "CFG-04",
            message: format!("`{}` stands at a listener on a Unix socket", found.path),
            effect: "its clients have no address that `from` could name: every connection would be closed".to_owned(),
            fix: "listen on a TCP address such as \"127.0.0.1:8080\", or remove it".to_owned(),
        };
        reader.error(&found.path, found.span, report);
    }
    let from = networks(reader, &table);
    (!from.is_empty()).then_some(ProxyProtocol { from })
}

fn networks(reader: &mut Reader, table: &Section<'_>) -> Vec<Network> {
    let mut networks = Vec::new();
    let Some(found) = table.get(reader, "from") else {
        return networks;
    };
    let array = match found.value {
        DeValue::Array(array) if (1..=NETWORKS_MAX).contains(&array.len()) => array,
        _ => {
            let expected = format!("a list of 1 to {NETWORKS_MAX} networks");
            reader.wrong(&found, expected, EXAMPLE.to_owned());
            return networks;
        }
    };
    for (index, item) in array.iter().enumerate() {
        let element = Found {
            path: format!("{}.{index}", found.path),
            span: item.span(),
            value: item.get_ref(),
        };
        let text = match element.value {
            DeValue::String(text) => text.as_ref(),
            _ => "",
        };
        match text.parse::<Network>() {
            Ok(network) if networks.contains(&network) => {
                let fix = "remove it from the list".to_owned();
                reader.wrong(&element, "a network that is not in the list yet", fix);
            }
            Ok(network) => {
                everybody(reader, &element, &network);
                networks.push(network);
            }
            Err(error) => refuse(reader, &element, text, error),
        }
    }
    networks
}

fn refuse(reader: &mut Reader, element: &Found<'_>, text: &str, error: NetworkError) {
    let fix = match error {
        NetworkError::Form => {
            "write it like \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.1\"".to_owned()
        }
        NetworkError::Bits(bits) => format!("write at most {bits} behind the slash"),
        NetworkError::Host(network) => format!(
            "write \"{network}\" for the network, or \"{}\" for the one address",
            clip(text.split('/').next().unwrap_or_default())
        ),
    };
    reader.wrong(element, "a network in CIDR notation", fix);
}

/// Not refused: a firewall may see to it that only the proxies in front come through.
fn everybody(reader: &mut Reader, element: &Found<'_>, network: &Network) {
    if network.is_everything() {
        let report = Report {
            id: "CFG-06",
            message: format!("`{}` is {network}: everybody", element.path),
            effect: "whoever reaches the listener can claim any client address, past rate limits and access rules".to_owned(),
            fix: "name the networks of the proxies in front only".to_owned(),
        };
        reader.warning(&element.path, element.span.clone(), report);
    }
}
