//! Thirty destinations that answer late must not cost the others their rate.

use acceptance::{Manner, Sink, Site, within};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const MESSAGES: usize = 6000;

/// Seconds until `MESSAGES` good messages have arrived, with or without mail for tarpits among them.
fn run(tarpits: usize) -> f64 {
    let good = Sink::start(Manner::default()).count_only();
    let slow = Sink::start(Manner { delay_content: Duration::from_secs(60), ..Manner::default() }).count_only();
    let mut extra = format!("[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\nmax_connections = 20\n", good.port);
    for n in 0..tarpits {
        let _ =
            write!(extra, "[domain.\"t{n}.test\"]\nroute = \"smtp://127.0.0.1:{}\"\nmax_connections = 10\n", slow.port);
    }
    let site = Site::new(&extra);
    let server = site.start();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for session in 0..10 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                client.hello();
                for n in 0..MESSAGES / 10 {
                    let id = format!("u{}@good.test", session * MESSAGES + n);
                    assert_eq!(client.message("s@a.test", &[&id], "Subject: x\r\n\r\nx").unwrap().0, 250);
                    if tarpits > 0 && n % 10 == 0 {
                        let slow = format!("v{}@t{}.test", session * MESSAGES + n, n / 10 % tarpits);
                        assert_eq!(client.message("s@a.test", &[&slow], "Subject: x\r\n\r\nx").unwrap().0, 250);
                    }
                }
            });
        }
    });
    assert!(within(Duration::from_secs(120), || good.unique() == MESSAGES), "{} arrived", good.unique());
    let took = began.elapsed().as_secs_f64();
    assert!(tarpits == 0 || slow.open() > 30, "the tarpits hold only {} connections", slow.open());
    server.kill();
    took
}

#[test]
fn thirty_tarpits_leave_the_others_their_rate() {
    // The load beside the good messages is one tenth; the machine is shared, so the best of three pairs counts.
    let ratios: Vec<f64> = (0..3).map(|_| run(0) / run(30)).collect();
    let best = ratios.iter().copied().fold(0.0, f64::max);
    // 10 % more messages are accepted in the second run: the rate of the good ones is put beside 1/1.1 of the first.
    assert!(best * 1.1 >= 0.95, "good messages fell to {ratios:?} of their rate");
}
