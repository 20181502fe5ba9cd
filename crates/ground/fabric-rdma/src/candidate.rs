//! A peer that is being met: from a TCP connection that is not there yet to a link. The connector drives it; it never blocks.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use fabric::tli::{Link, LinkSettings, OpenError, Peer, WindowSettings};

use crate::address::Address;
use crate::control::{Control, Heard};
use crate::hello::{BadHello, Hello, Offer, Plan, VERSION};
use crate::link::{self, Wiring};
use crate::verbs::{Adapter, Port, VerbsError};

/// Windows of both ends are whole words.
const WORD: usize = 8;
/// Bytes of memory that a link pins for receiving, at most: a stranger could ask for as much.
const INCOMING_BYTES_MAX: usize = 1 << 30;

/// What every meeting of a channel needs.
pub(crate) struct Terms {
    pub(crate) address: Address,
    pub(crate) settings: LinkSettings,
    /// Those that the address may mean, open for as long as the channel is.
    pub(crate) adapters: Vec<Arc<Adapter>>,
}

/// Why a meeting failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection was refused, broke or took too long: another attempt may do better.
    Lost,
    /// The peer, or what stands in its place, is none for us, or we are none for it.
    Unfit(OpenError),
}

/// How far it has come.
enum Stage {
    /// The TCP connection is being made.
    Connecting,
    /// We said what we send; the peer has not yet.
    Offered { port: Port, ours: Offer },
    /// We said where our queue pairs are; the peer has not yet.
    Planned { wiring: Box<Wiring> },
    /// Our queue pairs are connected; the peer's are not yet.
    Ready { wiring: Box<Wiring>, plan: Plan },
}

/// A peer that is being met.
pub(crate) struct Candidate {
    control: Control,
    stage: Option<Stage>,
    deadline: Instant,
}

impl Candidate {
    /// Over a stream that may still be connecting.
    pub(crate) fn new(stream: TcpStream, deadline: Instant) -> std::io::Result<Self> {
        Ok(Self { control: Control::new(stream)?, stage: Some(Stage::Connecting), deadline })
    }

    /// When it is given up.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the connection is not there yet, so that becoming writable is news.
    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.stage, Some(Stage::Connecting))
    }

    /// Goes as far as it can.
    ///
    /// # Errors
    /// When the meeting has failed; the peer was told why, where that helps it.
    pub(crate) fn advance(mut self, terms: &Terms, now: Instant) -> Result<Progress, Failure> {
        let result = self.steps(terms, now);
        if let Err(Failure::Unfit(error)) = &result {
            // A peer that has gone meanwhile needs no reason.
            let _ = self.control.say(&Hello::Refuse(error.to_string()));
        }
        match result? {
            Some((wiring, plan, peer)) => {
                let link = link::link(*wiring, plan, self.control, peer).map_err(|error| unfit(terms, error))?;
                Ok(Progress::Met(link))
            }
            None if now >= self.deadline => Err(Failure::Lost),
            None => Ok(Progress::Waiting(self)),
        }
    }

    fn steps(&mut self, terms: &Terms, now: Instant) -> Result<Option<(Box<Wiring>, Plan, Peer)>, Failure> {
        loop {
            let stage = self.stage.take().expect("put back by every step that goes on");
            let next = match stage {
                Stage::Connecting => {
                    let Some(local) = self.connected()? else {
                        self.stage = Some(Stage::Connecting);
                        return Ok(None);
                    };
                    let (port, ours) = terms.offer(local, now)?;
                    self.say(&Hello::Offer(ours.clone()))?;
                    Stage::Offered { port, ours }
                }
                Stage::Offered { port, ours } => match self.hear(terms)? {
                    Some(Hello::Offer(theirs)) => {
                        let wiring = Box::new(terms.wire(&port, ours, theirs)?);
                        self.say(&Hello::Plan(wiring.plan()))?;
                        Stage::Planned { wiring }
                    }
                    Some(_) => return Err(out_of_turn(terms)),
                    None => return Ok(self.wait(Stage::Offered { port, ours })),
                },
                Stage::Planned { wiring } => match self.hear(terms)? {
                    Some(Hello::Plan(plan)) => {
                        wiring.connect(&plan).map_err(|error| unfit(terms, error))?;
                        self.say(&Hello::Ready)?;
                        Stage::Ready { wiring, plan }
                    }
                    Some(_) => return Err(out_of_turn(terms)),
                    None => return Ok(self.wait(Stage::Planned { wiring })),
                },
                Stage::Ready { wiring, plan } => match self.hear(terms)? {
                    Some(Hello::Ready) => return Ok(Some((wiring, plan, self.peer()))),
                    Some(_) => return Err(out_of_turn(terms)),
                    None => return Ok(self.wait(Stage::Ready { wiring, plan })),
                },
            };
            self.stage = Some(next);
        }
    }

    fn wait<T>(&mut self, stage: Stage) -> Option<T> {
        self.stage = Some(stage);
        None
    }

    /// Our address, once the connection is there.
    fn connected(&self) -> Result<Option<IpAddr>, Failure> {
        let stream = self.control.stream();
        if stream.take_error().is_ok_and(|error| error.is_some()) {
            return Err(Failure::Lost);
        }
        if stream.peer_addr().is_err() {
            return Ok(None);
        }
        stream.local_addr().map(|local| Some(local.ip().to_canonical())).map_err(|_| Failure::Lost)
    }

    fn say(&mut self, hello: &Hello) -> Result<(), Failure> {
        self.control.say(hello).map_err(|_| Failure::Lost)
    }

    fn hear(&mut self, terms: &Terms) -> Result<Option<Hello>, Failure> {
        let uri = || terms.address.uri.to_string();
        match self.control.hear() {
            Heard::Nothing => Ok(None),
            Heard::Message(Hello::Refuse(why)) => {
                Err(Failure::Unfit(OpenError::Refused { uri: uri(), why: format!("the peer says: {why}") }))
            }
            Heard::Message(hello) => Ok(Some(hello)),
            Heard::Bad(BadHello::Version(theirs)) => {
                let (ours, theirs) = (VERSION.into(), theirs.into());
                Err(Failure::Unfit(OpenError::Version { uri: uri(), ours, theirs }))
            }
            Heard::Bad(_) => {
                let why = "what answers there does not speak the protocol of rdma:".into();
                Err(Failure::Unfit(OpenError::Refused { uri: uri(), why }))
            }
            Heard::End => Err(Failure::Lost),
        }
    }

    fn peer(&self) -> Peer {
        let address = self.control.stream().peer_addr().as_ref().map_or("?".to_owned(), SocketAddr::to_string);
        Peer { name: address, pid: None, user: None }
    }
}

impl AsFd for Candidate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

/// What became of a candidate.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is returned, and links are met rarely")]
pub(crate) enum Progress {
    /// A link.
    Met(Link),
    /// Itself, further on.
    Waiting(Candidate),
}

impl Terms {
    /// Chooses the port for our end of the connection, and says what we send over it.
    fn offer(&self, local: IpAddr, now: Instant) -> Result<(Port, Offer), Failure> {
        let port = Port::choose(&self.adapters, local).map_err(|error| {
            Failure::Unfit(OpenError::Refused { uri: self.address.uri.to_string(), why: error.to_string() })
        })?;
        let windows = [self.settings.bulk, self.settings.urgent]
            .map(|windows| WindowSettings { bytes: windows.bytes.next_multiple_of(WORD), count: windows.count });
        for (setting, asked, limit) in [
            ("windows of a lane", windows[0].count.max(windows[1].count), port.adapter.windows_max()),
            ("bytes of a window", windows[0].bytes.max(windows[1].bytes), port.adapter.message_bytes_max()),
        ] {
            if asked > limit {
                return Err(Failure::Unfit(OpenError::OverLimit { setting, asked, limit }));
            }
        }
        let [epoch, _] = random(now);
        let (gid, lid, mtu) = (port.place.gid, port.lid(), port.mtu());
        Ok((port, Offer { epoch, windows, gid, lid, mtu }))
    }

    /// Makes our side for a peer that means to send as `theirs` says.
    fn wire(&self, port: &Port, ours: Offer, theirs: Offer) -> Result<Wiring, Failure> {
        let accept = self.settings.accept;
        let widest = theirs.windows.iter().map(|windows| windows.bytes).max().unwrap_or(0);
        let most = theirs.windows.iter().map(|windows| windows.count).max().unwrap_or(0);
        let total = (0..2).map(|lane| theirs.windows[lane].bytes * link::buffers(&theirs, lane)).sum();
        for (setting, asked, limit) in [
            ("bytes of a window that the peer sends", widest, accept.bytes.min(port.adapter.message_bytes_max())),
            ("windows of a lane that the peer sends", most, accept.count.min(port.adapter.windows_max())),
            ("bytes of all windows that the peer sends", total, INCOMING_BYTES_MAX),
        ] {
            if asked > limit {
                return Err(Failure::Unfit(OpenError::OverLimit { setting, asked, limit }));
            }
        }
        let packets = random(Instant::now()).map(|number| number & 0x00ff_ffff);
        Wiring::new(port, ours, theirs, packets).map_err(|error| unfit(self, error))
    }
}

/// Two numbers that earlier connections are unlikely to have had. Nothing depends on their being secret: the adapter checks keys and addresses.
fn random(now: Instant) -> [u32; 2] {
    use std::hash::{BuildHasher as _, RandomState};
    let number = RandomState::new().hash_one(now);
    [number as u32, (number >> 32) as u32]
}

fn unfit(terms: &Terms, error: VerbsError) -> Failure {
    let VerbsError { operation, source } = error;
    Failure::Unfit(OpenError::System { uri: terms.address.uri.to_string(), operation, source })
}

fn out_of_turn(terms: &Terms) -> Failure {
    let why = "the peer said something out of turn".into();
    Failure::Unfit(OpenError::Refused { uri: terms.address.uri.to_string(), why })
}
