//! Ten thousand source addresses in one binding group: real connections from many of them, and what each costs.

use acceptance::{Manner, Server, Sink, Site, within};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const BINDINGS: usize = 10;
const ADDRESSES: usize = 10_000;
const MESSAGES: usize = 2_000;
/// Octets of memory that one more address may cost.
const COST_MAX: i64 = 1024;
const TIME_MAX: Duration = Duration::from_secs(30);

/// A group of bindings which share so many addresses of 127.0.0.0/8.
fn site(hop: u16, addresses: usize) -> Site {
    let mut extra = format!(
        "[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{hop}\"\nidle_timeout = \"0s\"\n\
         max_deliveries_per_connection = 1\nconnection_ramp = \"straight\"\nmax_connections = 20\n\
         [egress.all]\nsender = \"sender.test\"\nbinding_group = \"pool\"\n"
    );
    let names: Vec<String> = (0..BINDINGS).map(|n| format!("\"b{n}\"")).collect();
    let _ = writeln!(extra, "[binding_group.pool]\nbindings = [{}]", names.join(", "));
    for binding in 0..BINDINGS {
        let each = addresses / BINDINGS;
        let numbers = binding * each..(binding + 1) * each;
        let list: Vec<String> = numbers.map(|n| format!("\"127.30.{}.{}\"", n / 250, n % 250 + 1)).collect();
        let _ = writeln!(extra, "[binding.b{binding}]\nsource = [{}]", list.join(", "));
    }
    Site::new(&extra).server("durability = \"relaxed\"")
}

fn send(server: &Server, from: usize, to: usize) {
    let mut client = server.connect();
    client.hello();
    for n in from..to {
        let recipient = format!("u{n}@near.test");
        assert_eq!(client.message("s@sender.test", &[&recipient], "a: b\r\n\r\nc").unwrap().0, 250);
    }
}

/// Resident octets of the server.
fn resident(server: &Server) -> i64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<i64>().unwrap() * 1024
}

#[test]
fn ten_thousand_addresses_in_a_group() {
    let sink = Sink::start(Manner::default());
    let few = {
        let site = site(sink.port, BINDINGS);
        let server = site.start();
        send(&server, 0, 200);
        assert!(within(TIME_MAX, || sink.unique() == 200), "{} arrived", sink.unique());
        resident(&server)
    };
    let site = site(sink.port, ADDRESSES);
    let began = Instant::now();
    let server = site.start();
    send(&server, 200, 400);
    assert!(within(TIME_MAX, || sink.unique() == 400), "{} arrived", sink.unique());
    let each = (resident(&server) - few) / (ADDRESSES - BINDINGS) as i64;
    println!("{each} octets of memory for each source address");
    assert!(each <= COST_MAX, "{each} octets for each source address");
    send(&server, 400, MESSAGES);
    assert!(within(TIME_MAX, || sink.unique() == MESSAGES), "{} arrived", sink.unique());
    let took = began.elapsed();
    println!("{} messages from {ADDRESSES} addresses in {took:?}", MESSAGES - 200);
    assert!(took < TIME_MAX, "{took:?}");
    let arrivals = sink.arrivals();
    let ours = arrivals.iter().skip(200).map(|arrival| arrival.peer).collect::<HashSet<_>>();
    assert_eq!(ours.len(), MESSAGES - 200, "each of a list is used before one is used again");
    assert!(ours.iter().all(|peer| peer.to_string().starts_with("127.30.")), "no other address was used");
    drop(server);
}
