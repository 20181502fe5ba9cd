//! The shape of the file that operators and tests depend on, and what it means.

use std::net::IpAddr;
use std::time::Duration;

use config::{
    BindAddress, Bytes, Config, Durability, LineEndings, LogFormat, Percent, Protocol, RetryLimit, Route, Surroundings,
    option_table,
};

const EXAMPLE: &str = include_str!("stable_shape.toml");

fn parsed(text: &str) -> Config {
    Config::parse("t.toml", text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

#[test]
fn the_published_example_is_accepted_as_it_is() {
    let config = parsed(EXAMPLE);
    assert_eq!(config.server.hostname.to_string(), "mx1.example.org");
    assert_eq!(config.server.durability, Durability::Durable);
    assert_eq!(&*config.server.postmaster, "postmaster@example.org");
    assert_eq!(config.console.socket.to_str(), Some("/run/posthaste/console.sock"));
    assert_eq!(config.spool.volumes[0].to_str(), Some("/var/spool/posthaste/journal"));
    assert_eq!(config.engine.loops, 0);
    let pools: Vec<(&str, u32, u32)> = config.pools.iter().map(|p| (&*p.name, p.threads, p.backlog)).collect();
    assert_eq!(pools, [("swap-in", 4, 1024), ("swap-out", 4, 1024), ("cpu", 4, 1024), ("io", 4, 1024)]);

    let mx = config.listener("mx").unwrap();
    assert_eq!(mx.protocol, Protocol::Smtp);
    let both = ["127.0.0.1:2525", "[::1]:2525"].map(|address| BindAddress::Ip(address.parse().unwrap()));
    assert_eq!(mx.bind, both);
    let from = |address: &str| mx.relay_from.contains(address.parse::<IpAddr>().unwrap());
    assert!(from("127.0.0.9") && !from("192.0.2.1") && !from("::1"));
    assert!(mx.relay_domains.contains("EXAMPLE.org") && !mx.relay_domains.contains("example.net"));
    assert_eq!(mx.max_message_size, Bytes(50 << 20));
    assert_eq!((mx.max_sessions, mx.max_sessions_per_network), (20_000, 200));
    assert_eq!(&*mx.banner_hostname, "mx1.example.org");

    let options = config.domain_options("anything.test", "default", None);
    assert_eq!(options.route, Route::Mx);
    assert_eq!(options.max_connections, 32);
    assert_eq!(options.retry_interval, Duration::from_secs(1200));
    assert_eq!(options.message_expiration, Duration::from_secs(86_400));
    assert_eq!(*options.source, ["0.0.0.0".parse::<IpAddr>().unwrap()]);
    assert_eq!(&*options.ehlo, "mx1.example.org");

    assert_eq!(config.logs[0].format, LogFormat::Ec);
    assert_eq!(config.logs[0].path.to_str(), Some("/var/log/posthaste/mainlog.ec"));
    let warned: Vec<&str> = config.warnings.iter().map(|warning| warning.object.as_str()).collect();
    assert_eq!(warned, ["[policy] script", "[console] http"]);
}

#[test]
fn an_empty_file_means_the_defaults() {
    let around = Surroundings {
        generation: 7,
        hostname: "box.example".into(),
        name_servers: vec!["192.0.2.53:53".parse().unwrap()],
    };
    let config = Config::parse_in(&around, "t.toml", "[listener.mx]\nbind = \"127.0.0.1:0\"\n").unwrap();
    assert_eq!(config.generation, 7);
    assert_eq!(&*config.server.hostname, "box.example");
    assert_eq!(&*config.server.postmaster, "postmaster@box.example");
    assert_eq!(config.resolver.servers[0].0, around.name_servers[0]);
    assert_eq!(config.server.max_connections_out, 20_000);
    let mx = &config.listeners[0];
    assert!(mx.relay_from.is_empty(), "nobody relays by default");
    assert!(!mx.relay_domains.contains("box.example"), "nothing is relayed by default");
    assert_eq!(mx.line_endings, LineEndings::Reject);
    assert_eq!((mx.max_recipients, mx.max_received, mx.max_errors), (1000, 100, 20));
    let options = config.domain_options("x.test", "default", None);
    assert_eq!(options.retry_jitter, Percent(10));
    assert_eq!(options.max_retries, RetryLimit::Auto);
    assert_eq!(&*options.ehlo, "box.example");
    assert_eq!(config.bindings.len(), 1);

    let bad_name = Surroundings { hostname: "not a name".into(), ..Surroundings::default() };
    assert_eq!(&*Config::parse_in(&bad_name, "t", "").unwrap().server.hostname, "localhost");
}

#[test]
fn the_same_thing_may_be_written_in_several_ways() {
    let long = parsed("[binding.a]\n[binding.a.domain.\"x.test\"]\nmax_connections = 3\nretry_interval = \"90s\"\n");
    let dotted = parsed(
        "[binding]\na.domain.\"x.test\".max_connections = 3\na.domain.\"x.test\".retry_interval = 90\na.ehlo = \"e\"\n",
    );
    let inline =
        parsed("binding = { a = { domain = { \"x.test\" = { max_connections = 3, retry_interval = '1m30s' } } } }\n");
    for config in [long, dotted, inline] {
        let options = config.domain_options("x.test", "a", None);
        assert_eq!((options.max_connections, options.retry_interval), (3, Duration::from_secs(90)));
    }
}

#[test]
fn a_sections_own_pool_and_binding_are_listed_in_the_files_order() {
    let config = parsed(
        "[pool.zeta]\nthreads = 2\n[pool.alpha]\n[pool.io]\nthreads = 9\n[binding.z]\n[binding.a]\n[binding.default]\n",
    );
    let pools: Vec<(&str, u32)> = config.pools.iter().map(|pool| (&*pool.name, pool.threads)).collect();
    assert_eq!(pools, [("swap-in", 4), ("swap-out", 4), ("cpu", 4), ("io", 9), ("zeta", 2), ("alpha", 4)]);
    let bindings: Vec<&str> = config.bindings.iter().map(|binding| &**binding).collect();
    assert_eq!(bindings, ["default", "z", "a"]);
}

#[test]
fn long_patterns_that_begin_alike_are_different_scopes() {
    let [one, two] = ["one", "two"].map(|end| format!("{}{end}.test", "long-label.".repeat(12)));
    let config = parsed(&format!("[domain.\"{one}\"]\nmax_connections = 1\n[domain.\"{two}\"]\nmax_connections = 2\n"));
    let connections = |domain: &str| config.domain_options(domain, "default", None).max_connections;
    assert_eq!((connections(&one), connections(&two)), (1, 2));
}

#[test]
fn an_expression_in_either_quotes_is_the_same_scope() {
    let config = parsed("[domain.'/^a\\.b$/']\nport = 1\n[domain]\n\"/^a\\\\.b$/\".max_connections = 2\n");
    let options = config.domain_options("a.b", "default", None);
    assert_eq!((options.port, options.max_connections), (1, 2));
    assert!(config.show_config(None).unwrap().contains("[domain.\"/^a\\\\.b$/\"]"));
}

#[test]
fn a_group_shares_by_weight() {
    let config = parsed("[binding.a]\n[binding.b]\n[binding_group.g]\nbindings = [\"a\", \"b\"]\nweights = [3, 1]\n");
    let members: Vec<(&str, u32)> = config.binding_groups[0].members.iter().map(|(n, w)| (&**n, *w)).collect();
    assert_eq!(members, [("a", 3), ("b", 1)]);
}

/// Each option is set to its own default, written as `show_config` writes it: the names, the notations and the ranges of
/// the whole table agree with each other.
#[test]
fn what_show_config_writes_is_read_back_to_the_same() {
    let text = "[binding.default]\n[listener.mx]\nbind = \"127.0.0.1:25\"\n[log.main]\n[binding_group.g]\nbindings = \"default\"\n";
    let before = parsed(text);
    let shown = before.show_config(None).unwrap().replace("[binding.default]\n", "").replace("[binding_group.g]\n", "");
    let domain = before.show_config(Some("binding_group.g/binding.default")).unwrap();
    let again = format!("{shown}\n[binding.default]\n{domain}\n[binding_group.g]\nbindings = [\"default\"]\n");
    let after = parsed(&again);
    for scope in [
        "server",
        "engine",
        "pool.cpu",
        "spool",
        "memory",
        "resolver",
        "listener.mx",
        "log.main",
        "console",
        "binding.default",
    ] {
        let values = |config: &Config| -> Vec<String> {
            let lines = config.show_config(Some(scope)).unwrap();
            lines.lines().map(|line| line.split("   #").next().unwrap().trim_end().to_owned()).collect()
        };
        assert_eq!(values(&before), values(&after), "{scope}");
        assert!(after.show_config(Some(scope)).unwrap().lines().all(|line| line.contains("# from t.toml:")), "{scope}");
    }
    let rows: usize = option_table().iter().map(|section| section.rows.len()).sum();
    assert!(rows > 100, "{rows}");
}
