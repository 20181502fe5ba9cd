//! Marks on what leaves: a return path and a header field for one recipient. The stored message stays as it was received;
//! what leaves is another one around the same content. Used by connections only.
//!
//! Reports of our own go to the sender whom the message came from, never to a marked address: they are made from the stored
//! message.

use config::DomainOptions;
use fabric::Slice;
use message::{Content, Envelope, Message};
use policy::Marks;
use std::sync::Arc;

/// Whether mail by these options leaves with one recipient a transaction.
pub(crate) fn marks(options: &DomainOptions) -> bool {
    options.verp_domain.0.is_some() || options.feedback_mark
}

/// The message as it leaves for one recipient, who is the only one of its envelope; `None` if it leaves as it is. The null
/// reverse-path stays, and with it the message: whoever answers it must not be answered (RFC 5321 §4.5.5).
pub(crate) fn marked(
    by: &dyn Marks,
    options: &DomainOptions,
    message: &Message,
    recipient: u16,
) -> Option<Arc<Message>> {
    let sender = message.envelope.sender.as_ref()?;
    let to = message.envelope.recipients.get(usize::from(recipient))?;
    let id = message.id.nth(recipient);
    let path = options.verp_domain.0.as_ref().and_then(|domain| by.return_path(domain, id, &to.address));
    let header = (options.feedback_mark && takes_header(message)).then(|| by.header(id, &to.address));
    if path.is_none() && header.is_none() {
        return None;
    }
    let trace = match header {
        Some(header) => Slice::from_vec([header.as_bytes(), &message.trace].concat()),
        None => message.trace.clone(),
    };
    let envelope = Envelope {
        sender: Some(path.unwrap_or_else(|| sender.clone())),
        recipients: vec![to.clone()],
        body_type: message.envelope.body_type,
        utf8: message.envelope.utf8,
        ret: message.envelope.ret,
        envid: message.envelope.envid.clone(),
    };
    let (reception, content) = (message.reception.clone(), message.content.clone());
    Some(Arc::new(Message { id: message.id, envelope, reception, trace, content }))
}

/// Whether a header field can stand before the content. Ours in front end with an empty line if the content has no header;
/// without any of ours the content must begin with a field, or its body would become part of the header.
fn takes_header(message: &Message) -> bool {
    let is_name = |octet: &u8| octet.is_ascii_graphic() && *octet != b':';
    match &message.content {
        _ if !message.trace.is_empty() => true,
        Content::Resident(body) => body.slices().first().is_some_and(|first| {
            let name = first.iter().take_while(|octet| is_name(octet)).count();
            name > 0 && first.get(name) == Some(&b':')
        }),
        Content::Spooled { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;
    use message::{
        Address, Body, BodyType, Dots, MessageId, Notify, Protocol, Reception, Recipient, Return, UnixMicros, Utf8,
    };

    struct Plain;

    impl Marks for Plain {
        fn return_path(&self, domain: &str, id: MessageId, recipient: &Address) -> Option<Address> {
            Address::new(&format!("b+{}-{}", id.0 as u8, recipient.local_part()), domain).ok()
        }

        fn header(&self, id: MessageId, _: &Address) -> String {
            format!("X-Mark: {}\r\n", id.0 as u8)
        }
    }

    fn message(sender: &str, trace: &str, content: &str) -> Message {
        let recipient = |text: &str| Recipient {
            address: Address::parse(text).unwrap(),
            notify: Notify::Never,
            orcpt: Some("rfc822;x".into()),
        };
        let envelope = Envelope {
            sender: Address::parse(sender).ok(),
            recipients: vec![recipient("a@x.test"), recipient("joe@y.test")],
            body_type: BodyType::EightBit,
            utf8: Utf8::No,
            ret: Some(Return::Headers),
            envid: Some("QQ314159".into()),
        };
        let reception = Reception {
            at: UnixMicros(0),
            connection: MessageId::NONE,
            peer: None,
            protocol: Protocol::Esmtp,
            helo: "x".into(),
            dots: Dots::Some,
        };
        let content = Content::Resident(Body::from(Slice::copy_from(content.as_bytes())));
        Message { id: MessageId(7), envelope, reception, trace: Slice::copy_from(trace.as_bytes()), content }
    }

    fn options(text: &str) -> Arc<DomainOptions> {
        let text = format!("[bounce]\nkeys = [\"k\"]\n[domain.\"*\"]\n{text}");
        Config::parse("t", &text).unwrap().domain_options("y.test", "default", None)
    }

    #[test]
    fn one_recipient_has_marks_of_its_own_and_the_rest_stays() {
        let both = options("verp_domain = \"b.test\"\nfeedback_mark = true\n");
        let stored = message("me@z.test", "Received: x\r\n", "Subject: x\r\n\r\nhello");
        let left = marked(&Plain, &both, &stored, 1).unwrap();
        assert_eq!(left.envelope.sender.as_ref().unwrap().as_str(), "b+8-joe@b.test");
        assert_eq!(&*left.trace, b"X-Mark: 8\r\nReceived: x\r\n");
        assert_eq!(left.envelope.recipients, stored.envelope.recipients[1..]);
        assert_eq!((&left.envelope.envid, left.envelope.ret), (&stored.envelope.envid, stored.envelope.ret));
        assert_eq!(left.size(), stored.size() + 11);
        let header = options("feedback_mark = true\n");
        assert_eq!(marked(&Plain, &header, &stored, 0).unwrap().envelope.sender, stored.envelope.sender);
        assert!(marks(&both) && marks(&header) && !marks(&options("")));
        assert!(marked(&Plain, &options(""), &stored, 0).is_none());
    }

    #[test]
    fn reports_leave_as_they_are() {
        let both = options("verp_domain = \"b.test\"\nfeedback_mark = true\n");
        assert!(marked(&Plain, &both, &message("", "Received: x\r\n", "A: b\r\n\r\n"), 0).is_none());
    }

    #[test]
    fn a_body_does_not_become_part_of_the_header() {
        let header = options("feedback_mark = true\n");
        assert!(marked(&Plain, &header, &message("me@z.test", "", "hello: you\r\n"), 0).is_some());
        for content in ["hello you\r\n", "", ": x", "\r\nhello: you"] {
            assert!(marked(&Plain, &header, &message("me@z.test", "", content), 0).is_none(), "{content}");
        }
    }
}
