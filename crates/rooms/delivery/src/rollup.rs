//! The name of a set of hosts: equal for domains whose MX records name the same ones, and fit to be read.

/// Longest name, octets; of a longer list the first hosts and a number are told.
const NAME_MAX: usize = 200;

/// One host is its own name; several are written in braces before what their names have in common at the end:
/// `{alt1.mx,mx}.example.org`.
pub(crate) fn name(hosts: impl Iterator<Item = String>) -> String {
    let mut hosts: Vec<String> = hosts.map(|host| host.trim_end_matches('.').to_ascii_lowercase()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let [first, rest @ ..] = hosts.as_slice() else { return String::new() };
    if rest.is_empty() {
        return first.clone();
    }
    let end = first.len() - common_end(first, rest);
    let behind = &first[end..];
    let fronts: Vec<&str> = hosts.iter().map(|host| &host[..host.len() - behind.len()]).collect();
    let whole = format!("{{{}}}{behind}", fronts.join(","));
    if whole.len() <= NAME_MAX {
        return whole;
    }
    // FNV-1a over all names: two long sets that begin alike are two sites.
    let mix = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    let hash = whole.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    format!("{first}+{}#{hash:016x}", rest.len())
}

/// How many octets of whole labels, with the dot before them, all end with; every host keeps a label of its own.
fn common_end(first: &str, rest: &[String]) -> usize {
    let dots = first.bytes().enumerate().filter(|(at, octet)| *octet == b'.' && *at > 0);
    let mut ends = dots.map(|(at, _)| &first[at..]);
    let of_all = |end: &&str| rest.iter().all(|host| host.len() > end.len() && host.ends_with(*end));
    ends.find(of_all).map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(hosts: &[&str]) -> String {
        name(hosts.iter().map(|host| (*host).to_owned()))
    }

    #[test]
    fn equal_sets_have_one_name_in_whatever_order_and_case() {
        assert_eq!(named(&["mx.example.org"]), "mx.example.org");
        let both = "{mx1,mx2}.example.org";
        assert_eq!(named(&["mx1.example.org", "mx2.example.org"]), both);
        assert_eq!(named(&["MX2.example.org.", "mx1.EXAMPLE.org", "mx2.example.org"]), both);
        assert_eq!(named(&["mx.l.example.org", "alt1.mx.l.example.org"]), "{alt1.mx,mx}.l.example.org");
        assert_eq!(named(&["mx.a.example", "mx.b.test"]), "{mx.a.example,mx.b.test}");
        assert_eq!(named(&["amx.example.org", "bmx.example.org"]), "{amx,bmx}.example.org", "labels are whole");
        assert_eq!(named(&["example.org", "mx.example.org"]), "{example,mx.example}.org");
        assert_eq!(named(&[]), "");
    }

    #[test]
    fn a_long_list_has_a_short_name_of_its_own() {
        let hosts = |last: u32| (0..40).chain([last]).map(|n| format!("host{n:03}.some-long-name.example.org"));
        let (one, two) = (name(hosts(100)), name(hosts(101)));
        assert!(one.len() <= NAME_MAX && one.starts_with("host000.some-long-name.example.org+40#"), "{one}");
        assert_ne!(one, two);
    }
}
