//! An entry as octets: the one form in memory, in the log and in the base file. See `docs/formats/suppression.md`.
//!
//! ```text
//!  flags 1 | class 1 | address length 2 | address | added 4 | [expires 4] | [length 1, tenant] | length 1, source
//! ```
//! A removal is a record with its own flag: it takes the place of the entry with the same address and scope.

use crate::address::Key;
use crate::entry::{Entry, Kind, Label, Reason, Scope, Second};
use std::cmp::Ordering;

const KIND_BITS: u8 = 0b11;
const REASON_SHIFT: u8 = 2;
const REASON_BITS: u8 = 0b11;
const HAS_EXPIRY: u8 = 0b1_0000;
const HAS_TENANT: u8 = 0b10_0000;
const IS_REMOVAL: u8 = 0b100_0000;
const UNUSED: u8 = 0b1000_0000;
/// Octets before the address.
const HEAD: usize = 4;

/// A record, looked at where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    flags: u8,
    class: u8,
    pub(crate) address: &'a [u8],
    pub(crate) added: Second,
    pub(crate) expires: Option<Second>,
    tenant: &'a [u8],
    source: &'a [u8],
    /// All of it.
    pub(crate) octets: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the start of `octets`; `None` if there is none. Whether texts are texts is `is_sound`'s to say.
    pub(crate) fn read(octets: &'a [u8]) -> Option<Record<'a>> {
        let (&flags, &class) = (octets.first()?, octets.get(1)?);
        let length = usize::from(u16::from_le_bytes([*octets.get(2)?, *octets.get(3)?]));
        let mut at = HEAD;
        let address = take(octets, &mut at, length)?;
        let added = take_second(octets, &mut at)?;
        let expires = if flags & HAS_EXPIRY != 0 { Some(take_second(octets, &mut at)?) } else { None };
        let tenant = if flags & HAS_TENANT != 0 { take_text(octets, &mut at)? } else { &[] };
        let source = take_text(octets, &mut at)?;
        Some(Record { flags, class, address, added, expires, tenant, source, octets: &octets[..at] })
    }

    /// The address of a record known to be whole: nothing else of it is looked at.
    pub(crate) fn address_at(octets: &'a [u8], at: usize) -> &'a [u8] {
        let length = usize::from(u16::from_le_bytes([octets[at + 2], octets[at + 3]]));
        &octets[at + HEAD..at + HEAD + length]
    }

    /// Whether the record is one that [`put`] or [`put_removal`] writes.
    pub(crate) fn is_sound(&self) -> bool {
        let is_text = |octets: &[u8]| std::str::from_utf8(octets).is_ok_and(|text| !text.chars().any(char::is_control));
        let is_label = |octets: &[u8]| octets.len() <= Label::OCTETS_MAX && is_text(octets);
        self.flags & UNUSED == 0
            && self.flags & KIND_BITS != KIND_BITS
            && (1..=Key::OCTETS_MAX).contains(&self.address.len())
            && is_text(self.address)
            && (self.flags & HAS_TENANT == 0) == self.tenant.is_empty()
            && is_label(self.tenant)
            && is_label(self.source)
            && (self.is_removal() || !self.source.is_empty())
    }

    pub(crate) fn is_removal(&self) -> bool {
        self.flags & IS_REMOVAL != 0
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.flags & KIND_BITS {
            1 => Kind::Transactional,
            2 => Kind::NonTransactional,
            _ => Kind::All,
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        match self.flags >> REASON_SHIFT & REASON_BITS {
            0 => Reason::Bounce(self.class),
            1 => Reason::Complaint,
            2 => Reason::Unsubscribe,
            _ => Reason::Manual,
        }
    }

    /// Whether it is an entry that holds at `now`.
    pub(crate) fn is_live(&self, now: Second) -> bool {
        !self.is_removal() && self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether it stops mail of that kind of that tenant; `None` asks for mail of no tenant.
    pub(crate) fn covers(&self, tenant: Option<&str>, kind: Kind) -> bool {
        let is_for = self.tenant.is_empty() || tenant.is_some_and(|tenant| tenant.as_bytes() == self.tenant);
        is_for && self.kind().covers(kind)
    }

    pub(crate) fn same_scope(&self, other: &Record<'_>) -> bool {
        self.flags & KIND_BITS == other.flags & KIND_BITS && self.tenant == other.tenant
    }

    /// The order of records in a table: by address, then by scope.
    pub(crate) fn order(&self, other: &Record<'_>) -> Ordering {
        let scope = |record: &Record<'_>| record.flags & KIND_BITS;
        self.address
            .cmp(other.address)
            .then_with(|| self.tenant.cmp(other.tenant))
            .then_with(|| scope(self).cmp(&scope(other)))
    }

    pub(crate) fn scope(&self) -> Scope {
        let tenant = (!self.tenant.is_empty()).then(|| Label::from_record(self.tenant));
        Scope { tenant, kind: self.kind() }
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry {
            key: Key::from_record(self.address),
            scope: self.scope(),
            reason: self.reason(),
            source: Label::from_record(self.source),
            added: self.added,
            expires: self.expires,
        }
    }
}

/// Appends an entry.
pub(crate) fn put(out: &mut Vec<u8>, entry: &Entry) {
    let (reason, class) = match entry.reason {
        Reason::Bounce(class) => (0, class),
        Reason::Complaint => (1, 0),
        Reason::Unsubscribe => (2, 0),
        Reason::Manual => (3, 0),
    };
    let expiry = if entry.expires.is_some() { HAS_EXPIRY } else { 0 };
    let flags = reason << REASON_SHIFT | expiry;
    put_record(out, flags, class, &entry.key, &entry.scope, entry.added, entry.expires, entry.source.as_str());
}

/// Appends the removal of the entry of `key` in `scope`.
pub(crate) fn put_removal(out: &mut Vec<u8>, key: &Key, scope: &Scope) {
    put_record(out, IS_REMOVAL, 0, key, scope, Second(0), None, "");
}

#[expect(clippy::too_many_arguments, reason = "the fields of a record, each once")]
fn put_record(
    out: &mut Vec<u8>,
    flags: u8,
    class: u8,
    key: &Key,
    scope: &Scope,
    added: Second,
    expires: Option<Second>,
    source: &str,
) {
    let kind = match scope.kind {
        Kind::All => 0,
        Kind::Transactional => 1,
        Kind::NonTransactional => 2,
    };
    let tenant = if scope.tenant.is_some() { HAS_TENANT } else { 0 };
    let length = u16::try_from(key.octets().len()).expect("a key has at most 511 octets");
    out.extend_from_slice(&[flags | kind | tenant, class]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(key.octets());
    out.extend_from_slice(&added.0.to_le_bytes());
    if let Some(expires) = expires {
        out.extend_from_slice(&expires.0.to_le_bytes());
    }
    let texts = scope.tenant.as_ref().map(Label::as_str).into_iter().chain([source]);
    for text in texts {
        out.push(u8::try_from(text.len()).expect("a label has at most 64 octets"));
        out.extend_from_slice(text.as_bytes());
    }
}

/// The records that lie one behind the other in `octets`; ends early where there is none.
pub(crate) fn records(octets: &[u8]) -> impl Iterator<Item = (usize, Record<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let record = Record::read(octets.get(at..).filter(|rest| !rest.is_empty())?)?;
        let start = at;
        at += record.octets.len();
        Some((start, record))
    })
}

fn take<'a>(octets: &'a [u8], at: &mut usize, length: usize) -> Option<&'a [u8]> {
    let taken = octets.get(*at..*at + length)?;
    *at += length;
    Some(taken)
}

fn take_second(octets: &[u8], at: &mut usize) -> Option<Second> {
    let octets = take(octets, at, 4)?;
    Some(Second(u32::from_le_bytes(octets.try_into().ok()?)))
}

fn take_text<'a>(octets: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let length = take(octets, at, 1)?[0];
    take(octets, at, usize::from(length))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn entry(address: &str) -> Entry {
        Entry {
            key: Key::parse(address).unwrap(),
            scope: Scope::default(),
            reason: Reason::Bounce(10),
            source: Label::new("test").unwrap(),
            added: Second(1_000),
            expires: None,
        }
    }

    #[test]
    fn entries_are_read_back() {
        let plain = entry("user@example.org");
        let tenant = Some(Label::new("acme").unwrap());
        let full = Entry {
            scope: Scope { tenant: tenant.clone(), kind: Kind::NonTransactional },
            reason: Reason::Unsubscribe,
            expires: Some(Second(5)),
            ..plain.clone()
        };
        let mut octets = Vec::new();
        put(&mut octets, &plain);
        put(&mut octets, &full);
        put_removal(&mut octets, &full.key, &full.scope);
        let all: Vec<_> = records(&octets).map(|(_, record)| record).collect();
        assert!(all.len() == 3 && all.iter().all(Record::is_sound));
        assert_eq!((all[0].entry(), all[1].entry()), (plain, full));
        assert!(all[2].is_removal() && all[2].same_scope(&all[1]) && !all[2].same_scope(&all[0]));
        assert_eq!(all[0].octets.len(), 4 + "user@example.org".len() + 4 + 5);
        assert!(all[1].is_live(Second(4)) && !all[1].is_live(Second(5)) && !all[2].is_live(Second(0)));
    }

    #[test]
    fn no_octets_are_read_beyond_the_end() {
        let mut octets = Vec::new();
        put(&mut octets, &Entry { expires: Some(Second(1)), ..entry("user@example.org") });
        for end in 0..octets.len() {
            assert!(Record::read(&octets[..end]).is_none(), "{end}");
        }
        for at in 0..octets.len() {
            for value in [0, 1, 64, 127, 255] {
                let mut broken = octets.clone();
                broken[at] = value;
                // Whatever it says, it is judged without a panic.
                let _ = Record::read(&broken).map(|record| record.is_sound());
            }
        }
    }

    #[test]
    fn tenants_and_kinds() {
        let with = |tenant: Option<&str>, kind| {
            let scope = Scope { tenant: tenant.map(|name| Label::new(name).unwrap()), kind };
            let mut octets = Vec::new();
            put(&mut octets, &Entry { scope, ..entry("a@b") });
            octets
        };
        let covers = |octets: &[u8], tenant, kind| Record::read(octets).unwrap().covers(tenant, kind);
        let all = with(None, Kind::All);
        assert!(covers(&all, None, Kind::Transactional) && covers(&all, Some("acme"), Kind::NonTransactional));
        let acme = with(Some("acme"), Kind::NonTransactional);
        assert!(covers(&acme, Some("acme"), Kind::NonTransactional) && covers(&acme, Some("acme"), Kind::All));
        assert!(!covers(&acme, None, Kind::NonTransactional) && !covers(&acme, Some("other"), Kind::NonTransactional));
        assert!(!covers(&acme, Some("acme"), Kind::Transactional));
    }
}
