//! A server of reception only, and a client, for the scenarios beside it.

use config::Config;
use engine::{
    Descriptors, Gauges, ListenOptions, Listener, LoopOptions, Loops, Pressure, PressureGauge, Reserve, listen_each,
    listen_unix,
};
use fabric::{Slice, WindowPool};
use message::{
    Address, Content, Event, EventSink, IdSource, Message, MessageId, Outcome, Spool, SpoolStream, StoreError,
    StoreKey, UnixMicros,
};
use policy::{MailClass, MailKind, Suppressed, SuppressedBy};
use reception::{Admissions, Figures, Names, Onward, Parts, Reception};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What all loops of a house share.
#[derive(Default)]
pub(crate) struct Shared {
    /// Messages whose 250 may have been sent, in order.
    pub(crate) onward: Mutex<Vec<Arc<Message>>>,
    /// Content of large messages, if `keep_streams`.
    pub(crate) streams: Mutex<Vec<Vec<u8>>>,
    pub(crate) streamed_bytes: AtomicU64,
    pub(crate) rejections: Mutex<Vec<String>>,
    /// What the spool fails with.
    pub(crate) failure: Mutex<Option<StoreError>>,
    /// While set, nothing becomes durable.
    pub(crate) holding: AtomicBool,
    pub(crate) discard_streams: AtomicBool,
    keys: AtomicU64,
}

/// A list of one address, for newsletters.
struct OneSuppressed;

impl Suppressed for OneSuppressed {
    fn suppressed(&self, recipient: &Address, mail: &MailClass<'_>, _at: UnixMicros) -> Option<SuppressedBy> {
        let is_listed = recipient.as_str() == "suppressed@example.org" && MailKind::NonTransactional.covers(mail.kind);
        is_listed.then_some(SuppressedBy::Complaint)
    }
}

#[derive(Clone)]
struct MemorySpool {
    shared: Arc<Shared>,
    context: engine::LoopContext,
}

impl MemorySpool {
    async fn settle(&self) -> Result<StoreKey, StoreError> {
        while self.shared.holding.load(SeqCst) {
            self.context.timers().sleep(Duration::from_millis(5)).await;
        }
        match *self.shared.failure.lock().unwrap() {
            Some(error) => Err(error),
            None => Ok(StoreKey(self.shared.keys.fetch_add(1, SeqCst))),
        }
    }
}

impl Spool for MemorySpool {
    type Stream = MemoryStream;

    async fn store(&self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        assert!(matches!(message.content, Content::Resident(_)));
        self.settle().await
    }

    fn stream(&self, _: MessageId) -> MemoryStream {
        MemoryStream { spool: self.clone(), octets: Vec::new() }
    }

    fn outcome(&self, _: StoreKey, _: u16, _: Outcome) {}

    async fn fetch(&self, _: StoreKey) -> Result<Arc<Message>, StoreError> {
        Err(StoreError::Missing)
    }

    async fn read(&self, _: StoreKey, _: u64, _: usize) -> Result<Slice, StoreError> {
        Err(StoreError::Missing)
    }
}

struct MemoryStream {
    spool: MemorySpool,
    octets: Vec<u8>,
}

impl SpoolStream for MemoryStream {
    async fn append(&mut self, slice: Slice) -> Result<(), StoreError> {
        if let Some(error) = *self.spool.shared.failure.lock().unwrap() {
            return Err(error);
        }
        self.spool.shared.streamed_bytes.fetch_add(slice.len() as u64, SeqCst);
        if !self.spool.shared.discard_streams.load(SeqCst) {
            self.octets.extend_from_slice(&slice);
        }
        Ok(())
    }

    async fn commit(self, message: Arc<Message>) -> Result<StoreKey, StoreError> {
        assert!(matches!(message.content, Content::Spooled { .. }));
        let key = self.spool.settle().await?;
        self.spool.shared.streams.lock().unwrap().push(self.octets);
        Ok(key)
    }
}

struct Sink(Arc<Shared>);

impl EventSink for Sink {
    fn event(&self, event: &Event<'_>) {
        let Event::Rejected(row) = event else { return };
        let row = format!(
            "{} P={} E={} M={} from={:?} to={:?} {}",
            row.pathway, row.phase, row.code, row.module, row.sender, row.recipient, row.text
        );
        self.0.rejections.lock().unwrap().push(row);
    }
}

impl Onward for Sink {
    fn stored(&self, message: Arc<Message>, _: StoreKey) {
        self.0.onward.lock().unwrap().push(message);
    }
}

/// A running reception. Dropping it stops it.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) unix: PathBuf,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pressure: PressureGauge,
    pub(crate) windows: WindowPool,
    newest: Arc<Mutex<Arc<Config>>>,
    gauges: Gauges,
    names: Names,
    loops: Option<Loops>,
    _directory: tempfile::TempDir,
}

/// How a house is built.
pub(crate) struct Plan {
    pub(crate) loops: usize,
    pub(crate) descriptors: u64,
    pub(crate) drain: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self { loops: 1, descriptors: 10_000, drain: Duration::from_secs(5) }
    }
}

/// A configuration with one listener `mx` for everybody and everything, changed by `lines` of its stanza.
pub(crate) fn config(server: &str, lines: &str) -> Arc<Config> {
    let relay = if lines.contains("relay_") { "" } else { "relay_from = [\"0.0.0.0/0\"]\n" };
    let text = format!(
        "[server]\nhostname = \"mx.example.org\"\npostmaster = \"root@example.org\"\n{server}\n\
         [listener.mx]\nbind = [\"127.0.0.1:0\"]\n{relay}{lines}\n"
    );
    Arc::new(Config::parse("test", &text).unwrap_or_else(|errors| panic!("{errors:?}")))
}

impl House {
    /// One loop, with these lines in the listener's stanza.
    pub(crate) fn new(lines: &str) -> Self {
        Self::build(config("", lines), Plan::default())
    }

    pub(crate) fn build(config: Arc<Config>, plan: Plan) -> Self {
        let shared = Arc::<Shared>::default();
        let (gauges, pressure) = (Gauges::new(), PressureGauge::new());
        let names = Names::register(&gauges).unwrap();
        let windows = WindowPool::new(WindowPool::WINDOW_BYTES, 16);
        let admissions = Admissions::new();
        let descriptors = Descriptors::new(plan.descriptors, Reserve { delivery: 0, journal: 0, console: 0 });
        let newest = Arc::new(Mutex::new(config));
        let listeners = listen_each("127.0.0.1:0".parse().unwrap(), &ListenOptions::default(), plan.loops).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let unix = directory.path().join("lmtp.sock");
        let local = listen_unix(&unix, 0o600).unwrap();
        let inputs = listeners.into_iter().map(|listener| (listener, local.try_clone().unwrap())).collect();
        let options = LoopOptions { gauges: gauges.clone(), ..LoopOptions::default() };
        let build = {
            let (shared, windows, newest, pressure) =
                (shared.clone(), windows.clone(), newest.clone(), pressure.clone());
            move |context: engine::LoopContext, (tcp, unix)| {
                let parts = Parts {
                    spool: MemorySpool { shared: shared.clone(), context: context.clone() },
                    events: Sink(shared.clone()),
                    onward: Sink(shared.clone()),
                    admissions: admissions.clone(),
                    descriptors: descriptors.clone(),
                    pressure: pressure.clone(),
                    counters: names.counters(context.gauges()),
                    suppressed: Rc::new(OneSuppressed),
                    windows: windows.clone(),
                    ids: IdSource::new(context.index() as u16 + 1, 7),
                    context,
                };
                serve(parts, tcp, unix, newest.clone(), plan.drain)
            }
        };
        let loops = Loops::start_each(options, inputs, build).unwrap();
        Self {
            address,
            unix,
            shared,
            pressure,
            windows,
            newest,
            gauges,
            names,
            loops: Some(loops),
            _directory: directory,
        }
    }

    pub(crate) fn reload(&self, config: Arc<Config>) {
        *self.newest.lock().unwrap() = config;
        let figures = self.figures().sessions_total;
        // A session that begins after the loops have looked has the new terms.
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(self.figures().sessions_total, figures);
    }

    /// Asks the loops to stop; does not wait.
    pub(crate) fn stop(&self) {
        self.loops.as_ref().unwrap().stop();
    }

    /// Waits until all loops have ended by themselves.
    pub(crate) fn join(mut self) -> Arc<Shared> {
        let ends = self.loops.take().unwrap().join();
        assert!(ends.iter().all(|end| matches!(end, engine::LoopEnd::Finished)), "{ends:?}");
        self.shared.clone()
    }

    pub(crate) fn figures(&self) -> Figures {
        self.names.read(&self.gauges)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A client after EHLO.
    pub(crate) fn greeted(&self) -> Client {
        let mut client = self.client();
        assert_eq!(client.code(), 220);
        assert_eq!(client.codes("EHLO client.example.net\r\n", 1), [250]);
        client
    }

    pub(crate) fn messages(&self) -> Vec<Arc<Message>> {
        self.shared.onward.lock().unwrap().clone()
    }

    pub(crate) fn rejections(&self) -> Vec<String> {
        self.shared.rejections.lock().unwrap().clone()
    }

    pub(crate) fn set_pressure(&self, pressure: Pressure) {
        self.pressure.set(pressure);
    }

    /// Waits until `fits` is true.
    pub(crate) fn until(&self, what: &str, fits: impl Fn(&House) -> bool) {
        let begin = std::time::Instant::now();
        while !fits(self) {
            assert!(begin.elapsed() < PATIENCE, "{what} did not come");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(loops) = self.loops.take() {
            loops.shutdown(Duration::from_millis(100));
        }
    }
}

async fn serve(
    parts: Parts<MemorySpool, Sink, Sink>,
    tcp: std::net::TcpListener,
    unix: std::os::unix::net::UnixListener,
    newest: Arc<Mutex<Arc<Config>>>,
    drain: Duration,
) {
    let context = parts.context.clone();
    let mut config = newest.lock().unwrap().clone();
    let reception = Reception::new(parts, &config);
    reception.serve("mx", Listener::from_tcp(tcp).unwrap()).unwrap().detach();
    reception.serve("mx", Listener::from_unix(unix).unwrap()).unwrap().detach();
    let mut stopped = context.root().stopped();
    while context.timers().after(Duration::from_millis(10)).limit(&mut stopped).await.is_err() {
        let now = newest.lock().unwrap().clone();
        if !Arc::ptr_eq(&now, &config) {
            reception.set_config(&now);
            config = now;
        }
    }
    reception.drain(drain).await;
}

/// A client that speaks when told.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
    }

    /// The last line of the next reply.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                if line.as_bytes().get(3) == Some(&b' ') {
                    return line.trim_end().to_owned();
                }
                continue;
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).expect("a reply in time") {
                0 => panic!("closed instead of a reply, unread {:?}", self.unread.escape_ascii().to_string()),
                read => self.unread.extend_from_slice(&buffer[..read]),
            }
        }
    }

    pub(crate) fn code(&mut self) -> u16 {
        self.reply()[..3].parse().unwrap()
    }

    /// Sends `text` and reads so many replies.
    pub(crate) fn codes(&mut self, text: impl AsRef<[u8]>, replies: usize) -> Vec<u16> {
        self.send(text);
        (0..replies).map(|_| self.code()).collect()
    }

    /// What comes until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.unread);
        // A reset after the last reply is an end as well.
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8(rest).unwrap()
    }

    /// MAIL, RCPT, DATA and content in the order a client would; returns the last reply.
    pub(crate) fn deliver(&mut self, content: &str) -> String {
        let group = "MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";
        assert_eq!(self.codes(group, 3), [250, 250, 354]);
        self.send(format!("{content}.\r\n"));
        self.reply()
    }
}

/// The content of a message that stayed in memory.
pub(crate) fn content(message: &Message) -> Vec<u8> {
    match &message.content {
        Content::Resident(body) => body.to_vec(),
        Content::Spooled { len } => panic!("{len} octets in the spool"),
    }
}
