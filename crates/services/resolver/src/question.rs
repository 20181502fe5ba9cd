//! What is asked: a name and a type, the key of the cache and of the table of questions in flight.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use policy::DnsName;

use crate::{Answer, Records};

/// What a server may send by UDP: fits every path without fragments (DNS flag day 2020).
pub(crate) const UDP_PAYLOAD_MAX: u16 = 1232;
/// How long an answer holds that no server gave (RFC 6761).
const SPECIAL_TTL_SECONDS: u32 = 86_400;

/// A record type that mail needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Mail exchange.
    Mx,
    /// Text.
    Txt,
    /// Name of an address.
    Ptr,
}

impl RecordKind {
    /// All of them, in the order of their numbers in statistics.
    pub const ALL: [Self; 5] = [Self::A, Self::Aaaa, Self::Mx, Self::Txt, Self::Ptr];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Mx => RecordType::MX,
            Self::Txt => RecordType::TXT,
            Self::Ptr => RecordType::PTR,
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record_type().fmt(f)
    }
}

/// A name, lower case and complete, with a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    pub(crate) name: Name,
    pub(crate) kind: RecordKind,
}

impl Question {
    /// Asks for `kind` at `name`.
    pub fn new(name: &DnsName, kind: RecordKind) -> Self {
        let labels = name.labels().map(str::as_bytes);
        let name = Name::from_labels(labels).expect("a DnsName has labels of 1 to 63 octets, 253 octets in all");
        Self { name, kind }
    }

    /// Asks for the names of `address` (RFC 1035 §3.5, RFC 3596 §2.5).
    pub fn reverse(address: IpAddr) -> Self {
        let mut name = Name::from(address);
        name.set_fqdn(true);
        Self { name, kind: RecordKind::Ptr }
    }

    /// The same type at another name, as a server wrote it.
    pub(crate) fn at(&self, name: &Name) -> Self {
        Self { name: name.to_lowercase(), kind: self.kind }
    }

    /// The query on the wire: recursion desired, one question, with EDNS or without (RFC 6891).
    pub(crate) fn to_wire(&self, id: u16, edns: EdnsUse) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.kind.record_type()));
        if edns == EdnsUse::Offered {
            let mut offer = Edns::new();
            offer.set_max_payload(UDP_PAYLOAD_MAX);
            message.set_edns(offer);
        }
        message.to_vec().expect("one question with a valid name always fits")
    }

    /// The answer that needs no server (RFC 6761 §6.3, §6.4; RFC 7686; a name whose last label is a number is an address
    /// that lost its brackets). `test` and `example` are asked for like any other.
    pub(crate) fn special_answer(&self) -> Option<Answer> {
        let last = self.name.iter().next_back()?;
        let ttl = SPECIAL_TTL_SECONDS;
        match (last, self.kind) {
            (b"localhost", RecordKind::A) => {
                Some(Answer::Records { records: Records::A(Arc::from([Ipv4Addr::LOCALHOST])), ttl })
            }
            (b"localhost", RecordKind::Aaaa) => {
                Some(Answer::Records { records: Records::Aaaa(Arc::from([Ipv6Addr::LOCALHOST])), ttl })
            }
            (b"localhost", _) => Some(Answer::NoData { ttl: Some(ttl) }),
            (b"invalid" | b"onion", _) => Some(Answer::NoDomain { ttl: Some(ttl) }),
            (label, _) if label.iter().all(u8::is_ascii_digit) => Some(Answer::NoDomain { ttl: Some(ttl) }),
            _ => None,
        }
    }

    /// Octets on the wire, for the estimate of a cache entry.
    pub(crate) fn len(&self) -> usize {
        self.name.len()
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// Whether a query carries an OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EdnsUse {
    Offered,
    Without,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str, kind: RecordKind) -> Question {
        Question::new(&DnsName::parse(name).unwrap(), kind)
    }

    #[test]
    fn the_wire_form_reads_back() {
        let wire = question("Mail.Example.org", RecordKind::Mx).to_wire(0x1234, EdnsUse::Offered);
        let message = Message::from_vec(&wire).unwrap();
        assert_eq!(message.metadata.id, 0x1234);
        assert!(message.metadata.recursion_desired);
        assert_eq!(message.queries[0].to_string(), "mail.example.org. IN MX");
        assert_eq!(message.edns.unwrap().max_payload(), UDP_PAYLOAD_MAX);
        assert_eq!(question("a.b", RecordKind::A).to_wire(1, EdnsUse::Without).len(), 12 + 5 + 4);
    }

    #[test]
    fn the_reverse_tree_is_asked_complete() {
        assert_eq!(Question::reverse("192.0.2.1".parse().unwrap()).to_string(), "PTR 1.2.0.192.in-addr.arpa.");
        let six = Question::reverse("2001:db8::1".parse().unwrap()).to_string();
        assert!(six.starts_with("PTR 1.0.0.0.") && six.ends_with("8.b.d.0.1.0.0.2.ip6.arpa."), "{six}");
    }

    #[test]
    fn special_names_ask_nobody() {
        let is_none = |name, kind| question(name, kind).special_answer().is_none();
        assert!(matches!(
            question("localhost", RecordKind::A).special_answer(),
            Some(Answer::Records { records: Records::A(list), .. }) if list[0].is_loopback()
        ));
        assert!(matches!(
            question("a.localhost", RecordKind::Aaaa).special_answer(),
            Some(Answer::Records { records: Records::Aaaa(list), .. }) if list[0].is_loopback()
        ));
        assert!(matches!(question("localhost", RecordKind::Mx).special_answer(), Some(Answer::NoData { .. })));
        for name in ["invalid", "x.invalid", "x.onion", "192.0.2.1"] {
            assert!(matches!(question(name, RecordKind::A).special_answer(), Some(Answer::NoDomain { .. })), "{name}");
        }
        assert!(is_none("x.test", RecordKind::A) && is_none("localhost.example", RecordKind::A));
        assert!(Question::reverse("127.0.0.1".parse().unwrap()).special_answer().is_none());
    }
}
