//! What the router asks of the configuration, and how the configuration answers.
//!
//! The trait keeps the notation of the file out of the router: patterns and the fall-back order of scopes are the
//! configuration's business.

use crate::{Chooser, Egress};
use config::{Config, LmtpTarget, Route};
use message::{Address, Agent, Host};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is configured about the ways of mail. An immutable generation: the same question has the same answer for ever.
pub trait Plan {
    /// Our own name; mail for it must not be sent to it.
    fn hostname(&self) -> &str;

    /// Where mail for the bare `postmaster` goes (RFC 5321 §4.5.1).
    fn postmaster(&self) -> Option<Address>;

    /// By which bindings mail leaves. Without rules of its own, all leaves by the binding `default`.
    fn chooser(&self) -> Chooser {
        Chooser::default()
    }

    /// What holds for a domain: a name in lower-case A-labels, or an address literal with its brackets; and for an
    /// egress identity. May take some microseconds: the router remembers the answer.
    fn declared(&self, domain: &str, egress: &Egress) -> Declared;
}

/// The route of a domain, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// How its mail leaves.
    pub agent: Agent,
    /// The TCP port of hosts that the route does not name.
    pub port: u16,
    /// What to ask the configuration for to get the options of the stanza that declares the route: its pattern, `*` for
    /// a default. Without meaning for [`Agent::Mx`].
    pub by: Arc<str>,
}

impl Plan for Config {
    fn hostname(&self) -> &str {
        &self.server.hostname
    }

    fn postmaster(&self) -> Option<Address> {
        Address::parse(&self.server.postmaster).ok()
    }

    fn chooser(&self) -> Chooser {
        Chooser::new(self)
    }

    fn declared(&self, domain: &str, egress: &Egress) -> Declared {
        let options = self.domain_options(domain, &egress.binding, egress.group.as_deref());
        let (agent, option) =
            if options.blackhole { (Agent::Discard, "blackhole") } else { (agent(&options.route), "route") };
        let by = match agent {
            Agent::Mx => "*".into(),
            _ => declared_by(self, domain, egress, option),
        };
        let port = u16::try_from(options.port).expect("the option table bounds it to 65535");
        Declared { agent, port, by }
    }
}

/// The agent of a route.
fn agent(route: &Route) -> Agent {
    let to = |name: &str, port: &u16| Host { name: name.into(), port: *port };
    let path = |path: &PathBuf| Arc::<Path>::from(path.as_path());
    match route {
        Route::Mx => Agent::Mx,
        Route::Smtp { host, port } => Agent::Smtp(to(host, port)),
        Route::Lmtp(LmtpTarget::Host { host, port }) => Agent::Lmtp(to(host, port)),
        Route::Lmtp(LmtpTarget::Unix { path: socket }) => Agent::LmtpUnix(path(socket)),
        Route::Maildir { path: directory } => Agent::Maildir(path(directory)),
        Route::Discard => Agent::Discard,
        Route::Hold => Agent::Hold,
    }
}

/// The pattern of the stanza that gives a domain an option that routes. An expression does not match its own text, so
/// that nobody could ask for its options by it: the domain stands for itself there, and has a container of its own.
fn declared_by(config: &Config, domain: &str, egress: &Egress, option: &str) -> Arc<str> {
    match config.declaring_section(domain, &egress.binding, egress.group.as_deref(), option).map(pattern_of) {
        Some(expression) if expression.starts_with('/') => domain.into(),
        Some(pattern) => pattern.into(),
        None => "*".into(),
    }
}

/// The domain pattern of a section's header: `*.example` in `binding.b.domain."*.example"`. A section that names no
/// domain holds for all.
fn pattern_of(header: &str) -> &str {
    let key = match header.strip_prefix("domain.") {
        Some(key) => key,
        None => header.split_once(".domain.").map_or("\"*\"", |(_, key)| key),
    };
    let quoted = |quote| key.strip_prefix(quote).and_then(|key| key.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EgressId;
    use config::DEFAULT_BINDING;

    #[test]
    fn patterns_of_headers() {
        for (header, pattern) in [
            ("domain.\"*\"", "*"),
            ("domain.localhost", "localhost"),
            ("domain.'/^a/'", "/^a/"),
            ("binding.b", "*"),
            ("binding.b.domain.\"*.example\"", "*.example"),
            ("binding_group.g.binding.b.domain.\"a.domain.b\"", "a.domain.b"),
        ] {
            assert_eq!(pattern_of(header), pattern, "{header}");
        }
    }

    fn declared(text: &str, domain: &str) -> Declared {
        let config = Config::parse("test", text).expect("a configuration");
        let declared = config.declared(domain, Chooser::default().egress(EgressId::default()));
        if declared.agent != Agent::Mx {
            let options = config.domain_options(&declared.by, DEFAULT_BINDING, None);
            let expected = if options.blackhole { Agent::Discard } else { agent(&options.route) };
            assert_eq!(expected, declared.agent, "the options of {domain} are found by {}", declared.by);
        }
        declared
    }

    #[test]
    fn the_configuration_answers() {
        let text = "[domain.\"*\"]\nport = 2525\n[domain.\"*.a.example\"]\nroute = \"smtp://relay.example:26\"\n\
                    [domain.\"x.a.example\"]\nmax_connections = 1\n[domain.\"/^files/\"]\nroute = \"maildir:/m\"\n\
                    [domain.\"u.example\"]\nroute = \"lmtp:/run/l\"\n[binding.default]\nroute = \"mx\"\n";
        let without_binding = text.split("[binding").next().unwrap_or_default();
        let mx = declared(without_binding, "b.example");
        assert_eq!((mx.agent, mx.port), (Agent::Mx, 2525));
        for domain in ["y.a.example", "x.a.example"] {
            let smtp = declared(without_binding, domain);
            assert_eq!(smtp.agent, Agent::Smtp(Host { name: "relay.example".into(), port: 26 }));
            assert_eq!(&*smtp.by, "*.a.example");
        }
        let files = declared(without_binding, "files.example");
        assert_eq!((files.agent, &*files.by), (Agent::Maildir(Path::new("/m").into()), "files.example"));
        assert_eq!(declared(without_binding, "u.example").agent, Agent::LmtpUnix(Path::new("/run/l").into()));
        let blackhole = format!("{without_binding}blackhole = true\n");
        assert_eq!(declared(&blackhole, "u.example").agent, Agent::Discard, "blackhole comes before route");
        assert_eq!(declared(text, "u.example").agent, Agent::Mx, "a binding's own option comes before a domain's");
    }

    #[test]
    fn the_whole_way_from_a_file() {
        let text = "[server]\nhostname = \"mx1.example.org\"\npostmaster = \"root@admin.example\"\n";
        let config = Arc::new(Config::parse("test", text).expect("a configuration"));
        let mut router = crate::Router::new(config);
        let postmaster = router.route(&Address::new("postmaster", "").expect("an address"), EgressId::default());
        let message::Routed::To(container) = postmaster else { panic!("{postmaster:?}") };
        assert_eq!(&*container.name, "admin.example");
        let own = router.route(&Address::new("u", "MX1.example.org").expect("an address"), EgressId::default());
        assert!(matches!(own, message::Routed::Refused(reply) if reply.code == 554));
    }
}
