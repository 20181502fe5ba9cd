//! Which mail an operator means: the words of a command, and whether a recipient that waits is meant.
//!
//! What the queue knows (container, age) is asked of the queue; sender, recipient, tenant and header fields need the message,
//! which whoever asks has to read. Filters come back from the file of redirections in the same words.

use config::{HeaderTest, parse_duration};
use message::{Address, Message, UnixMicros};
use scheduling::EntryFilter;

/// The keys of filters, for people who wrote another.
const KEYS: &str = "domain=, binding=, group=, tenant=, sender=, recipient=, header=, older=, younger=";
/// Header tests of one filter.
const HEADERS_MAX: usize = 16;

/// Which recipients are meant. All that is named must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// What the queue knows.
    pub(crate) entries: EntryFilter,
    sender: Option<Party>,
    recipient: Option<Party>,
    tenant: Option<Box<str>>,
    headers: Vec<HeaderTest>,
    words: Vec<String>,
    /// Whether anything was named, were it only `all`.
    named: Named,
}

/// Whether the operator said which mail is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Named {
    #[default]
    No,
    Yes,
}

/// One end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Party {
    /// The reverse-path `<>`.
    Nobody,
    /// All of a domain.
    Domain(Box<str>),
    /// One address.
    Address(Box<str>),
}

impl Party {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        match text.split_once('@') {
            _ if text.is_empty() => Ok(Self::Nobody),
            None | Some(("", _)) => Ok(Self::Domain(text.trim_start_matches('@').into())),
            Some(_) if !text.contains(char::is_whitespace) && Address::parse(text).is_ok() => {
                Ok(Self::Address(text.into()))
            }
            Some(_) => Err(format!("`{text}` is no address; write local@domain, @domain, or <> for none")),
        }
    }

    fn is(&self, address: Option<&Address>) -> bool {
        match (self, address) {
            (Self::Nobody, None) => true,
            (Self::Domain(domain), Some(address)) => address.domain_text().eq_ignore_ascii_case(domain),
            (Self::Address(wanted), Some(address)) => address.as_str().eq_ignore_ascii_case(wanted),
            (Self::Nobody, Some(_)) | (Self::Domain(_) | Self::Address(_), None) => false,
        }
    }
}

impl Filter {
    /// Takes the filters out of a command's words; `older` and `younger` count from `now`. The other words are returned in
    /// their order: those with a `=` that is no filter's, and `flags`.
    pub(crate) fn parse<'w>(
        words: &[&'w str],
        now: UnixMicros,
        flags: &[&str],
    ) -> Result<(Self, Vec<&'w str>), String> {
        let mut filter = Self::default();
        let (mut others, mut places) = (vec![], 0);
        for &word in words {
            match word.split_once('=') {
                Some((key, value)) if filter.take(key, value, now)? => filter.note(word),
                None if flags.contains(&word) => others.push(word),
                Some((key, _)) if flags.iter().any(|flag| flag.strip_suffix('=') == Some(key)) => others.push(word),
                Some((key, _)) => {
                    return Err(format!("`{key}=` is no filter and no word of this command; there are {KEYS}"));
                }
                None => {
                    filter.place(places, word)?;
                    places += 1;
                    filter.note(word);
                }
            }
        }
        Ok((filter, others))
    }

    fn note(&mut self, word: &str) {
        self.named = Named::Yes;
        self.words.push(word.to_owned());
    }

    /// A word without a key: first the domain, then the binding.
    fn place(&mut self, place: usize, word: &str) -> Result<(), String> {
        let named = (!matches!(word, "all" | "*")).then_some(word);
        match place {
            0 => self.entries.selector.domain = named.map(|domain| domain.to_ascii_lowercase().into()),
            1 => self.entries.selector.binding = named.map(Into::into),
            _ => return Err(format!("`{word}`: a domain and a binding are named already; there are {KEYS}")),
        }
        Ok(())
    }

    /// Whether the key is a filter's.
    fn take(&mut self, key: &str, value: &str, now: UnixMicros) -> Result<bool, String> {
        let selector = &mut self.entries.selector;
        let span = || parse_duration(value).ok_or(format!("`{key}={value}`: write a duration such as 20m or 1d12h"));
        let before = |span: std::time::Duration| UnixMicros(now.0.saturating_sub(span.as_micros() as u64));
        if value.is_empty() && !matches!(key, "sender") {
            return Err(format!("`{key}=` needs a value"));
        }
        match key {
            "domain" => selector.domain = Some(value.to_ascii_lowercase().into()),
            "binding" => selector.binding = Some(value.into()),
            "group" => selector.group = Some(value.into()),
            "tenant" => self.tenant = Some(value.into()),
            "sender" => self.sender = Some(Party::parse(value)?),
            "recipient" => self.recipient = Some(Party::parse(value)?),
            "older" => self.entries.received_until = Some(before(span()?)),
            "younger" => self.entries.received_from = Some(before(span()?)),
            "header" if self.headers.len() == HEADERS_MAX => {
                return Err(format!("there are more than {HEADERS_MAX} headers to look for"));
            }
            "header" => {
                let test = HeaderTest::parse(value);
                self.headers.push(test.ok_or(format!("`{value}` is no header; write `X-Stream: news` or `X-Stream`"))?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Refuses a command that says nothing of the mail it is about.
    pub(crate) fn named(self) -> Result<Self, String> {
        match self.named {
            Named::Yes => Ok(self),
            Named::No => Err(format!("say which mail: {KEYS}; or `all`")),
        }
    }

    /// The words that it was made of.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether only containers are named, so that all mail of each is meant.
    pub(crate) fn is_of_containers(&self) -> bool {
        self.entries.is_whole() && !self.reads_message()
    }

    /// Whether the message has to be read to tell.
    pub(crate) fn reads_message(&self) -> bool {
        self.sender.is_some() || self.recipient.is_some() || self.reads_head()
    }

    /// Whether the beginning of the content has to be read to tell.
    pub(crate) fn reads_head(&self) -> bool {
        self.tenant.is_some() || !self.headers.is_empty()
    }

    /// Whether a message is meant, as far as it says itself. `tenant_header` is the field that names its tenant.
    pub(crate) fn means(&self, message: &Message, recipient: u16, head: &[u8], tenant_header: &str) -> bool {
        let address = message.envelope.recipients.get(usize::from(recipient)).map(|recipient| &recipient.address);
        let sender = message.envelope.sender.as_ref();
        self.sender.as_ref().is_none_or(|party| party.is(sender))
            && self.recipient.as_ref().is_none_or(|party| party.is(address))
            && (!self.reads_head() || self.head_is_meant(sender, head, tenant_header))
    }

    fn head_is_meant(&self, sender: Option<&Address>, head: &[u8], tenant_header: &str) -> bool {
        let field = |name: &str| routing::find_fields(head, &[name.into()]).into_iter().next().flatten();
        let holds = |test: &HeaderTest| {
            field(&test.name)
                .is_some_and(|found| test.value.as_deref().is_none_or(|value| found.eq_ignore_ascii_case(value)))
        };
        self.headers.iter().all(holds)
            && self.tenant.as_deref().is_none_or(|wanted| {
                let named = field(tenant_header);
                wanted.eq_ignore_ascii_case(&routing::tenant(sender, named.as_deref()))
            })
    }
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.words.is_empty() { f.write_str("all") } else { f.write_str(&self.words.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fabric::Slice;
    use message::{Body, BodyType, Content, Dots, Envelope, MessageId, Notify, Protocol, Reception, Recipient, Utf8};

    const NOW: UnixMicros = UnixMicros::from_seconds(1_700_000_000);

    fn parse(words: &[&str]) -> Result<Filter, String> {
        Filter::parse(words, NOW, &["dry-run", "to="]).and_then(|(filter, _)| filter.named())
    }

    fn message(sender: &str) -> Message {
        let address = |text: &str| Address::parse(text).expect("an address");
        Message {
            id: MessageId(1),
            envelope: Envelope {
                sender: (!sender.is_empty()).then(|| address(sender)),
                recipients: vec![Recipient { address: address("u@near.test"), notify: Notify::Never, orcpt: None }],
                body_type: BodyType::SevenBit,
                utf8: Utf8::No,
                ret: None,
                envid: None,
            },
            reception: Reception {
                at: NOW,
                connection: MessageId::NONE,
                peer: None,
                protocol: Protocol::Internal,
                helo: "h".into(),
                dots: Dots::None,
            },
            trace: Slice::empty(),
            content: Content::Resident(Body::default()),
        }
    }

    fn means(words: &[&str], sender: &str, head: &str) -> bool {
        parse(words).expect("a filter").means(&message(sender), 0, head.as_bytes(), "X-Tenant")
    }

    #[test]
    fn places_and_keys_name_the_same() {
        let (one, other) = (parse(&["D.Test", "b"]).unwrap(), parse(&["binding=b", "domain=D.test"]).unwrap());
        assert_eq!(one.entries, other.entries);
        assert!(one.is_of_containers() && parse(&["all"]).unwrap().entries == EntryFilter::default());
        let old = parse(&["older=1h", "younger=1d"]).unwrap();
        assert_eq!(old.entries.received_until, Some(UnixMicros(NOW.0 - 3_600_000_000)));
        assert!(!old.is_of_containers() && !old.reads_message());
        assert_eq!(old.to_string(), "older=1h younger=1d");
        let (_, others) = Filter::parse(&["all", "dry-run", "to=x"], NOW, &["dry-run", "to="]).unwrap();
        assert_eq!(others, ["dry-run", "to=x"]);
    }

    #[test]
    fn bad_filters_are_told() {
        let wrong = |words: &[&str]| parse(words).expect_err("no filter");
        assert!(wrong(&[]).contains("say which mail"));
        assert!(wrong(&["dry-run"]).contains("say which mail"));
        assert!(wrong(&["color=red"]).contains("no filter"));
        assert!(wrong(&["older=soon"]).contains("write a duration"));
        assert!(wrong(&["domain="]).contains("needs a value"));
        assert!(wrong(&["header=a b"]).contains("no header"));
        assert!(wrong(&["sender=a@b@c d"]).contains("no address"));
        assert!(wrong(&["a", "b", "c"]).contains("named already"));
    }

    #[test]
    fn the_message_says_who_is_meant() {
        assert!(means(&["sender=a@b.test"], "A@b.test", "") && !means(&["sender=a@b.test"], "c@b.test", ""));
        assert!(means(&["sender=@b.test"], "c@B.test", "") && !means(&["sender=b.test"], "", ""));
        assert!(means(&["sender="], "", "") && means(&["sender=<>"], "", "") && !means(&["sender=<>"], "a@b.test", ""));
        assert!(means(&["recipient=u@near.test"], "", "") && !means(&["recipient=@far.test"], "", ""));
        let head = "X-Stream: News\r\nX-Tenant: acme\r\n\r\n";
        assert!(means(&["header=x-stream: news"], "", head) && means(&["header=X-Stream"], "", head));
        assert!(!means(&["header=X-Stream: other"], "", head) && !means(&["header=X-Stream", "header=X-No"], "", head));
        assert!(means(&["tenant=ACME"], "a@b.test", head) && !means(&["tenant=b.test"], "a@b.test", head));
        assert!(means(&["tenant=b.test"], "a@b.test", "\r\n"), "without the field it is the sender's domain");
        assert!(means(&["header=X-Tenant: acme", "tenant=acme"], "", head));
    }
}
