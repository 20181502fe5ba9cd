//! The configurations that need no file: of `posthaste run` and of `posthaste demo`. Loopback only, everything in `./var`.

use crate::value::toml_string;

/// The name that messages give the built-in configuration.
pub const DEFAULT_FILE_NAME: &str = "built-in";

/// The configuration of `posthaste run` without a file: SMTP on 127.0.0.1:2525, data under `./var`, relaying for this
/// machine only, which is nobody else, since only this machine reaches the port.
#[must_use]
pub fn default_text() -> String {
    "[server]\n\
     data_dir = \"./var/spool\"\n\
     log_dir = \"./var/log\"\n\
     run_dir = \"./var/run\"\n\
     \n\
     [listener.mx]\n\
     protocol = \"smtp\"\n\
     bind = [\"127.0.0.1:2525\"]\n\
     relay_from = [\"127.0.0.0/8\"]\n\
     \n\
     [log.main]\n\
     format = \"ec\"\n\
     \n\
     [log.bounce]\n\
     format = \"bounce\"\n\
     \n\
     [log.reject]\n\
     format = \"reject\"\n"
        .to_owned()
}

/// The configuration of `posthaste demo`: as [`default_text`], and all mail goes over SMTP to the sink at `sink`
/// (`127.0.0.1:2526`), a second listener that puts what comes in for any domain into the maildir `./var/sink`.
///
/// The two halves are two servers, so there are two texts: the first relays, the second is the sink.
#[must_use]
pub fn demo_text(sink: std::net::SocketAddr) -> (String, String) {
    let relay = format!(
        "{}\n\
         [domain.\"*\"]\n\
         route = {}\n",
        default_text(),
        toml_string(&format!("smtp://{sink}")),
    );
    let sink = format!(
        "[server]\n\
         data_dir = \"./var/sink-spool\"\n\
         log_dir = \"./var/sink-log\"\n\
         run_dir = \"./var/sink-run\"\n\
         \n\
         [listener.sink]\n\
         protocol = \"smtp\"\n\
         bind = [{}]\n\
         relay_from = [\"127.0.0.0/8\", \"::1\"]\n\
         \n\
         [domain.\"*\"]\n\
         route = \"maildir:./var/sink\"\n",
        toml_string(&sink.to_string()),
    );
    (relay, sink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Route};

    #[test]
    fn the_built_in_texts_are_valid_and_without_warnings() {
        let (relay, sink) = demo_text("127.0.0.1:2526".parse().unwrap());
        for text in [default_text(), relay.clone(), sink.clone()] {
            let config = Config::parse(DEFAULT_FILE_NAME, &text).unwrap();
            assert_eq!(config.warnings, []);
            for listener in &config.listeners {
                for bind in &listener.bind {
                    assert!(bind.to_string().starts_with("127.0.0.1:"), "{bind}");
                }
            }
        }
        let route =
            |text: &str| Config::parse("t", text).unwrap().domain_options("x.test", "default", None).route.clone();
        assert_eq!(route(&relay), Route::Smtp { host: "127.0.0.1".into(), port: 2526 });
        assert_eq!(route(&sink), Route::Maildir { path: "./var/sink".into() });
    }
}
