//! Who may send where: closed by default, and closed to addresses that route within their local part.

use config::{DomainSet, IntakeAction, NetworkSet, ReturnAddresses, ReturnKind};
use message::{Address, Domain};
use smtp::server::{Decision, Refusal};
use std::borrow::Cow;
use std::net::IpAddr;

/// Whether a client may send to any domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// It may: it is in `relay_from`.
    Trusted,
    /// It may send to `relay_domains` only.
    Stranger,
}

/// Whether mail that came back is taken in now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Returns {
    /// It is.
    #[default]
    Taken,
    /// Too much of it waits to be read: its recipients are told to come again.
    Held,
}

/// The relay control of a listener.
#[derive(Clone, Debug)]
pub struct Relay {
    /// `relay_from`
    pub from: NetworkSet,
    /// `relay_domains`
    pub domains: DomainSet,
    /// Where bounces and complaints come in, from anybody.
    pub returns: ReturnAddresses,
    /// `[server] postmaster`
    pub postmaster: Address,
    /// Names of this server: mail for postmaster at one of them is for `postmaster`.
    pub hosts: Vec<Box<str>>,
}

const DENIED: Refusal = Refusal::new(550, "5.7.1 relaying denied");

impl Relay {
    /// What a client at `address` is.
    pub fn client(&self, address: IpAddr) -> Client {
        if self.from.contains(address) { Client::Trusted } else { Client::Stranger }
    }

    /// Whether a client may send to `recipient`.
    pub fn decide(&self, client: Client, recipient: &Address) -> Decision {
        let is_postmaster = recipient.local_part().eq_ignore_ascii_case("postmaster");
        match recipient.domain() {
            // RFC 5321 §4.5.1: the grammar lets no other name pass without a domain.
            Domain::None => Decision::Redirect(self.postmaster.clone()),
            Domain::Name(name) if is_postmaster && self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name)) => {
                Decision::Redirect(self.postmaster.clone())
            }
            _ if client == Client::Trusted => Decision::Accept,
            // What is only read here may have any local part: a mark holds one of somebody else.
            Domain::Name(_) if self.return_kind(recipient).is_some_and(|kind| self.is_read_only(kind)) => {
                Decision::Accept
            }
            // Even where the domain is ours: its host might take `user%elsewhere@ours` for mail to elsewhere.
            _ if is_routed(recipient.local_part()) => Decision::Refuse(DENIED),
            Domain::Name(name) if self.takes(name) || self.return_kind(recipient).is_some() => Decision::Accept,
            Domain::Name(_) | Domain::Literal(_) => Decision::Refuse(DENIED),
        }
    }

    /// What comes in at this address, if mail comes back there.
    pub fn return_kind(&self, recipient: &Address) -> Option<ReturnKind> {
        self.returns.kind(recipient.local_part(), recipient.domain_text())
    }

    fn is_read_only(&self, kind: ReturnKind) -> bool {
        self.returns.action(kind) == IntakeAction::Discard
    }

    fn takes(&self, domain: &str) -> bool {
        match ascii(domain) {
            Some(domain) => self.domains.contains(&domain),
            None => false,
        }
    }
}

/// The domain in A-labels; `None` if there is no such form.
fn ascii(domain: &str) -> Option<Cow<'_, str>> {
    if domain.is_ascii() { Some(Cow::Borrowed(domain)) } else { idna::domain_to_ascii(domain).ok().map(Cow::Owned) }
}

/// Whether a local part could be taken for a route: percent hack, bang path, an address within quotes.
fn is_routed(local_part: &str) -> bool {
    local_part.bytes().any(|octet| matches!(octet, b'%' | b'!' | b'@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> Relay {
        let text = "[listener.mx]\nbind = [\"127.0.0.1:0\"]\nrelay_from = [\"10.0.0.0/8\"]\n\
                    relay_domains = [\"example.org\", \"xn--bcher-kva.example\", \"*.sub.example\"]\n";
        let config = config::Config::parse("test", text).unwrap();
        Relay {
            from: config.listeners[0].relay_from.clone(),
            domains: config.listeners[0].relay_domains.clone(),
            returns: ReturnAddresses::of(&config),
            postmaster: Address::parse("root@example.org").unwrap(),
            hosts: vec!["mx.example.org".into()],
        }
    }

    fn decide(client: Client, address: &str) -> Decision {
        relay().decide(client, &Address::parse(address).unwrap())
    }

    #[test]
    fn clients() {
        assert_eq!(relay().client("10.1.2.3".parse().unwrap()), Client::Trusted);
        assert_eq!(relay().client("::ffff:10.1.2.3".parse().unwrap()), Client::Trusted);
        assert_eq!(relay().client("11.0.0.1".parse().unwrap()), Client::Stranger);
    }

    #[test]
    fn strangers_reach_our_domains_only() {
        for address in
            ["a@example.org", "a@EXAMPLE.org", "a@x.sub.example", "ü@bücher.example", "a@xn--bcher-kva.example"]
        {
            assert_eq!(decide(Client::Stranger, address), Decision::Accept, "{address}");
        }
        let tricks = [
            "a@example.net",
            "a@sub.example",
            "a@example.org.net",
            "a@notexample.org",
            "a%example.net@example.org",
            "example.net!a@example.org",
            "\"a@example.net\"@example.org",
            "a%example.net@[127.0.0.1]",
            "a@[127.0.0.1]",
            "a@[ipv6:::1]",
            "a@localhost",
            "\"a%b\"@example.org",
            "a@bücher.net",
            "postmaster@example.net",
        ];
        for address in tricks {
            assert_eq!(decide(Client::Stranger, address), Decision::Refuse(DENIED), "{address}");
        }
    }

    #[test]
    fn what_comes_back_comes_from_anybody() {
        let mut relay = relay();
        let returns = |action: &str| {
            let text = format!("[bounce]\ndomains = [\"bounces.test\"]\naction = \"{action}\"\n");
            ReturnAddresses::of(&config::Config::parse("test", &text).unwrap())
        };
        let decide = |relay: &Relay, address: &str| relay.decide(Client::Stranger, &Address::parse(address).unwrap());
        relay.returns = returns("discard");
        for address in ["b@bounces.test", "b+1abc-joe%x=a.example@Bounces.Test"] {
            assert_eq!(decide(&relay, address), Decision::Accept, "{address}");
        }
        assert_eq!(decide(&relay, "b@sub.bounces.test"), Decision::Refuse(DENIED));
        assert_eq!(decide(&relay, "postmaster@bounces.test"), Decision::Refuse(DENIED));
        // What goes on from here must not route within its local part.
        relay.returns = returns("relay");
        assert_eq!(decide(&relay, "b@bounces.test"), Decision::Accept);
        assert_eq!(decide(&relay, "b+joe%x@bounces.test"), Decision::Refuse(DENIED));
    }

    #[test]
    fn the_trusted_reach_all() {
        for address in ["a@example.net", "a%b@c", "a@[127.0.0.1]"] {
            assert_eq!(decide(Client::Trusted, address), Decision::Accept);
        }
    }

    #[test]
    fn postmaster_is_always_reached() {
        let redirect = Decision::Redirect(Address::parse("root@example.org").unwrap());
        for address in ["postmaster", "PostMaster@mx.example.org"] {
            assert_eq!(decide(Client::Stranger, address), redirect);
        }
        assert_eq!(decide(Client::Stranger, "postmaster@example.org"), Decision::Accept);
    }
}
