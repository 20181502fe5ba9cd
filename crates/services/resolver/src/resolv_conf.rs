//! The parts of resolv.conf(5) that a mail server needs. The caller reads the file; search lists are ignored on purpose,
//! because a domain in a mail address is always complete (RFC 5321 §2.3.5).

use std::net::IpAddr;
use std::time::Duration;

/// The resolver library's own bounds for `options timeout:` and `attempts:`.
const TIMEOUT_MAX: u64 = 30;
const ATTEMPTS_MAX: u32 = 5;

/// What a resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver` lines in their order; empty means the server on this machine.
    pub servers: Vec<IpAddr>,
    /// `options timeout:n`.
    pub timeout: Option<Duration>,
    /// `options attempts:n`.
    pub attempts: Option<u32>,
    /// Numbers, from 1, of lines that should have been understood and were not, to be reported.
    pub unreadable_lines: Vec<usize>,
}

impl ResolvConf {
    /// Reads the text of a resolv.conf. Unknown keywords are none of our business; unreadable values are noted.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_ascii_whitespace();
            let understood = match words.next() {
                Some("nameserver") => conf.read_server(words.next()),
                Some("options") => conf.read_options(words),
                _ => true,
            };
            if !understood {
                conf.unreadable_lines.push(index + 1);
            }
        }
        conf
    }

    fn read_server(&mut self, word: Option<&str>) -> bool {
        let address: Option<IpAddr> = word.and_then(|word| word.parse().ok());
        self.servers.extend(address);
        address.is_some()
    }

    fn read_options<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> bool {
        let mut understood = true;
        for word in words {
            match word.split_once(':') {
                Some(("timeout", value)) => match value.parse::<u64>() {
                    Ok(seconds) => self.timeout = Some(Duration::from_secs(seconds.clamp(1, TIMEOUT_MAX))),
                    Err(_) => understood = false,
                },
                Some(("attempts", value)) => match value.parse::<u32>() {
                    Ok(attempts) => self.attempts = Some(attempts.clamp(1, ATTEMPTS_MAX)),
                    Err(_) => understood = false,
                },
                _ => {}
            }
        }
        understood
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResolverOptions;

    #[test]
    fn servers_and_times_are_read_in_order() {
        let conf = ResolvConf::parse(
            "# made by hand\nsearch example.org\nnameserver 192.0.2.1 ; first\nnameserver\t2001:db8::1\n\
             options rotate timeout:3 attempts:4 edns0\n",
        );
        assert_eq!(conf.servers, ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!((conf.timeout, conf.attempts), (Some(Duration::from_secs(3)), Some(4)));
        assert_eq!(conf.unreadable_lines, Vec::<usize>::new());
        let options = ResolverOptions::default().with_resolv_conf(&conf);
        assert_eq!(options.servers[1], "[2001:db8::1]:53".parse().unwrap());
        assert_eq!((options.timeout, options.attempts), (Duration::from_secs(3), 4));
    }

    #[test]
    fn nonsense_is_noted_and_bounded() {
        let conf =
            ResolvConf::parse("nameserver here\nnameserver\noptions timeout:x\noptions timeout:9999 attempts:0\n");
        assert_eq!(conf.unreadable_lines, [1, 2, 3]);
        assert_eq!((conf.timeout, conf.attempts), (Some(Duration::from_secs(30)), Some(1)));
        let options = ResolverOptions::default().with_resolv_conf(&conf);
        assert_eq!(options.servers, ResolverOptions::default().servers);
    }
}
