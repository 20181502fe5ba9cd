//! `posthaste run` and the plain uses of a configuration: the process around a server.

use crate::failure::Failure;
use crate::server::{Server, StartOptions};
use config::{Config, Surroundings};
use engine::{LoopContext, LoopOptions, Notice, Notifier, Signal, Signals};
use resolver::ResolvConf;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Reads and validates a configuration; all its errors are printed.
pub(crate) fn load(file: &Path) -> Result<Arc<Config>, Failure> {
    load_generation(file, 0)
}

/// As [`load`], for the generation with this number.
pub(crate) fn load_generation(file: &Path, generation: u64) -> Result<Arc<Config>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::caused(format!("cannot read {}", file.display()), &error))?;
    parse_generation(&file.display().to_string(), &text, generation)
}

/// Validates a configuration's text; all its errors are printed, and its warnings.
pub(crate) fn parse(name: &str, text: &str) -> Result<Arc<Config>, Failure> {
    parse_generation(name, text, 0)
}

/// What a configuration takes from the machine: its name and its name servers.
fn surroundings(generation: u64) -> Surroundings {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let conf = ResolvConf::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let name_servers: Vec<_> = conf.servers.iter().map(|&address| SocketAddr::new(address, 53)).collect();
    let defaults = Surroundings::default();
    Surroundings {
        generation,
        hostname: if name.trim().is_empty() { defaults.hostname } else { name.trim().to_owned() },
        name_servers: if name_servers.is_empty() { defaults.name_servers } else { name_servers },
    }
}

fn parse_generation(name: &str, text: &str, generation: u64) -> Result<Arc<Config>, Failure> {
    match Config::parse_in(&surroundings(generation), name, text) {
        Ok(config) => {
            config.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            Ok(Arc::new(config))
        }
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            Err(Failure::silent())
        }
    }
}

/// The configuration in a file, or the built-in one.
pub(crate) fn load_or_builtin(file: Option<&Path>) -> Result<Arc<Config>, Failure> {
    match file {
        Some(file) => load(file),
        None => parse(config::DEFAULT_FILE_NAME, &config::default_text()),
    }
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(file: Option<PathBuf>) -> Result<(), Failure> {
    let config = load_or_builtin(file.as_deref())?;
    let limit = engine::raise_descriptor_limit()
        .map_err(|error| Failure::caused("cannot raise the limit of open descriptors", &error))?;
    let inherited = engine::inherited_sockets()
        .map_err(|error| Failure::caused("cannot take over the sockets of the service manager", &error))?;
    let options = StartOptions { inherited, ..StartOptions::default() };
    let server = Server::start(config, options)?;
    eprintln!("{}", server.limits(limit));
    let server = Rc::new(server);
    let steered = engine::run_here(LoopOptions::default(), {
        let server = server.clone();
        move |context| steer(context, server, file)
    });
    let steered = steered.map_err(|error| Failure::caused("cannot start the control loop", &error))?;
    let server = Rc::into_inner(server).ok_or_else(|| Failure::new("the control loop left tasks behind"))?;
    server.stop();
    steered
}

/// The control loop: signals, the console, the service manager.
async fn steer(context: LoopContext, server: Rc<Server>, file: Option<PathBuf>) -> Result<(), Failure> {
    let failed = |what: &'static str| move |error: std::io::Error| Failure::caused(what, &error);
    let mut signals = Signals::new().map_err(failed("cannot catch signals"))?;
    let notifier = Rc::new(Notifier::from_env().map_err(failed("cannot reach the service manager"))?);
    let operator = crate::operate::Operator::new(server.clone(), file.clone());
    let console = context.root().child();
    if let Some(socket) = operator.bind() {
        console.spawn(engine::TaskKind("console"), console::serve(socket, operator.clone())).detach();
    }
    if let Some(interval) = notifier.watchdog_interval() {
        let (notifier, timers) = (notifier.clone(), context.timers().clone());
        console
            .spawn(engine::TaskKind("watchdog"), async move {
                loop {
                    // A manager that cannot be told will restart us, which is its business.
                    let _ = notifier.notify(&[Notice::Watchdog]);
                    timers.sleep(interval / 2).await;
                }
            })
            .detach();
    }
    println!("ready");
    let _ = notifier.notify(&[Notice::Ready]);
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Terminate | Signal::Interrupt => break,
                Signal::Reopen => server.reopen_logs(),
                Signal::Reload => {
                    let _ = notifier.notify(&[Notice::Reloading]);
                    eprintln!("{}", operator.reload().text);
                    let _ = notifier.notify(&[Notice::Ready]);
                }
            },
            () = operator.shutdown_asked() => break,
        }
    }
    let _ = notifier.notify(&[Notice::Stopping]);
    console.abort();
    console.ended().await;
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) fn until_interrupted() -> Result<(), Failure> {
    let waited = engine::run_here(LoopOptions::default(), |_context| async {
        let mut signals = Signals::new()?;
        while !matches!(signals.next().await, Signal::Terminate | Signal::Interrupt) {}
        Ok::<_, std::io::Error>(())
    });
    let waited = waited.map_err(|error| Failure::caused("cannot start the control loop", &error))?;
    waited.map_err(|error| Failure::caused("cannot catch signals", &error))
}
