//! Exchanges with servers that are lines of this file.

use super::*;
use crate::Answer;

struct Scene {
    now: Instant,
    servers: Upstreams,
    tally: Tally,
    options: ResolverOptions,
}

impl Scene {
    fn new(servers: u8) -> Self {
        let addresses: Vec<SocketAddr> = (1..=servers).map(|n| SocketAddr::from(([192, 0, 2, n], 53))).collect();
        Self {
            now: Instant::now(),
            servers: Upstreams::new(&addresses),
            tally: Tally::default(),
            options: ResolverOptions { deadline: Duration::from_secs(60), ..ResolverOptions::default() },
        }
    }

    /// Runs one exchange; time passes with silence and pauses. Gives what was tried and the outcome.
    fn run(&mut self, mut answer: impl FnMut(Attempt) -> Reception) -> (Vec<String>, Outcome) {
        let deadline = self.now + self.options.deadline;
        let mut exchange = Exchange::new(self.now, deadline, &mut self.servers, &self.options);
        let mut tried = Vec::new();
        loop {
            match exchange.poll_step(self.now, &self.servers) {
                Step::Send(attempt) => {
                    let edns = if attempt.edns == EdnsUse::Without { " plain" } else { "" };
                    let seconds = attempt.timeout.as_secs();
                    tried.push(format!("{:?} {}{edns} {seconds}s", attempt.transport, attempt.server));
                    let reception = answer(attempt);
                    if matches!(reception, Reception::Silence) {
                        self.now += attempt.timeout;
                    }
                    exchange.handle_reception(self.now, attempt, reception, &mut self.servers, &mut self.tally);
                }
                Step::Pause(pause) => {
                    tried.push(format!("pause {}ms", pause.as_millis()));
                    self.now += pause;
                }
                Step::Done(outcome) => return (tried, outcome),
            }
            assert!(tried.len() < 100, "{tried:?}");
        }
    }
}

fn says(response: Response) -> Reception {
    Reception::Response { response, after: Duration::from_millis(3) }
}

fn answered() -> Reception {
    says(Response::Answer(Answer::NoData { ttl: None }))
}

fn refused(refusal: Refusal) -> Reception {
    says(Response::Refused(refusal))
}

#[test]
fn silence_leads_over_every_server_and_transport() {
    let (tried, outcome) = Scene::new(2).run(|_| Reception::Silence);
    assert_eq!(tried, ["Udp 0 2s", "Udp 1 2s", "Tcp 0 2s", "Tcp 1 2s", "Udp 0 4s", "Udp 1 4s"]);
    assert_eq!(outcome, Err(Failure::Timeout));
}

#[test]
fn the_deadline_ends_it() {
    let mut scene = Scene::new(2);
    scene.options.deadline = Duration::from_secs(5);
    let (tried, outcome) = scene.run(|_| Reception::Silence);
    assert_eq!(tried, ["Udp 0 2s", "Udp 1 2s", "Tcp 0 1s"]);
    assert_eq!(outcome, Err(Failure::Timeout));
}

#[test]
fn rounds_that_fail_at_once_are_spaced() {
    let (tried, outcome) = Scene::new(1).run(|_| Reception::Unreachable);
    assert_eq!(tried, ["Udp 0 2s", "pause 200ms", "Tcp 0 2s", "pause 200ms", "Udp 0 4s"]);
    assert_eq!(outcome, Err(Failure::Unreachable));
}

#[test]
fn truncation_asks_the_same_server_by_tcp() {
    let mut scene = Scene::new(2);
    let (tried, outcome) = scene.run(|attempt| match attempt.transport {
        Transport::Udp => says(Response::Truncated),
        Transport::Tcp => answered(),
    });
    assert_eq!(tried, ["Udp 0 2s", "Tcp 0 2s"]);
    assert!(outcome.is_ok());
    assert_eq!(scene.tally.truncated, 1);
}

#[test]
fn truncation_by_tcp_is_nonsense() {
    let (tried, outcome) = Scene::new(1).run(|_| says(Response::Truncated));
    assert_eq!(tried, ["Udp 0 2s", "Tcp 0 2s"]);
    assert_eq!(outcome, Err(Failure::BadAnswer));
}

#[test]
fn a_server_without_edns_is_asked_once_more() {
    let (tried, outcome) = Scene::new(2).run(|attempt| match attempt.edns {
        EdnsUse::Offered => refused(Refusal::Format),
        EdnsUse::Without => answered(),
    });
    assert_eq!(tried, ["Udp 0 2s", "Udp 0 plain 2s"]);
    assert!(outcome.is_ok());
    let (tried, outcome) = Scene::new(1).run(|_| refused(Refusal::Format));
    assert_eq!((tried.len(), outcome), (2, Err(Failure::ServerFailure)));
}

#[test]
fn a_server_that_fails_is_not_asked_again() {
    let mut scene = Scene::new(2);
    let (tried, outcome) = scene.run(|attempt| match attempt.server {
        0 => refused(Refusal::Failure),
        _ => Reception::Silence,
    });
    assert_eq!(tried, ["Udp 0 2s", "Udp 1 2s", "Tcp 1 2s", "Udp 1 4s"]);
    assert_eq!(outcome, Err(Failure::ServerFailure), "more telling than silence");
    let (tried, _) = Scene::new(2).run(|_| refused(Refusal::Failure));
    assert_eq!(tried.len(), 2, "one packet a server");
}

#[test]
fn forged_datagrams_lead_to_tcp() {
    let (tried, outcome) = Scene::new(1).run(|attempt| match attempt.transport {
        Transport::Udp => Reception::Flooded,
        Transport::Tcp => answered(),
    });
    assert_eq!((tried.len(), outcome.is_ok()), (2, true));
}

#[test]
fn blocked_udp_is_learnt() {
    let mut scene = Scene::new(1);
    let only_tcp = |attempt: Attempt| match attempt.transport {
        Transport::Udp => Reception::Silence,
        Transport::Tcp => answered(),
    };
    for _ in 0..3 {
        assert_eq!(scene.run(only_tcp).0, ["Udp 0 2s", "Tcp 0 2s"]);
    }
    assert_eq!(scene.run(only_tcp).0, ["Tcp 0 2s"]);
}

#[test]
fn without_servers_nothing_is_tried() {
    assert_eq!(Scene::new(0).run(|_| answered()), (vec![], Err(Failure::Unreachable)));
}
