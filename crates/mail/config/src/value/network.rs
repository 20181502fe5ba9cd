//! Networks in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Kind, OptionValue, malformed, toml_string};
use crate::error::{Problem, quoted};
use crate::toml::Item;

/// A network: the addresses that share a prefix. An IPv4 address written inside IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// IPv4: address without host bits, prefix length 0 to 32.
    V4(Ipv4Addr, u8),
    /// IPv6: address without host bits, prefix length 0 to 128.
    V6(Ipv6Addr, u8),
}

impl Network {
    /// The network of `prefix` bits around an address. A prefix longer than the address is cut to it.
    #[must_use]
    pub fn around(address: IpAddr, prefix: u8) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let prefix = prefix.min(32);
                Network::V4(Ipv4Addr::from_bits(address.to_bits() & mask_v4(prefix)), prefix)
            }
            IpAddr::V6(address) => {
                let prefix = prefix.min(128);
                Network::V6(Ipv6Addr::from_bits(address.to_bits() & mask_v6(prefix)), prefix)
            }
        }
    }

    /// Whether the address lies in the network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Network::V4(base, prefix), IpAddr::V4(address)) => address.to_bits() & mask_v4(*prefix) == base.to_bits(),
            (Network::V6(base, prefix), IpAddr::V6(address)) => address.to_bits() & mask_v6(*prefix) == base.to_bits(),
            _ => false,
        }
    }

    /// Whether it is the whole address space of its family.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        matches!(self, Network::V4(_, 0) | Network::V6(_, 0))
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Network::V4(address, prefix) => write!(f, "{address}/{prefix}"),
            Network::V6(address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

impl OptionValue for Network {
    const KIND: Kind = Kind::new("network", "\"192.0.2.0/24\", \"2001:db8::/32\" or one address");

    fn from_text(text: &str) -> Result<Self, Problem> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed(&Self::KIND, text))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let digits = prefix.filter(|prefix| !prefix.starts_with('+'));
        let length = match prefix {
            None => Some(longest),
            Some(_) => digits.and_then(|digits| digits.parse::<u8>().ok()).filter(|length| *length <= longest),
        };
        let Some(length) = length else {
            let what = quoted(prefix.unwrap_or_default());
            return Err(Problem::new(format!("\"{what}\" is not a prefix length of {address}; write 0 to {longest}")));
        };
        if address.to_canonical() != address {
            let v4 = address.to_canonical();
            return Err(Problem::new(format!("{address} is an IPv4 address inside IPv6; write it as IPv4"))
                .propose(Some(format!("{v4}/{}", length.saturating_sub(96)))));
        }
        let network = Network::around(address, length);
        if !network.has_base(address) {
            return Err(
                Problem::new(format!("{address} has bits beyond the prefix of {length}")).propose(Some(network))
            );
        }
        Ok(network)
    }

    fn to_toml(&self) -> String {
        toml_string(&self.to_string())
    }
}

impl Network {
    fn has_base(&self, address: IpAddr) -> bool {
        match self {
            Network::V4(base, _) => IpAddr::V4(*base) == address,
            Network::V6(base, _) => IpAddr::V6(*base) == address,
        }
    }
}

/// Several networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSet(Vec<Network>);

impl NetworkSet {
    /// Whether the address lies in one of them. Looks through the list; lists are short.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The networks, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Network> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        NetworkSet(networks.into_iter().collect())
    }
}

impl OptionValue for NetworkSet {
    const KIND: Kind = Kind::list("network", "\"192.0.2.0/24\", \"2001:db8::/32\" or one address");

    fn from_item(item: &Item) -> Result<Self, Problem> {
        Vec::from_item(item).map(NetworkSet)
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        Vec::from_text(text).map(NetworkSet)
    }

    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::from_text(text).unwrap()
    }

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        let loopback = network("127.0.0.0/8");
        assert!(loopback.contains("127.255.0.1".parse().unwrap()));
        assert!(loopback.contains("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!loopback.contains("128.0.0.0".parse().unwrap()));
        assert!(!loopback.contains("::1".parse().unwrap()));
        let v6 = network("2001:db8::/33");
        assert!(v6.contains("2001:db8:7fff::1".parse().unwrap()));
        assert!(!v6.contains("2001:db8:8000::1".parse().unwrap()));
        assert!(network("0.0.0.0/0").contains("255.255.255.255".parse().unwrap()));
        assert!(network("::/0").contains("ffff::".parse().unwrap()));
        assert!(network("::1").contains("::1".parse().unwrap()));
        assert_eq!(network("192.0.2.1"), network("192.0.2.1/32"));
        assert_eq!(Network::around("192.0.2.77".parse().unwrap(), 24), network("192.0.2.0/24"));
        assert_eq!(Network::around("::ffff:192.0.2.77".parse().unwrap(), 24), network("192.0.2.0/24"));
        assert_eq!(Network::around("192.0.2.77".parse().unwrap(), 200), network("192.0.2.77/32"));
    }

    #[test]
    fn bad_networks_are_refused_with_a_proposal() {
        let bad =
            ["", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/-1"];
        for text in bad {
            assert!(Network::from_text(text).is_err(), "{text}");
        }
        assert!(Network::from_text("10.1.2.3/8").unwrap_err().message.ends_with("did you mean `10.0.0.0/8`?"));
        let mapped = Network::from_text("::ffff:10.0.0.0/104").unwrap_err().message;
        assert!(mapped.ends_with("did you mean `10.0.0.0/8`?"), "{mapped}");
    }
}
