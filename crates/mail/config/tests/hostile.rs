//! Hostile text: no panic, linear time, bounded reports.

use std::time::{Duration, Instant};

use config::Config;
use proptest::prelude::*;

/// Generous: linear work on a few megabytes takes a fraction of it, quadratic work hours.
const PATIENCE: Duration = Duration::from_secs(20);

fn refuse(name: &str, text: &str) {
    let began = Instant::now();
    let errors = Config::parse("t", text).expect_err(name);
    assert!(began.elapsed() < PATIENCE, "{name} took {:?}", began.elapsed());
    assert!(errors.len() <= 100, "{name}");
    assert!(errors.iter().all(|error| error.to_string().len() < 4096), "{name}");
}

#[test]
fn big_garbage_is_refused_quickly() {
    const N: usize = 100_000;
    refuse("open brackets", &"[".repeat(N));
    refuse("open lists", &format!("a = {}", "[".repeat(N)));
    refuse("open tables", &format!("a = {}", "{b=".repeat(N)));
    refuse("dots", &"a.".repeat(N));
    refuse("one long header", &format!("[{}]\nx = 1\n", "a.".repeat(N)));
    refuse("equals", &"=".repeat(N));
    refuse("quotes", &"\"".repeat(N));
    refuse("lines without values", &"a\n".repeat(N));
    refuse("unknown sections", &(0..N / 4).map(|i| format!("[x{i}]\n")).collect::<String>());
    refuse("unknown options", &format!("[server]\n{}", (0..N / 4).map(|i| format!("o{i} = 1\n")).collect::<String>()));
    refuse("one section again and again", &"[server]\n".repeat(N));
    refuse("one option again and again", &format!("[server]\n{}", "node = 1\n".repeat(N)));
    refuse("a long key with many entries", &format!("[domain.\"{}\"]\n{}", "k".repeat(N), "a.b = 1\n".repeat(N)));
    refuse("a long string", &format!("[server]\nhostname = \"{}\"", "x".repeat(N)));
    refuse("an error at the end of a long line", &format!("{}x", " ".repeat(N)));
    refuse("many errors on one long line", &format!("[listener.mx]\nbind = [{}]", "\"x\", ".repeat(N)));
    let groups: String = (0..N / 20).map(|i| format!("[binding_group.g{i}]\nbindings = \"nobody{i}\"\n")).collect();
    refuse("groups of nobody", &groups);
    let members = (0..N / 4).map(|i| format!("[binding_group.g.binding.b{i}]\n")).collect::<String>();
    refuse("members of nothing", &members);
    refuse("controls", &"\u{0}\u{7f}\u{feff}\r".repeat(N / 4));
}

#[test]
fn fifty_thousand_domains_are_read_and_found() {
    let mut text = String::new();
    for i in 0..50_000 {
        text.push_str(&format!("[domain.\"d{i}.example\"]\nmax_connections = {}\n", i % 1000 + 1));
    }
    let began = Instant::now();
    let config = Config::parse("t", &text).unwrap();
    println!("{} bytes in {:?}", text.len(), began.elapsed());
    assert!(began.elapsed() < PATIENCE);
    let began = Instant::now();
    for i in (0..50_000).step_by(101) {
        let options = config.domain_options(&format!("d{i}.example"), "default", None);
        assert_eq!(options.max_connections, i % 1000 + 1);
    }
    println!("496 resolutions in {:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pieces of the language in any order.
    #[test]
    fn no_text_panics(pieces in proptest::collection::vec(prop_oneof![
        Just("[listener.mx]\n".to_owned()), Just("[domain.\"*\"]\n".to_owned()), Just("[binding_group.g]\n".to_owned()),
        Just("[binding.a.domain.\"/x/\"]\n".to_owned()), Just("bind = [\"127.0.0.1:1\"]\n".to_owned()),
        Just("bindings = [\"a\", ".to_owned()), Just("route = \"smtp://[".to_owned()), Just("\"".to_owned()),
        Just("'''".to_owned()), Just("{ a = ".to_owned()), Just("}".to_owned()), Just("]".to_owned()), Just(".".to_owned()),
        Just("=".to_owned()), Just("\n".to_owned()), Just("1979-05-27".to_owned()), Just("9e99".to_owned()),
        "[a-z_]{1,12} = ", "\"[^\"]{0,20}\"\n", "\\PC{0,12}", "[0-9]{1,25}(ms|s|MiB|%|/[0-9]{1,3})?\n",
    ], 0..40)) {
        let text = pieces.concat();
        match Config::parse("t", &text) {
            Ok(config) => { let _ = config.domain_options("x.test", "a", Some("g")); config.show_config(None).unwrap(); }
            Err(errors) => {
                let lines = text.lines().count().max(1) as u32 + 1;
                for error in errors {
                    prop_assert!(error.position.line <= lines && error.position.column > 0, "{error}\n{text}");
                }
            }
        }
    }

    /// Values of one option in any spelling.
    #[test]
    fn no_value_panics(value in "\\PC{0,24}") {
        for option in ["[server]\nhostname", "[server]\npostmaster", "[domain.\"a\"]\nroute", "[listener.l]\nbind",
            "[listener.l]\nrelay_from", "[listener.l]\nrelay_domains", "[domain.\"a\"]\nretry_interval", "[memory]\ngoal",
            "[listener.l]\nmax_message_size", "[resolver]\nservers", "[spool]\ncompact_below"] {
            let _ = Config::parse("t", &format!("{option} = {value:?}\n"));
            let _ = Config::parse("t", &format!("{option} = {value}\n"));
        }
        let _ = Config::parse("t", &format!("[domain.{value:?}]\nsuspend = true\n"));
    }
}
