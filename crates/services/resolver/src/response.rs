//! Bytes from the network to an [`Answer`]. Pure and total: any input gives a value or a typed error in bounded work, so
//! that a fuzzer can call [`parse_response`] directly. Whatever a server sends is checked here, once.

use std::fmt;
use std::sync::Arc;

use hickory_proto::op::{Header, HeaderCounts, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use policy::{DnsName, Exchange, Host, RouteKind};

use crate::answer::{ALIASES_MAX, Answer, RECORDS_MAX, Records};
use crate::{Question, RecordKind};

/// A response that belongs to the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Does not fit; to be asked for again by TCP (RFC 7766).
    Truncated,
    /// Answered.
    Answer(Answer),
    /// Not answered.
    Refused(Refusal),
}

/// How a server declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// SERVFAIL, REFUSED or any code but success and NXDOMAIN.
    Failure,
    /// FORMERR, NOTIMP or BADVERS: perhaps it would understand a query without EDNS (RFC 6891 §6.2.2).
    Format,
    /// It named other servers instead: it does not recurse.
    Delegation,
}

/// Why bytes are no response to the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// Shorter than a header, a query, or another kind of message.
    NotAResponse,
    /// The id of another query.
    WrongId,
    /// Another question, or not exactly one.
    WrongQuestion,
    /// The id and question are right, the rest cannot be read.
    Malformed,
    /// The aliases lead back to one of them, or are more than [`ALIASES_MAX`].
    AliasLoop,
}

impl ResponseError {
    /// Whether the packet may come from somebody else, so that the server's own may still arrive (RFC 5452 §9.1).
    pub const fn is_foreign(self) -> bool {
        matches!(self, Self::NotAResponse | Self::WrongId | Self::WrongQuestion)
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAResponse => "not a response",
            Self::WrongId => "response to another id",
            Self::WrongQuestion => "response to another question",
            Self::Malformed => "malformed response",
            Self::AliasLoop => "loop of aliases",
        })
    }
}

impl std::error::Error for ResponseError {}

/// Reads the response to `question` asked with `id`.
///
/// Work: one pass over the packet, which the transport bounds at 64 KiB, and [`ALIASES_MAX`] passes over its answers.
///
/// # Errors
/// See [`ResponseError`].
pub fn parse_response(packet: &[u8], id: u16, question: &Question) -> Result<Response, ResponseError> {
    let mut decoder = BinDecoder::new(packet);
    let header = Header::read(&mut decoder).map_err(|_| ResponseError::NotAResponse)?;
    if header.message_type != MessageType::Response || header.op_code != OpCode::Query {
        return Err(ResponseError::NotAResponse);
    }
    if header.id != id {
        return Err(ResponseError::WrongId);
    }
    if header.counts.queries == 0 && matches!(header.response_code, ResponseCode::FormErr | ResponseCode::NotImp) {
        return Ok(Response::Refused(Refusal::Format)); // Some servers send only the header back.
    }
    if header.counts.queries != 1 {
        return Err(ResponseError::WrongQuestion);
    }
    let asked = Query::read(&mut decoder).map_err(|_| ResponseError::WrongQuestion)?;
    let same_type = asked.query_type == question.kind.record_type() && asked.query_class == DNSClass::IN;
    if !same_type || asked.name != question.name {
        return Err(ResponseError::WrongQuestion);
    }
    if header.truncation {
        return Ok(Response::Truncated);
    }
    let sections = Sections::read(&mut decoder, &header.counts)?;
    match (header.response_code, sections.code_high) {
        (ResponseCode::NoError, 0) => sections.answer(question, Existence::Exists),
        (ResponseCode::NXDomain, 0) => sections.answer(question, Existence::Missing),
        (ResponseCode::FormErr | ResponseCode::NotImp, 0) => Ok(Response::Refused(Refusal::Format)),
        // BADVERS is 16: the high octet 1 with the low bits of success.
        (ResponseCode::NoError, 1) => Ok(Response::Refused(Refusal::Format)),
        _ => Ok(Response::Refused(Refusal::Failure)),
    }
}

/// What the code of the response says about the last name of the chain (RFC 6604).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existence {
    Exists,
    Missing,
}

struct Sections {
    answers: Vec<Record>,
    authorities: Vec<Record>,
    /// The high octet of the response code, from the OPT record (RFC 6891 §6.1.3).
    code_high: u8,
}

impl Sections {
    fn read(decoder: &mut BinDecoder<'_>, counts: &HeaderCounts) -> Result<Self, ResponseError> {
        let mut read = |count: u16| -> Result<Vec<Record>, ResponseError> {
            let mut records = Vec::new();
            for _ in 0..count {
                records.push(Record::read(decoder).map_err(|_| ResponseError::Malformed)?);
            }
            Ok(records)
        };
        let answers = read(counts.answers)?;
        let authorities = read(counts.authorities)?;
        // Additional records are never believed, so damage among them does no harm; only the OPT record is looked for.
        let mut code_high = 0;
        for _ in 0..counts.additionals {
            match Record::read(decoder) {
                Ok(record) if record.record_type() == RecordType::OPT => {
                    code_high = (record.ttl >> 24) as u8;
                    break;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Ok(Self { answers, authorities, code_high })
    }

    fn answer(&self, question: &Question, existence: Existence) -> Result<Response, ResponseError> {
        let (name, ttl) = self.follow_aliases(question)?;
        if let Some((records, records_ttl)) = self.records(&name, question.kind) {
            return Ok(Response::Answer(Answer::Records { records, ttl: ttl.min(records_ttl) }));
        }
        let negative_ttl = self.negative_ttl(&name).map(|negative| negative.min(ttl));
        if existence == Existence::Missing {
            return Ok(Response::Answer(Answer::NoDomain { ttl: negative_ttl }));
        }
        if negative_ttl.is_none() && name != question.name {
            return Ok(Response::Answer(Answer::Alias { target: name.to_lowercase(), ttl }));
        }
        if negative_ttl.is_none() && self.authorities.iter().any(|record| record.record_type() == RecordType::NS) {
            return Ok(Response::Refused(Refusal::Delegation));
        }
        Ok(Response::Answer(Answer::NoData { ttl: negative_ttl }))
    }

    /// The name at the end of the aliases, and the least lifetime among them in seconds.
    fn follow_aliases(&self, question: &Question) -> Result<(Name, u32), ResponseError> {
        let mut name = question.name.clone();
        let mut ttl = u32::MAX;
        for _ in 0..=ALIASES_MAX {
            let alias = self.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if is_at(record, &name) => Some((&target.0, record.ttl)),
                _ => None,
            });
            match alias {
                Some((target, alias_ttl)) => {
                    name.clone_from(target);
                    ttl = ttl.min(clean_ttl(alias_ttl));
                }
                None => return Ok((name, ttl)),
            }
        }
        Err(ResponseError::AliasLoop)
    }

    /// The records of the type at `name`, and their least lifetime in seconds.
    fn records(&self, name: &Name, kind: RecordKind) -> Option<(Records, u32)> {
        let wanted = kind.record_type();
        let set = || self.answers.iter().filter(|record| record.record_type() == wanted && is_at(record, name));
        let ttl = set().map(|record| clean_ttl(record.ttl)).min()?;
        let records = match kind {
            RecordKind::A => Records::A(pick(set(), |data| match data {
                RData::A(address) => Some(address.0),
                _ => None,
            })),
            RecordKind::Aaaa => Records::Aaaa(pick(set(), |data| match data {
                RData::AAAA(address) => Some(address.0),
                _ => None,
            })),
            RecordKind::Txt => Records::Txt(pick(set(), |data| match data {
                RData::TXT(text) => Some(text.txt_data.concat().into_boxed_slice()),
                _ => None,
            })),
            RecordKind::Ptr => Records::Ptr(pick(set(), |data| match data {
                RData::PTR(target) => readable_name(&target.0),
                _ => None,
            })),
            RecordKind::Mx => Records::Mx(Arc::new(mail_route(set()))),
        };
        Some((records, ttl))
    }

    /// How long the absence of something at `name` may be remembered (RFC 2308 §5): the lesser of the SOA's own lifetime
    /// and its minimum. A SOA of an unrelated zone says nothing.
    fn negative_ttl(&self, name: &Name) -> Option<u32> {
        self.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) if record.name.zone_of(name) => Some(clean_ttl(record.ttl).min(clean_ttl(soa.minimum))),
            _ => None,
        })
    }
}

fn is_at(record: &Record, name: &Name) -> bool {
    record.dns_class == DNSClass::IN && record.name == *name
}

/// A lifetime with the top bit set is zero (RFC 2181 §8).
const fn clean_ttl(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

fn pick<'a, T>(set: impl Iterator<Item = &'a Record>, read: impl Fn(&RData) -> Option<T>) -> Arc<[T]> {
    set.filter_map(|record| read(&record.data)).take(RECORDS_MAX).collect()
}

/// An `MX` set as a route. A null MX beside others breaks RFC 7505 §3 and is left out.
fn mail_route<'a>(set: impl Iterator<Item = &'a Record>) -> RouteKind {
    let mut exchanges = Vec::new();
    let mut has_null = false;
    let mut has_other = false;
    for record in set {
        let RData::MX(mx) = &record.data else { continue };
        if mx.exchange.is_root() {
            has_null = true;
            continue;
        }
        has_other = true;
        if let Some(host) = exchange_host(&mx.exchange) {
            exchanges.push(Exchange { preference: mx.preference, host });
        }
    }
    if has_null && !has_other {
        return RouteKind::NullMx;
    }
    exchanges.sort_by_key(|exchange| exchange.preference);
    exchanges.truncate(RECORDS_MAX);
    RouteKind::Mx(exchanges)
}

/// The target of an `MX`: a name, or an address spelt where a name should be (`mxip`); IPv6 is one label then.
fn exchange_host(name: &Name) -> Option<Host> {
    if name.num_labels() == 1 {
        let address = name.iter().next().and_then(|label| std::str::from_utf8(label).ok()?.parse().ok());
        if let Some(address) = address {
            return Some(Host::Address(address));
        }
    }
    let name = readable_name(name)?;
    Some(name.as_address().map_or(Host::Name(name), Host::Address))
}

/// A name off the wire as text, unless it has octets that no host has.
fn readable_name(name: &Name) -> Option<DnsName> {
    let mut text = String::with_capacity(name.len());
    for label in name {
        if label.contains(&b'.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(std::str::from_utf8(label).ok()?);
    }
    text.is_ascii().then(|| DnsName::parse(&text).ok()).flatten()
}

#[cfg(test)]
mod tests;
