//! `Channel`: opened by making it, closed by leaving its context.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use fabric::channel::{ChannelBuilder, Deadline, FlushError, Progress, Reconnect, State, Waiting};
use fabric::queue::{BYTES_MAX, Full, Priority, QueueKind, ReceiveFull, ReceiveKind, Weights};
use fabric::tli::Trust;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Busy, of_flush, of_open, value};
use crate::message::named;
use crate::receiver::Receiver;
use crate::sender::{Sender, WhenFull};
use crate::wait::{Step, deadline, until};
use crate::window::Window;

const PRIORITIES: [(&str, Priority); 7] = [
    ("critical", Priority::Critical),
    ("highest", Priority::Highest),
    ("high", Priority::High),
    ("normal", Priority::Normal),
    ("low", Priority::Low),
    ("lowest", Priority::Lowest),
    ("idle", Priority::Idle),
];

const FULLS: [(&str, Full); 4] = [
    ("block", Full::Block),
    ("refuse", Full::Refuse),
    ("discard-oldest", Full::DiscardOldest),
    ("discard-newest", Full::DiscardNewest),
];

const RECEIVE_FULLS: [(&str, ReceiveFull); 3] = [
    ("hold-back", ReceiveFull::HoldBack),
    ("discard-oldest", ReceiveFull::DiscardOldest),
    ("discard-newest", ReceiveFull::DiscardNewest),
];

/// Waits at the end of a context for what was posted to be read.
const LINGER_SECONDS: f64 = 5.0;

/// One text or several.
#[derive(FromPyObject)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn each(texts: Option<Self>) -> Vec<String> {
        match texts {
            None => Vec::new(),
            Some(Self::One(text)) => vec![text],
            Some(Self::Many(texts)) => texts,
        }
    }
}

/// The settings of a channel besides its addresses; a dictionary of keywords, so that one list serves stub, check and parser.
fn apply(builder: ChannelBuilder, name: &str, setting: &Bound<'_, PyAny>) -> PyResult<ChannelBuilder> {
    Ok(match name {
        "name" => builder.name(setting.extract::<String>()?),
        "windows" => with_windows(builder, setting, ChannelBuilder::windows)?,
        "urgent_windows" => with_windows(builder, setting, ChannelBuilder::urgent_windows)?,
        "accept" => with_windows(builder, setting, ChannelBuilder::accept)?,
        "arena" => {
            let (bytes, count) = setting.extract::<(usize, usize)>()?;
            if bytes > u32::MAX as usize - (64 << 10) {
                return Err(value(format!("arena windows of {bytes} bytes, the most is 4 GiB less 64 KiB")));
            }
            builder.arena(Arc::new(::fabric::Arena::new(bytes, count)?))
        }
        "trust" => {
            let of = [("hostile", Trust::Hostile), ("same", Trust::Same)];
            builder.trust(named("trust", &setting.extract::<String>()?, &of)?)
        }
        "users" => builder.users(setting.extract()?),
        "weights" => builder.weights(Weights::new(setting.extract()?).map_err(|error| value(error.to_string()))?),
        "waiting" => {
            let of = [("spin", Waiting::default()), ("busy", Waiting::Busy), ("park", Waiting::Park)];
            builder.waiting(named("waiting", &setting.extract::<String>()?, &of)?)
        }
        "progress" => {
            let of = [("service", Progress::Service), ("caller", Progress::Caller)];
            builder.progress(named("progress", &setting.extract::<String>()?, &of)?)
        }
        "reconnect" => {
            let of = [("always", Reconnect::Always), ("never", Reconnect::Never)];
            builder.reconnect(named("reconnect", &setting.extract::<String>()?, &of)?)
        }
        "receive_queue" => with_receive_queue(builder, setting)?,
        other => return Err(pyo3::exceptions::PyTypeError::new_err(format!("unknown setting {other:?}"))),
    })
}

fn with_windows(
    builder: ChannelBuilder,
    setting: &Bound<'_, PyAny>,
    set: fn(ChannelBuilder, usize, usize) -> ChannelBuilder,
) -> PyResult<ChannelBuilder> {
    let (bytes, count) = setting.extract::<(usize, usize)>()?;
    // The least that holds a header, a word and an empty message.
    if bytes < 64 || count == 0 {
        return Err(value(format!("{count} windows of {bytes} bytes, the least is 1 of 64")));
    }
    Ok(set(builder, bytes, count))
}

/// `(consumers, capacity or None, when full)`.
fn with_receive_queue(builder: ChannelBuilder, setting: &Bound<'_, PyAny>) -> PyResult<ChannelBuilder> {
    let (consumers, capacity, full) = setting.extract::<(String, Option<usize>, String)>()?;
    let full = named("full", &full, &RECEIVE_FULLS)?;
    let multi = named("consumers", &consumers, &[("mono", false), ("multi", true)])?;
    let kind = match (multi, capacity) {
        (_, Some(0)) => return Err(value("a bounded queue holds at least one message")),
        (false, None) => ReceiveKind::MonoUnbounded,
        (false, Some(capacity)) => ReceiveKind::MonoBounded { capacity, full },
        (true, None) => ReceiveKind::MultiUnbounded,
        (true, Some(capacity)) => ReceiveKind::MultiBounded { capacity, full },
    };
    Ok(builder.receive_queue(kind, BYTES_MAX))
}

/// See fabric.pyi.
#[pyclass(frozen, module = "fabric")]
pub(crate) struct Channel {
    channel: ::fabric::channel::Channel,
    receiver: Py<Receiver>,
}

#[pymethods]
impl Channel {
    #[new]
    #[pyo3(signature = (*, listen = None, connect = None, **settings))]
    fn new(
        py: Python<'_>,
        listen: Option<Texts>,
        connect: Option<Texts>,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut builder = ::fabric::channel::Channel::builder();
        for uri in Texts::each(listen) {
            builder = builder.listen(uri);
        }
        for uri in Texts::each(connect) {
            builder = builder.connect(uri);
        }
        for (name, setting) in settings.into_iter().flatten() {
            if !setting.is_none() {
                builder = apply(builder, &name.extract::<String>()?, &setting)?;
            }
        }
        // A host's name is asked of the network.
        let opened = detached(py, builder);
        let (channel, receiver) = opened.map_err(|error| of_open(py, error))?;
        Ok(Self { channel, receiver: Py::new(py, Receiver::new(receiver))? })
    }

    /// The channel's receiver.
    #[getter]
    fn receiver(&self, py: Python<'_>) -> Py<Receiver> {
        self.receiver.clone_ref(py)
    }

    #[getter]
    fn name(&self) -> &str {
        self.channel.name()
    }

    /// A new input queue, and its sender.
    #[pyo3(signature = (kind = "mono", *, priority = "normal", capacity = None, full = "block", bytes = BYTES_MAX))]
    fn sender(
        &self,
        kind: &str,
        priority: &str,
        capacity: Option<usize>,
        full: &str,
        bytes: usize,
    ) -> PyResult<Sender> {
        let (priority, full) = (named("priority", priority, &PRIORITIES)?, named("full", full, &FULLS)?);
        let kind = match (kind, capacity) {
            (_, Some(0)) => return Err(value("a bounded queue holds at least one message")),
            ("mono", None) => QueueKind::MonoUnbounded,
            ("multi", None) => QueueKind::MultiUnbounded,
            ("tagged", None) => QueueKind::MultiUnboundedTagged,
            ("multi", Some(capacity)) => QueueKind::MultiBounded { capacity, full },
            ("tagged", Some(capacity)) => QueueKind::MultiBoundedTagged { capacity, full },
            ("mono", Some(_)) => return Err(value("a queue of one producer is bounded by bytes alone")),
            (other, _) => return Err(value(format!("kind {other:?}, known are mono, multi, tagged"))),
        };
        let when_full = match kind {
            QueueKind::MultiBounded { full, .. } | QueueKind::MultiBoundedTagged { full, .. }
                if full != Full::Block =>
            {
                WhenFull::Say
            }
            _ => WhenFull::Wait,
        };
        Ok(Sender::new(self.channel.sender_with(kind, priority, bytes), when_full))
    }

    /// A window of the channel's arena.
    fn take_window(&self) -> PyResult<Window> {
        let taken = self.channel.take_window();
        let busy = || Busy::new_err(format!("channel {}: no window is free", self.channel.name()));
        Ok(Window::new(taken.ok_or_else(busy)?))
    }

    /// Where it stands, and who is there or why not.
    fn state(&self) -> (&'static str, String) {
        match self.channel.state() {
            State::Looking => ("looking", String::new()),
            State::Up { peers } => ("up", peers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
            State::Lost(loss) => ("lost", loss.to_string()),
            State::Failed { why } => ("failed", why),
            State::Closed => ("closed", String::new()),
        }
    }

    /// What it counted.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.channel.stats();
        let (received_messages, received_bytes) = stats.queue_received.unwrap_or_default();
        let all = PyDict::new(py);
        for (name, number) in [
            ("sent_messages", stats.sent_messages),
            ("sent_bytes", stats.sent_bytes),
            ("queued_messages", stats.queued_messages as u64),
            ("unread_messages", stats.unread_messages),
            ("links", stats.links as u64),
            ("links_lost", stats.links_lost),
            ("received_messages", received_messages),
            ("received_bytes", received_bytes),
        ] {
            all.set_item(name, number)?;
        }
        Ok(all)
    }

    /// Waits until peers have read everything.
    #[pyo3(signature = (timeout = None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let flushed = until(py, deadline(timeout)?, |step| match self.channel.flush(step) {
            Err(error @ FlushError::TimedOut { .. }) => Step::Late(Err(error)),
            result => Step::Done(result),
        })?;
        flushed.map_err(|error| of_flush(py, &error))
    }

    /// Sends what was taken and closes.
    #[pyo3(signature = (linger = LINGER_SECONDS))]
    fn close(&self, py: Python<'_>, linger: Option<f64>) -> PyResult<()> {
        let linger = deadline(linger)?;
        py.detach(|| self.channel.close(linger)).map_err(|error| of_flush(py, &error))
    }

    /// Makes what progress there is to make.
    fn progress(&self, py: Python<'_>) {
        py.detach(|| self.channel.progress());
    }

    /// What an event loop has to watch.
    fn descriptors(&self) -> Vec<i32> {
        let mut all = Vec::new();
        self.channel.each_readiness(|descriptor| all.push(descriptor.as_raw_fd()));
        all
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _trace: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if matches!(self.channel.state(), State::Closed) {
            return Ok(());
        }
        if kind.is_none() {
            return self.close(py, Some(LINGER_SECONDS));
        }
        // The exception that is on its way says more than what was not read.
        let _ = py.detach(|| self.channel.close(Deadline::Now));
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("<fabric.Channel {}, {}>", self.channel.name(), self.state().0)
    }
}

type Opened = Result<(::fabric::channel::Channel, ::fabric::channel::Receiver), ::fabric::tli::OpenError>;

fn detached(py: Python<'_>, builder: ChannelBuilder) -> Opened {
    py.detach(move || builder.open())
}
