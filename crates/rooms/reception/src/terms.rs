//! What one listener offers by one generation of the configuration. Sessions keep the terms that they began with.

use crate::relay::Relay;
use config::{
    AddHeader, Config, Listener, Network, NetworkSet, Protocol, ProxyProtocol, ReturnAddresses, SuppressedKind,
    SuppressionAction, SuppressionOptions,
};
use message::Address;
use policy::MailKind;
use smtp::grammar::Extensions;
use smtp::scanner::LineEndings;
use smtp::server::{EarlyTalker, Flavour, Profile, Rules};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Terms {
    pub(crate) name: Arc<str>,
    pub(crate) profile: Arc<Profile>,
    pub(crate) relay: Relay,
    pub(crate) host: Box<str>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) additions: Additions,
    /// The mail for which suppressed recipients are refused, if they are.
    pub(crate) refuse_suppressed: Option<MailKind>,
    pub(crate) sessions_max: u32,
    pub(crate) network_sessions_max: u32,
    pub(crate) prefix_v4: u8,
    pub(crate) prefix_v6: u8,
    pub(crate) write_timeout: Duration,
    /// Octets of content that stay in memory.
    pub(crate) resident_max: u64,
}

/// The PROXY protocol of a listener that wants it.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) from: NetworkSet,
    pub(crate) timeout: Duration,
}

/// Fields put before the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Additions {
    pub(crate) received: bool,
    /// If it is missing.
    pub(crate) date: bool,
    /// If it is missing.
    pub(crate) message_id: bool,
}

impl Terms {
    /// The terms of each listener of `config` that speaks SMTP or LMTP.
    pub fn of(config: &Config) -> Vec<Terms> {
        let spoken = |listener: &&Listener| !matches!(listener.protocol, Protocol::Http | Protocol::Ipc);
        config.listeners.iter().filter(spoken).map(|listener| Terms::of_listener(config, listener)).collect()
    }

    /// The listener's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn of_listener(config: &Config, listener: &Listener) -> Terms {
        let host: Box<str> = (*listener.banner_hostname).into();
        let added = |when: AddHeader| match when {
            AddHeader::Never => false,
            AddHeader::Submission => listener.protocol == Protocol::Submission,
            AddHeader::Always => true,
        };
        let hostname: Box<str> = (*config.server.hostname).into();
        let postmaster = Address::parse(&config.server.postmaster)
            .expect("the configuration holds addresses shorter than an address may be, without control octets");
        let proxy = Proxy { from: listener.proxy_from.clone(), timeout: listener.proxy_timeout };
        Terms {
            name: listener.name.clone(),
            profile: Arc::new(Profile::new(rules(listener, &host))),
            relay: Relay {
                from: listener.relay_from.clone(),
                domains: listener.relay_domains.clone(),
                returns: ReturnAddresses::of(config),
                postmaster,
                hosts: vec![host.clone(), hostname],
            },
            host,
            proxy: (listener.proxy_protocol == ProxyProtocol::Required).then_some(proxy),
            additions: Additions {
                received: listener.add_received,
                date: added(listener.add_date),
                message_id: added(listener.add_message_id),
            },
            refuse_suppressed: refuse_suppressed(&config.suppression),
            sessions_max: listener.max_sessions,
            network_sessions_max: listener.max_sessions_per_network,
            prefix_v4: prefix(listener.network_prefix_v4),
            prefix_v6: prefix(listener.network_prefix_v6),
            write_timeout: listener.write_timeout,
            resident_max: config.server.large_message_threshold.0,
        }
    }

    /// The client's network, as its sessions are counted.
    pub fn network(&self, client: IpAddr) -> Network {
        Network::around(client, if client.to_canonical().is_ipv4() { self.prefix_v4 } else { self.prefix_v6 })
    }
}

/// See [`Terms::refuse_suppressed`].
fn refuse_suppressed(options: &SuppressionOptions) -> Option<MailKind> {
    let kind = match options.kind {
        SuppressedKind::All => MailKind::All,
        SuppressedKind::Transactional => MailKind::Transactional,
        SuppressedKind::NonTransactional => MailKind::NonTransactional,
    };
    (options.action == SuppressionAction::Reject).then_some(kind)
}

fn prefix(bits: u32) -> u8 {
    u8::try_from(bits).unwrap_or(u8::MAX)
}

fn rules(listener: &Listener, host: &str) -> Rules {
    Rules {
        host: host.into(),
        flavour: match listener.protocol {
            Protocol::Lmtp => Flavour::Lmtp,
            _ => Flavour::Smtp,
        },
        extensions: Extensions {
            basic: true,
            chunking: listener.chunking,
            smtputf8: listener.smtputf8,
            dsn: listener.dsn,
        },
        pipelining: listener.pipelining,
        allow_null_sender: listener.allow_null_sender,
        require_greeting: listener.require_ehlo,
        line_endings: match listener.line_endings {
            config::LineEndings::Reject => LineEndings::Reject,
            config::LineEndings::Fix => LineEndings::Fix,
        },
        early_talker: match listener.early_talker {
            config::EarlyTalker::Reject => EarlyTalker::Reject,
            config::EarlyTalker::Ignore => EarlyTalker::Allow,
        },
        greeting_delay: listener.greeting_delay,
        messages_max: listener.max_messages_per_session,
        recipients_max: listener.max_recipients,
        session_recipients_max: listener.max_recipients_per_session,
        message_bytes_max: listener.max_message_size.0,
        errors_max: listener.max_errors,
        unknown_max: listener.max_unknown_commands,
        idle_commands_max: listener.max_idle_commands,
        command_bytes_max: usize::try_from(listener.command_line_limit.0).unwrap_or(usize::MAX),
        text_line_max: listener.text_line_limit.0,
        header_bytes_max: listener.header_limit.0,
        header_fields_max: listener.header_fields,
        received_max: listener.max_received,
        idle_timeout: listener.idle_timeout,
        command_timeout: listener.command_timeout,
        data_timeout: listener.data_timeout,
        data_rate_min: listener.min_data_rate.0,
        session_timeout: listener.session_time_limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_configuration_are_those_of_the_session() {
        let config =
            Config::parse("test", "[server]\nhostname = \"mx.example.org\"\n[listener.mx]\nbind = \"127.0.0.1:0\"\n");
        let terms = Terms::of(&config.unwrap());
        let expected = Rules::new("mx.example.org");
        assert_eq!(format!("{:?}", terms[0].profile.rules()), format!("{expected:?}"));
        assert_eq!(terms[0].relay.postmaster.as_str(), "postmaster@mx.example.org");
    }

    #[test]
    fn what_a_submission_listener_adds() {
        let text = "[listener.a]\nbind = \"127.0.0.1:0\"\nprotocol = \"submission\"\n\
                    [listener.b]\nbind = \"127.0.0.1:0\"\nprotocol = \"lmtp\"\nadd_date = \"always\"\nadd_received = false\n\
                    [listener.c]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n";
        let terms = Terms::of(&Config::parse("test", text).unwrap());
        assert_eq!(terms.len(), 2);
        assert_eq!(terms[0].additions, Additions { received: true, date: true, message_id: true });
        assert_eq!(terms[1].additions, Additions { received: false, date: true, message_id: false });
        assert_eq!(terms[1].profile.rules().flavour, Flavour::Lmtp);
        assert!(terms[1].proxy.is_none());
    }
}
