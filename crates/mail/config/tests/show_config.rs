//! What `show-config` writes.

use config::Config;

const TEXT: &str = "\
[server]
hostname = \"mx1.example.org\"
[domain.\"*\"]
max_connections = 10
[domain.\"*.example\"]
max_connections = 20
[binding.default]
[binding.a]
ehlo = \"a.example.org\"
[binding.a.domain.\"x.example\"]
max_connections = 30
[binding_group.g]
bindings = [\"a\"]
suspend = true
[listener.mx]
bind = [\"127.0.0.1:25\"]
";

fn line(scope: &str, option: &str) -> String {
    let config = Config::parse("conf", TEXT).expect("the text is valid");
    let shown = config.show_config(Some(scope)).expect("the scope exists");
    let start = format!("{option} = ");
    let line = shown.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{option} in {shown}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn each_value_says_where_it_comes_from() {
    assert_eq!(line("server", "hostname"), "hostname = \"mx1.example.org\" # from conf:2 [server]");
    assert_eq!(line("server", "durability"), "durability = \"durable\" # default");
    assert_eq!(
        line("domain.x.example", "max_connections"),
        "max_connections = 20 # from conf:6 [domain.\"*.example\"]"
    );
    assert_eq!(line("domain.x.test", "max_connections"), "max_connections = 10 # from conf:4 [domain.\"*\"]");
    assert_eq!(
        line("binding.a/domain.x.example", "max_connections"),
        "max_connections = 30 # from conf:11 [binding.a.domain.\"x.example\"]"
    );
    assert_eq!(line("binding.a", "ehlo"), "ehlo = \"a.example.org\" # from conf:9 [binding.a]");
    assert_eq!(line("binding.default", "ehlo"), "ehlo = \"mx1.example.org\" # default");
    assert_eq!(line("binding_group.g/binding.a", "suspend"), "suspend = true # from conf:14 [binding_group.g]");
    assert_eq!(
        line("binding_group.g/domain.x.example", "max_connections"),
        "max_connections = 20 # from conf:6 [domain.\"*.example\"]"
    );
    assert_eq!(line("listener.mx", "bind"), "bind = [\"127.0.0.1:25\"] # from conf:16 [listener.mx]");
    assert_eq!(line("pool.cpu", "threads"), "threads = 4 # default");
}

#[test]
fn an_unknown_scope_is_refused_with_the_known_ones() {
    let config = Config::parse("conf", TEXT).unwrap();
    for scope in ["", "listener.my", "binding.b", "binding_group.h", "binding.a/listener.mx", "domain.", "servers"] {
        let refused = config.show_config(Some(scope)).unwrap_err();
        assert!(refused.to_string().contains("listener.mx"), "{refused}");
    }
}

#[test]
fn without_a_scope_every_section_is_there() {
    let shown = Config::parse("conf", TEXT).unwrap().show_config(None).unwrap();
    for header in
        ["server", "engine", "pool.swap-in", "spool", "listener.mx", "domain.\"*.example\"", "binding_group.g"]
    {
        assert!(shown.contains(&format!("[{header}]\n")), "{header}");
    }
    assert!(shown.contains("# members: a ×1\n"));
}
