//! Checks that look at more than one option: what contradicts itself is an error, what is dangerous is a warning.

use std::collections::{HashMap, HashSet};

use crate::assemble::{Assembly, NamedStanza};
use crate::config::{Config, DEFAULT_BINDING, Listener};
use crate::error::quoted;
use crate::options::{ListenerStanza, Setting, Stanza};
use crate::suggest::nearest;
use crate::value::{BindAddress, Durability, LogEvent, LogFormat, MemoryAmount, Percent, ProxyProtocol, Store};

/// Names that are compared for one "did you mean".
const NAMES_COMPARED_MAX: usize = 1000;

/// Tenants with a share: as many as a queue's entry can name.
const TENANTS_MAX: usize = 255;

/// Runs them all.
pub(crate) fn across(assembly: &mut Assembly<'_>, config: &Config) {
    check_listeners(assembly, config);
    check_addresses(assembly, config);
    check_logs(assembly, config);
    check_groups(assembly);
    check_bindings(assembly);
    check_egress(assembly, config);
    check_tenants(assembly);
    check_marks(assembly, config);
    check_auto_suppressions(assembly);
    check_resolver(assembly, config);
    check_memory(assembly, config);
    check_retries(assembly);
    check_shaping(assembly, config);
    if config.spool.store == Store::Memory && config.server.durability != Durability::Memory {
        let at = offset(assembly.spool.store.as_deref(), 0);
        let message = "messages are kept in memory only, so a 250 promises less than [server] durability says";
        assembly.report.warning(at, "[spool] store", message);
    }
}

/// Offset of a value, or of what stands for it.
fn offset<T>(setting: Option<&Setting<T>>, otherwise: usize) -> usize {
    setting.map_or(otherwise, |setting| setting.place.at as usize)
}

fn check_listeners(assembly: &mut Assembly<'_>, config: &Config) {
    if config.listeners.is_empty() && assembly.report.is_whole() && assembly.report.errors.is_empty() {
        assembly.report.warning(0, "", "there is no [listener.NAME], so no mail comes in");
    }
    for (named, listener) in assembly.listeners.list.iter().zip(&config.listeners) {
        let report = &mut assembly.report;
        let object = |option: &str| format!("[{}] {option}", named.header);
        let failed = |option: &str| assembly.failed.contains(&(named.header.clone(), option.to_owned()));
        if listener.bind.is_empty() && !failed("bind") && report.is_whole() {
            let at = offset(named.stanza.bind.as_deref(), named.at);
            report.error(at, object("bind"), "the listener has no address; write bind = [\"192.0.2.1:25\"]");
        }
        let proxies = listener.proxy_protocol == ProxyProtocol::Required && listener.proxy_from.is_empty();
        if proxies && !failed("proxy_from") && report.is_whole() {
            let at = offset(named.stanza.proxy_protocol.as_deref(), named.at);
            let message = "the header is required but believed from nobody; write proxy_from = [\"192.0.2.0/24\"]";
            report.error(at, object("proxy_protocol"), message);
        }
        for (option, open, at) in open_doors(listener, named) {
            report.warning(at, object(option), format!("{open}: this listener relays for the whole world"));
        }
    }
}

/// What lets strangers send anywhere.
fn open_doors(listener: &Listener, named: &NamedStanza<ListenerStanza>) -> Vec<(&'static str, String, usize)> {
    let mut doors = Vec::new();
    if let Some(network) = listener.relay_from.iter().find(|network| network.is_everything()) {
        let at = offset(named.stanza.relay_from.as_deref(), named.at);
        doors.push(("relay_from", format!("{network} is every client"), at));
    }
    if listener.relay_domains.is_everything() {
        let at = offset(named.stanza.relay_domains.as_deref(), named.at);
        doors.push(("relay_domains", "\"*\" is every domain".to_owned(), at));
    }
    doors
}

fn check_addresses(assembly: &mut Assembly<'_>, config: &Config) {
    let mut seen: HashMap<&BindAddress, (&str, u32)> = HashMap::new();
    for (named, listener) in assembly.listeners.list.iter().zip(&config.listeners) {
        let at = offset(named.stanza.bind.as_deref(), named.at);
        let line = assembly.report.line(at);
        for address in &listener.bind {
            if matches!(address, BindAddress::Ip(address) if address.port() == 0) {
                continue;
            }
            if let Some((other, line)) = seen.insert(address, (&named.header, line)) {
                let message = format!("{address} is bound twice; first in [{other}] on line {line}");
                assembly.report.error(at, format!("[{}] bind", named.header), message);
            }
        }
    }
}

fn check_logs(assembly: &mut Assembly<'_>, config: &Config) {
    let mut seen = HashMap::new();
    for (named, log) in assembly.logs.list.iter().zip(&config.logs) {
        let at = offset(named.stanza.path.as_deref(), named.at);
        if let Some(other) = seen.insert(log.path.clone(), named.header.clone()) {
            let path = log.path.display();
            assembly.report.error(
                at,
                format!("[{}] path", named.header),
                format!("{path} is written by [{other}] too"),
            );
        }
        let known: &[LogEvent] = match log.format {
            LogFormat::Ec => &[LogEvent::Reception, LogEvent::Delivery, LogEvent::Transient, LogEvent::Permanent],
            LogFormat::Bounce => &[LogEvent::Transient, LogEvent::Permanent, LogEvent::OutOfBand],
            LogFormat::Feedback => &[LogEvent::Complaint],
            LogFormat::Reject => &[LogEvent::Rejection],
            LogFormat::Shaping => &[],
        };
        if let Some(event) = log.events.iter().find(|event| !known.contains(event)) {
            let words: Vec<&str> = known.iter().map(|event| event.word()).collect();
            let (event, format) = (event.word(), log.format.word());
            let words = if words.is_empty() { "none to choose from".to_owned() } else { words.join(", ") };
            let message = format!("the format {format} has no event \"{event}\"; it has {words}");
            let at = offset(named.stanza.events.as_deref(), named.at);
            assembly.report.error(at, format!("[{}] events", named.header), message);
        }
    }
}

fn check_groups(assembly: &mut Assembly<'_>) {
    for group in &assembly.groups.list {
        let object = |option: &str| format!("[{}] {option}", group.header);
        let at = offset(group.stanza.bindings.as_deref(), group.at);
        let members = group.stanza.bindings.as_ref().map(|setting| setting.value.as_slice()).unwrap_or_default();
        let failed = assembly.failed.contains(&(group.header.clone(), "bindings".to_owned()));
        if members.is_empty() && !failed && assembly.report.is_whole() {
            assembly.report.error(at, object("bindings"), "the group has no bindings; write bindings = [\"NAME\"]");
        }
        let mut seen = HashSet::new();
        for member in members {
            if assembly.report.is_full() {
                return;
            }
            let known = member == DEFAULT_BINDING || assembly.scopes.bindings.contains_key(member);
            if !known {
                let names = assembly.scopes.bindings.keys().map(String::as_str).take(NAMES_COMPARED_MAX);
                let hint = nearest(member, names).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let message = format!("there is no [binding.{}]{hint}", quoted(member));
                assembly.report.error(at, object("bindings"), message);
            } else if !seen.insert(member) {
                assembly.report.error(at, object("bindings"), format!("the binding `{member}` is named twice"));
            }
        }
        let Some(weights) = group.stanza.weights.as_ref() else { continue };
        let at = weights.place.at as usize;
        if !failed && weights.value.len() != members.len() {
            let message = format!("{} weights for {} bindings; write one for each", weights.value.len(), members.len());
            assembly.report.error(at, object("weights"), message);
        } else if !members.is_empty() && weights.value.iter().all(|weight| *weight == 0) {
            assembly.report.error(at, object("weights"), "every weight is 0, so no binding gets mail");
        }
    }
}

/// What stands inside a binding or a group needs the binding or the group.
fn check_bindings(assembly: &mut Assembly<'_>) {
    if !assembly.report.is_whole() {
        return;
    }
    let mut orphans = Vec::new();
    for (name, scope) in &assembly.scopes.bindings {
        if scope.own.is_none() && name != DEFAULT_BINDING {
            scope.domains.each(|index| orphans.push((index, format!("there is no [binding.{name}]"))));
        }
    }
    for (name, scope) in &assembly.scopes.groups {
        let Some(group) = assembly.groups.get(name) else {
            let missing = format!("there is no [binding_group.{name}]");
            scope.domains.each(|index| orphans.push((index, missing.clone())));
            for member in scope.bindings.values() {
                orphans.extend(member.own.map(|index| (index, missing.clone())));
                member.domains.each(|index| orphans.push((index, missing.clone())));
            }
            continue;
        };
        let members: HashSet<&String> = group.stanza.bindings.iter().flat_map(|setting| &setting.value).collect();
        for (member, scope) in scope.bindings.iter().filter(|(member, _)| !members.contains(member)) {
            let missing = format!("`{member}` is not among the bindings of [binding_group.{name}]");
            orphans.extend(scope.own.map(|index| (index, missing.clone())));
            scope.domains.each(|index| orphans.push((index, missing.clone())));
        }
    }
    orphans.sort_by_key(|(index, _)| *index);
    for (index, message) in orphans {
        let stanza = assembly.scopes.stanza(index);
        let (at, header) = (stanza.at, format!("[{}]", stanza.header));
        assembly.report.error(at, header, message);
    }
}

/// Each `[egress.NAME]` names one binding or group that exists, and has mail left to take.
fn check_egress(assembly: &mut Assembly<'_>, config: &Config) {
    let mut takes_all: Option<&str> = None;
    for (named, egress) in assembly.egress.list.iter().zip(&config.egress) {
        let report = &mut assembly.report;
        if report.is_full() {
            return;
        }
        let object = |option: &str| format!("[{}] {option}", named.header);
        let (binding, group) = (egress.binding.0.as_deref(), egress.binding_group.0.as_deref());
        let at_binding = offset(named.stanza.binding.as_deref(), named.at);
        let at_group = offset(named.stanza.binding_group.as_deref(), named.at);
        match (binding, group) {
            (None, None) if report.is_whole() => {
                report.error(named.at, format!("[{}]", named.header), "it names no binding; write binding = \"NAME\"");
            }
            (Some(_), Some(_)) => {
                report.error(at_group, object("binding_group"), "a binding is named as well; write one of the two");
            }
            (Some(name), None) if name != DEFAULT_BINDING && !assembly.scopes.bindings.contains_key(name) => {
                let names = config.bindings.iter().map(|binding| &**binding).take(NAMES_COMPARED_MAX);
                let hint = nearest(name, names).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let message = format!("there is no [binding.{}]{hint}", quoted(name));
                report.error(at_binding, object("binding"), message);
            }
            (None, Some(name)) if assembly.groups.get(name).is_none() => {
                let names = config.binding_groups.iter().map(|group| &*group.name).take(NAMES_COMPARED_MAX);
                let hint = nearest(name, names).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let message = format!("there is no [binding_group.{}]{hint}", quoted(name));
                report.error(at_group, object("binding_group"), message);
            }
            _ => {}
        }
        if let Some(other) = takes_all {
            let message = format!("[{other}] stands before it and takes all mail, so this section takes none");
            report.warning(named.at, format!("[{}]", named.header), message);
        }
        let every = |set: &crate::value::DomainSet| set.patterns().next().is_none() || set.is_everything();
        if every(&egress.sender) && every(&egress.recipient) && egress.header.is_empty() && egress.tenant.is_empty() {
            takes_all = takes_all.or(Some(&named.header));
        }
    }
}

/// Tenants are told apart without regard to case.
fn check_tenants(assembly: &mut Assembly<'_>) {
    if let Some(named) = assembly.tenants.list.get(TENANTS_MAX) {
        let message = format!("at most {TENANTS_MAX} tenants can have a share of their own");
        assembly.report.error(named.at, format!("[{}]", named.header), message);
    }
    let mut known = HashMap::new();
    for named in &assembly.tenants.list {
        if let Some(other) = known.insert(named.name.to_ascii_lowercase(), &named.header) {
            let message = format!("[{other}] is the same tenant, for case does not count; write one of them");
            assembly.report.error(named.at, format!("[{}]", named.header), message);
        }
    }
}

/// Marks need keys.
fn check_marks(assembly: &mut Assembly<'_>, config: &Config) {
    let message = "marks are signed, and there is no key; write keys = [\"FILE\"] in [bounce]";
    let failed = assembly.failed.contains(&("bounce".to_owned(), "keys".to_owned()));
    if !config.bounce.keys.is_empty() || failed || !assembly.report.is_whole() {
        return;
    }
    for scoped in &assembly.scopes.stanzas {
        let path = scoped.stanza.verp_domain.as_ref().filter(|setting| setting.value.0.is_some());
        let mark = scoped.stanza.feedback_mark.as_ref().filter(|setting| setting.value);
        let places = [("verp_domain", path.map(|setting| setting.place)), ("feedback_mark", mark.map(|m| m.place))];
        for (option, place) in places {
            if let Some(place) = place {
                assembly.report.error(place.at as usize, format!("[{}] {option}", scoped.header), message);
            }
        }
    }
}

fn check_auto_suppressions(assembly: &mut Assembly<'_>) {
    for named in &assembly.auto_suppressions.list {
        let failed = assembly.failed.contains(&(named.header.clone(), "causes".to_owned()));
        let none = named.stanza.causes.as_ref().is_none_or(|setting| setting.value.is_empty());
        if none && !failed && assembly.report.is_whole() {
            let object = format!("[{}] causes", named.header);
            let message = "the rule has no cause; write causes = [\"invalid-recipient\", \"complaint\"]";
            assembly.report.error(offset(named.stanza.causes.as_deref(), named.at), object, message);
        }
    }
}

fn check_resolver(assembly: &mut Assembly<'_>, config: &Config) {
    let (stanza, options) = (&assembly.resolver, &config.resolver);
    let pairs = [("min_ttl", options.min_ttl, "max_ttl", options.max_ttl)];
    for (low, min, high, max) in pairs {
        if min > max {
            let place = stanza.place_of(low).or(stanza.place_of(high)).map_or(0, |place| place.at as usize);
            assembly.report.error(place, format!("[resolver] {low}"), format!("it is larger than {high}"));
        }
    }
}

/// The bindings whose age is told are there.
fn check_shaping(assembly: &mut Assembly<'_>, config: &Config) {
    let at = offset(assembly.shaping.in_use_since.as_deref(), 0);
    let mut seen = HashSet::new();
    for age in &config.shaping.in_use_since {
        let report = &mut assembly.report;
        if !config.bindings.iter().any(|binding| **binding == *age.binding) {
            let names = config.bindings.iter().map(|binding| &**binding).take(NAMES_COMPARED_MAX);
            let hint = nearest(&age.binding, names).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            let message = format!("there is no [binding.{}]{hint}", quoted(&age.binding));
            report.error(at, "[shaping] in_use_since", message);
        } else if !seen.insert(&age.binding) {
            report.error(at, "[shaping] in_use_since", format!("the binding `{}` is named twice", age.binding));
        }
    }
}

fn check_memory(assembly: &mut Assembly<'_>, config: &Config) {
    let is_above = match (config.memory.goal, config.memory.high_water) {
        (MemoryAmount::Percent(Percent(goal)), MemoryAmount::Percent(Percent(high))) => goal > high,
        (MemoryAmount::Bytes(goal), MemoryAmount::Bytes(high)) => goal > high,
        (goal, high) => config.memory.limit.0 > 0 && goal.of(config.memory.limit).0 > high.of(config.memory.limit).0,
    };
    if is_above {
        let at = offset(assembly.memory.goal.as_deref(), offset(assembly.memory.high_water.as_deref(), 0));
        assembly.report.error(at, "[memory] goal", "it is larger than high_water");
    }
}

fn check_retries(assembly: &mut Assembly<'_>) {
    for scoped in &assembly.scopes.stanzas {
        let (Some(first), Some(longest)) = (&scoped.stanza.retry_interval, &scoped.stanza.max_retry_interval) else {
            continue;
        };
        if first.value > longest.value {
            let object = format!("[{}] retry_interval", scoped.header);
            let message = "it is longer than max_retry_interval, which therefore is the only wait";
            assembly.report.warning(first.place.at as usize, object, message);
        }
    }
}
