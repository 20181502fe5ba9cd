//! Opens channels as the command line says: modules, roles, windows, filters by address.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fabric::channel::{Channel, ChannelBuilder, FlushError, Receiver, Reconnect, State};
use fabric::filter::{Counters, Direction, Resources};
use fabric::tli::Providers;
use fabric_modules::{Module, TrustedKeys};

use crate::cli::{ChannelArgs, LoadArgs};
use crate::failure::Failure;

/// The transports that are built in, and in front of them the modules asked for.
pub(crate) fn load(loading: &LoadArgs) -> Result<Providers, Failure> {
    let keys = TrustedKeys::parse(loading.keys.iter().map(String::as_str))?;
    let mut providers = Providers::linked();
    for path in &loading.modules {
        providers = providers.with(Module::load(path, &keys)?);
    }
    Ok(providers)
}

/// What the filters of addresses write to; counters are shown when this is dropped.
pub(crate) struct Watch {
    counters: Arc<Counters>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self { counters: Arc::new(Counters::new()) }
    }

    fn resources(&self) -> Resources {
        let trace: fabric::filter::TraceSink = Arc::new(|line| eprintln!("{line}"));
        Resources { trace: Some(trace), counters: Some(Arc::clone(&self.counters)) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Nothing was counted where no address asked for it.
        if self.counters.links() > 0 {
            for (name, direction) in [("out", Direction::Out), ("in", Direction::In)] {
                let count = self.counters.direction(direction);
                eprintln!("{name}: {} messages, {} bytes, {} windows", count.messages, count.bytes, count.windows);
            }
        }
    }
}

/// A builder with the modules and filters in place, for one peer.
pub(crate) fn builder(providers: &Providers, watch: &Watch) -> ChannelBuilder {
    let builder = Channel::builder().providers(providers.clone()).filter_resources(watch.resources());
    builder.reconnect(Reconnect::Never)
}

/// One side of a channel.
pub(crate) fn open(
    providers: &Providers,
    watch: &Watch,
    args: &ChannelArgs,
    reconnect: Reconnect,
) -> Result<(Channel, Receiver), Failure> {
    let builder = builder(providers, watch).reconnect(reconnect);
    let builder = if args.listen { builder.listen(&args.uri) } else { builder.connect(&args.uri) };
    let builder = match (args.window_bytes, args.windows) {
        (None, None) => builder,
        (bytes, count) => builder.windows(bytes.unwrap_or(256 << 10), count.unwrap_or(16)),
    };
    Ok(builder.open()?)
}

/// Whether everything was read, given how waiting for that has ended: a peer that left as soon as it had read everything did read it.
pub(crate) fn all_read(channel: &Channel, flushed: Result<(), FlushError>) -> Result<(), Failure> {
    match flushed {
        Err(FlushError::PeerGone(loss)) if loss.in_doubt == 0 && channel.stats().queued_messages == 0 => Ok(()),
        other => Ok(other?),
    }
}

/// Waits until a peer is there.
pub(crate) fn await_peer(channel: &Channel, wait: Duration) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        channel.progress();
        match channel.state() {
            State::Up { .. } => return Ok(()),
            State::Failed { why } => return Err(Failure::new(format!("channel {}: {why}", channel.name()))),
            State::Lost(loss) => return Err(Failure::new(loss.to_string())),
            State::Closed => return Err(Failure::new(format!("channel {} is closed", channel.name()))),
            State::Looking if start.elapsed() > wait => {
                let seconds = wait.as_secs_f64();
                return Err(Failure::new(format!("channel {}: no peer came within {seconds} s", channel.name())));
            }
            State::Looking => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}
