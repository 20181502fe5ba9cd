//! Marks that lead a bounce or a complaint back to the recipient it is about: one in the envelope sender (VERP), one in a
//! header field. Both carry a keyed code, so that nobody else can make a bounce for a recipient of their choice. The
//! sender's side seals, `examine` opens. Formats: `docs/formats/marks.md`. Keys are octets; who reads them from where is the
//! caller's affair.

use data_encoding::{BASE32_DNSSEC, BASE64URL_NOPAD};
use hmac::{Hmac, Mac as _};
use message::{Address, AddressError, Domain, LegacyId, MessageId};
use sha2::Sha256;
use std::fmt;

/// Fewest octets of a key.
pub const KEY_MIN: usize = 16;
/// Keys of a seal: the one in use and those that are being phased out.
pub const KEYS_MAX: usize = 4;
/// The header field that carries a mark, unless the operator names another.
pub const MARK_HEADER: &str = "X-Posthaste-Mark";
/// Octets of the prefix of a return path.
pub const PREFIX_MAX: usize = 16;

/// Octets of the code in a return path, which must be short.
const SHORT_CODE: usize = 8;
/// Octets of the code in a header field.
const LONG_CODE: usize = 16;
/// Octets of a local part (RFC 5321 §4.5.3.1.1).
const LOCAL_PART_MAX: usize = 64;
/// Characters of a header's mark that are read: the longest address needs 384.
const HEADER_MAX: usize = 600;

/// Seals and opens marks. Debug output shows no key.
#[derive(Clone)]
pub struct Seal {
    /// The first one seals; all open.
    keys: Vec<Hmac<Sha256>>,
}

/// What a mark says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The recipient's own id in the logs.
    pub id: MarkedId,
    /// The recipient, if the mark had room for it.
    pub recipient: Option<Address>,
}

/// The id in a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkedId {
    /// All of it.
    Full(MessageId),
    /// As logs print it.
    Printed(LegacyId),
}

/// A seal cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No key, or more than [`KEYS_MAX`].
    Count(usize),
    /// A key of fewer than [`KEY_MIN`] octets.
    Short(usize),
}

/// A return path cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkError {
    /// The prefix is empty, longer than [`PREFIX_MAX`], or not of letters, digits, `-`, `_` and `.`.
    Prefix,
    /// The domain makes no address.
    Address(AddressError),
}

/// A mark is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is no mark.
    Unmarked,
    /// No key made this mark, or it was changed since.
    Forged,
    /// It is ours, and too old to be believed.
    Stale,
}

/// The three forms, kept apart inside the code.
#[derive(Clone, Copy)]
enum Form {
    /// Return path: printed id and the recipient in plain.
    Plain = 1,
    /// Return path: full id only.
    Bare = 2,
    /// Header field: full id and recipient.
    Header = 3,
}

impl Seal {
    /// The first key seals, every key opens.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn new(keys: &[&[u8]]) -> Result<Self, KeyError> {
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(KeyError::Count(keys.len()));
        }
        if let Some(short) = keys.iter().find(|key| key.len() < KEY_MIN) {
            return Err(KeyError::Short(short.len()));
        }
        let keyed = |key: &&[u8]| Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Ok(Self { keys: keys.iter().map(keyed).collect() })
    }

    /// The envelope sender for one recipient: `PREFIX+MARK-LOCAL=DOMAIN@domain`, or `PREFIX+MARK@domain` where the
    /// recipient does not fit into 64 octets or has quotes, letters beyond ASCII or no domain name.
    ///
    /// # Errors
    /// See [`MarkError`].
    pub fn return_path(
        &self,
        prefix: &str,
        domain: &str,
        id: MessageId,
        recipient: &Address,
    ) -> Result<Address, MarkError> {
        let letter = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
        let dots = prefix.starts_with('.') || prefix.ends_with('.') || prefix.contains("..");
        if prefix.is_empty() || prefix.len() > PREFIX_MAX || dots || !prefix.bytes().all(letter) {
            return Err(MarkError::Prefix);
        }
        let local = plain_of(recipient)
            .map(|plain| {
                let printed = printed_octets(id.legacy());
                let code = self.code(Form::Plain, &printed, recipient.as_str());
                let mark = BASE32_DNSSEC.encode(&[&code[..SHORT_CODE], &printed].concat());
                format!("{prefix}+1{mark}-{plain}")
            })
            .filter(|local| local.len() <= LOCAL_PART_MAX);
        let local = local.unwrap_or_else(|| {
            let full = id.0.to_be_bytes();
            let code = self.code(Form::Bare, &full, "");
            format!("{prefix}+2{}", BASE32_DNSSEC.encode(&[&code[..SHORT_CODE], &full].concat()))
        });
        Address::new(&local, domain).map_err(MarkError::Address)
    }

    /// What the local part of a return path says. The case of letters does not matter.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_return_path(&self, local_part: &str) -> Result<Origin, OpenError> {
        let (_, mark) = local_part.split_once('+').ok_or(OpenError::Unmarked)?;
        let (form, rest) = mark.split_at_checked(1).ok_or(OpenError::Unmarked)?;
        let decode = |text: &str| BASE32_DNSSEC.decode(text.as_bytes()).map_err(|_| OpenError::Unmarked);
        match form {
            "1" => {
                let (mark, plain) = rest.split_once('-').ok_or(OpenError::Unmarked)?;
                let octets: [u8; 16] = decode(mark)?.try_into().map_err(|_| OpenError::Unmarked)?;
                let (code, printed) = octets.split_at(SHORT_CODE);
                let (local, domain) = plain.rsplit_once('=').ok_or(OpenError::Unmarked)?;
                let recipient = Address::new(local, domain).map_err(|_| OpenError::Unmarked)?;
                self.verify(Form::Plain, printed, recipient.as_str(), code)?;
                Ok(Origin { id: MarkedId::Printed(printed_id(printed)), recipient: Some(recipient) })
            }
            "2" => {
                let octets: [u8; 24] = decode(rest)?.try_into().map_err(|_| OpenError::Unmarked)?;
                let (code, full) = octets.split_at(SHORT_CODE);
                self.verify(Form::Bare, full, "", code)?;
                Ok(Origin { id: MarkedId::Full(full_id(full)), recipient: None })
            }
            _ => Err(OpenError::Unmarked),
        }
    }

    /// The value of the header field for one recipient: one word, at most 388 characters.
    pub fn header(&self, id: MessageId, recipient: &Address) -> String {
        let full = id.0.to_be_bytes();
        let code = self.code(Form::Header, &full, recipient.as_str());
        let octets = [&code[..LONG_CODE], &full, recipient.as_str().as_bytes()].concat();
        format!("1.{}", BASE64URL_NOPAD.encode(&octets))
    }

    /// What a header field's value says. Blanks in it, as folding leaves them, do not matter.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_header(&self, value: &str) -> Result<Origin, OpenError> {
        let value: String = value.chars().filter(|c| !c.is_whitespace()).take(HEADER_MAX).collect();
        let mark = value.strip_prefix("1.").ok_or(OpenError::Unmarked)?;
        let octets = BASE64URL_NOPAD.decode(mark.as_bytes()).map_err(|_| OpenError::Unmarked)?;
        let (code, rest) = octets.split_at_checked(LONG_CODE).ok_or(OpenError::Unmarked)?;
        let (full, recipient) = rest.split_at_checked(16).ok_or(OpenError::Unmarked)?;
        let recipient = std::str::from_utf8(recipient).map_err(|_| OpenError::Unmarked)?;
        self.verify(Form::Header, full, recipient, code)?;
        let recipient = Address::parse(recipient).map_err(|_| OpenError::Forged)?;
        Ok(Origin { id: MarkedId::Full(full_id(full)), recipient: Some(recipient) })
    }

    fn code(&self, form: Form, id: &[u8], recipient: &str) -> [u8; 32] {
        keyed(&self.keys[0], form, id, recipient).finalize().into_bytes().into()
    }

    /// Compares in constant time, with every key.
    fn verify(&self, form: Form, id: &[u8], recipient: &str, code: &[u8]) -> Result<(), OpenError> {
        let fits = |key: &Hmac<Sha256>| keyed(key, form, id, recipient).verify_truncated_left(code).is_ok();
        if self.keys.iter().any(fits) { Ok(()) } else { Err(OpenError::Forged) }
    }
}

/// Lower case, because hosts on the way back may change the case of a local part.
fn keyed(key: &Hmac<Sha256>, form: Form, id: &[u8], recipient: &str) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(b"posthaste mark 1\0");
    mac.update(&[form as u8]);
    mac.update(id);
    mac.update(recipient.to_ascii_lowercase().as_bytes());
    mac
}

/// `LOCAL=DOMAIN`, if that can stand in a local part without quotes.
fn plain_of(recipient: &Address) -> Option<String> {
    let Domain::Name(domain) = recipient.domain() else { return None };
    let local = recipient.local_part();
    let atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet);
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    (!dots && local.bytes().chain(domain.bytes()).all(atom)).then(|| format!("{local}={domain}"))
}

fn printed_octets(id: LegacyId) -> [u8; 8] {
    let number = u64::from(id.seconds) << 32 | u64::from(id.pid) << 16 | u64::from(id.counter);
    number.to_be_bytes()
}

fn printed_id(octets: &[u8]) -> LegacyId {
    let number = octets.iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet));
    LegacyId { seconds: (number >> 32) as u32, pid: (number >> 16) as u16, counter: number as u16 }
}

fn full_id(octets: &[u8]) -> MessageId {
    MessageId(octets.iter().fold(0u128, |number, octet| number << 8 | u128::from(*octet)))
}

impl MarkedId {
    /// When the message was received that the mark left with, in seconds since 1970 (their low 32 bits): the mark's age
    /// counts from here.
    pub const fn seconds(self) -> u32 {
        self.legacy().seconds
    }

    /// As logs print it.
    pub const fn legacy(self) -> LegacyId {
        match self {
            Self::Full(id) => id.legacy(),
            Self::Printed(id) => id,
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({} keys)", self.keys.len())
    }
}

impl fmt::Display for MarkedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(id) => id.fmt(f),
            Self::Printed(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count} keys; 1 to {KEYS_MAX} are right"),
            Self::Short(octets) => write!(f, "a key of {octets} octets; at least {KEY_MIN} are needed"),
        }
    }
}

impl std::error::Error for KeyError {}

impl fmt::Display for MarkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => {
                write!(f, "the prefix of a return path has 1 to {PREFIX_MAX} letters, digits, `-`, `_` and inner `.`")
            }
            Self::Address(error) => write!(f, "the return path makes no address: {error}"),
        }
    }
}

impl std::error::Error for MarkError {}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unmarked => "there is no mark",
            Self::Forged => "the mark was made with no key of ours",
            Self::Stale => "the mark is too old",
        })
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0123456789abcdef";
    const ID: MessageId = MessageId::new(1_700_000_000, 7, 0xABCD_EF01, 0x0001_1234);

    fn seal() -> Seal {
        Seal::new(&[KEY]).unwrap()
    }

    #[test]
    fn a_return_path_leads_back() {
        let recipient = Address::parse("Joe+x@example.org").unwrap();
        let path = seal().return_path("bounce", "Return.example.com", ID, &recipient).unwrap();
        assert_eq!(path.as_str(), "bounce+17gj770dkrjevspaju40001oi6g-Joe+x=example.org@return.example.com");
        let origin = seal().open_return_path(path.local_part()).unwrap();
        assert_eq!(origin, Origin { id: MarkedId::Printed(ID.legacy()), recipient: Some(recipient) });
        let upper = path.local_part().to_ascii_uppercase();
        assert_eq!(seal().open_return_path(&upper).unwrap().id, MarkedId::Printed(ID.legacy()));
    }

    #[test]
    fn what_does_not_fit_leads_back_by_its_id() {
        for long in [
            "a-very-long-local-part-of-somebody@a-long-domain.example.org",
            "\"a b\"@example.org",
            "ü@example.org",
            "joe@[127.0.0.1]",
            "postmaster",
        ] {
            let path = seal().return_path("b", "example.com", ID, &Address::parse(long).unwrap()).unwrap();
            assert!(path.local_part().len() <= 64 && path.is_ascii());
            assert_eq!(
                seal().open_return_path(path.local_part()),
                Ok(Origin { id: MarkedId::Full(ID), recipient: None }),
                "{long}"
            );
        }
    }

    #[test]
    fn a_header_leads_back() {
        let recipient = Address::parse("\"a@ü\"@example.org").unwrap();
        let value = seal().header(ID, &recipient);
        let folded = format!("{}\r\n {}", &value[..20], &value[20..]);
        let origin = Origin { id: MarkedId::Full(ID), recipient: Some(recipient) };
        assert_eq!(seal().open_header(&folded), Ok(origin));
        let longest = Address::new(&"l".repeat(64), &"d".repeat(189)).unwrap();
        let value = seal().header(ID, &longest);
        assert!(value.len() <= 388, "{}", value.len());
        assert_eq!(seal().open_header(&value).unwrap().recipient, Some(longest));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let recipient = Address::parse("joe@example.org").unwrap();
        let path = seal().return_path("b", "example.com", ID, &recipient).unwrap();
        let local = path.local_part();
        for at in 2..local.len() {
            let mut changed = local.as_bytes().to_vec();
            changed[at] = if changed[at] == b'k' { b'j' } else { b'k' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(seal().open_return_path(&changed).is_err(), "{changed}");
        }
        assert_eq!(seal().open_return_path(&local.replace("joe=", "jim=")), Err(OpenError::Forged));
        assert_eq!(Seal::new(&[b"another key of ours"]).unwrap().open_return_path(local), Err(OpenError::Forged));
    }

    #[test]
    fn keys_are_phased_out() {
        let (old, new): (&[u8], &[u8]) = (KEY, b"fedcba9876543210");
        let value = seal().header(ID, &Address::parse("joe@example.org").unwrap());
        assert!(Seal::new(&[new, old]).unwrap().open_header(&value).is_ok());
        assert_eq!(Seal::new(&[new]).unwrap().open_header(&value), Err(OpenError::Forged));
        assert_eq!(Seal::new(&[b"short"]).unwrap_err(), KeyError::Short(5));
        assert_eq!(Seal::new(&[]).unwrap_err(), KeyError::Count(0));
        assert_eq!(format!("{:?}", seal()), "Seal(1 keys)");
    }

    #[test]
    fn what_is_no_mark_is_said_so() {
        for local in ["", "joe", "joe+list", "b+", "b+1", "b+1-", "b+1f7-a=b", "b+2f7", "b+ü"] {
            assert_eq!(seal().open_return_path(local), Err(OpenError::Unmarked), "{local}");
        }
        for value in ["", "1.", "1.?", "2.AAAA", "1.AAAA"] {
            assert_eq!(seal().open_header(value), Err(OpenError::Unmarked), "{value}");
        }
        let recipient = Address::parse("joe@example.org").unwrap();
        for prefix in ["", "a+b", "a b", ".a", "a..b", "abcdefghijklmnopq"] {
            assert_eq!(seal().return_path(prefix, "example.com", ID, &recipient), Err(MarkError::Prefix));
        }
    }
}
