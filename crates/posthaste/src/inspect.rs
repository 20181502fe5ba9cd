//! What a running server says of itself: numbers of all loops, summed.

use crate::failure::Failure;
use crate::server::{Job, Server};
use crate::shard::Shard;
use console::Answer;
use engine::MemoryTable;
use scheduling::{ContainerRow, EntryRow, Selector, Summary};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::rc::Rc;
use tokio::sync::oneshot;

/// Containers shown at most, of each loop.
const CONTAINERS_MAX: usize = 1000;

impl Server {
    /// Asks every loop a question; the answers in the order of the loops.
    pub(crate) async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&Rc<Shard>) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Failure> {
        let mut waiting = Vec::new();
        for jobs in &self.jobs {
            let (sender, answer) = oneshot::channel();
            let question = question.clone();
            let job: Job = Box::new(move |shard| {
                // The asker may have hung up.
                let _ = sender.send(question(shard));
            });
            jobs.send(job).map_err(|_| Failure::new("the server is stopping"))?;
            waiting.push(answer);
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(answer.await.map_err(|_| Failure::new("the server is stopping"))?);
        }
        Ok(answers)
    }

    /// The queues' sums.
    pub(crate) async fn totals(&self) -> Result<Summary, Failure> {
        let all = self.ask_all(|shard| shard.scheduler.borrow().summary()).await?;
        Ok(all.into_iter().fold(Summary::default(), |sum, one| Summary {
            containers: sum.containers + one.containers,
            active: sum.active + one.active,
            delayed: sum.delayed + one.delayed,
            leased: sum.leased + one.leased,
            expired: sum.expired + one.expired,
            connections: sum.connections + one.connections,
            resident_messages: sum.resident_messages + one.resident_messages,
            resident_octets: sum.resident_octets + one.resident_octets,
        }))
    }

    /// Containers, those with most mail first.
    pub(crate) async fn containers(&self) -> Result<Vec<ContainerRow>, Failure> {
        let pages = self
            .ask_all(|shard| {
                let (scheduler, now) = (shard.scheduler.borrow(), shard.unix());
                let (mut rows, mut from) = (Vec::new(), Some(0));
                while let Some(at) = from.filter(|_| rows.len() < CONTAINERS_MAX) {
                    let page = scheduler.containers(at, CONTAINERS_MAX - rows.len(), now);
                    rows.extend(page.rows);
                    from = page.next;
                }
                rows
            })
            .await?;
        let mut rows: Vec<ContainerRow> = pages.into_iter().flatten().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(u64::from(row.active) + u64::from(row.delayed)));
        Ok(rows)
    }

    /// Queued recipients, of one container or of all, with their container's name.
    pub(crate) async fn entries(
        &self,
        domain: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, EntryRow)>, Failure> {
        let containers = self.containers().await?;
        let wanted: Vec<_> = containers
            .into_iter()
            .filter(|row| domain.as_ref().is_none_or(|domain| *domain == *row.container.name))
            .map(|row| row.container)
            .collect();
        let pages = self
            .ask_all(move |shard| {
                let scheduler = shard.scheduler.borrow();
                let mut rows = Vec::new();
                for container in &wanted {
                    let left = limit.saturating_sub(rows.len());
                    let entries = scheduler.entries(container, left);
                    rows.extend(entries.into_iter().map(|entry| (container.name.to_string(), entry)));
                }
                rows
            })
            .await?;
        Ok(pages.into_iter().flatten().take(limit).collect())
    }

    /// Makes delayed mail of what a selector means active. How many containers that were.
    pub(crate) async fn flush(&self, selector: &Selector) -> Result<usize, Failure> {
        let wanted: Vec<_> = self.select(selector).await?.into_iter().map(|row| row.container).collect();
        let counts = self
            .ask_all(move |shard| {
                let now = shard.unix();
                let flushed =
                    wanted.iter().filter(|container| shard.scheduler.borrow_mut().flush(container, now)).count();
                shard.ring();
                flushed
            })
            .await?;
        Ok(counts.into_iter().sum())
    }

    /// One view of everything.
    pub(crate) async fn summary(&self) -> Result<Answer, Failure> {
        let queues = self.totals().await?;
        let reception = self.common.receptions.read(&self.gauges);
        let delivery = self.common.deliveries.read(&self.gauges);
        let dns = self.common.resolver.stats();
        let uptime = self.started.elapsed().as_secs();
        let rows: Vec<(&str, u64)> = vec![
            ("Outbound Concurrency", queues.connections as u64),
            ("Inbound Concurrency", reception.sessions),
            ("Active Domains", queues.containers as u64),
            ("Active Queue Size", u64::from(queues.active)),
            ("Delayed Queue Size", u64::from(queues.delayed)),
            ("Total Queue Size", u64::from(queues.active) + u64::from(queues.delayed) + u64::from(queues.leased)),
            ("Resident Messages", u64::from(queues.resident_messages)),
            ("Pending DNS Queries", dns.pending as u64),
            ("Delivered Messages", delivery.delivered),
            ("Transient Failures", delivery.transient),
            ("Failed Messages", delivery.permanent),
            ("Received Messages", reception.messages),
            ("Rejected Messages", reception.refused_by_reason().map(|(_, count)| count).sum()),
            ("Uptime", uptime),
        ];
        Ok(table(&rows))
    }

    /// The pools.
    pub(crate) fn threads(&self) -> Answer {
        let all = self.common.pools.statistics();
        let text: Vec<String> = all.iter().map(ToString::to_string).collect();
        let value = all.iter().map(|pool| {
            json!({
                "name": pool.name, "concurrency": pool.concurrency, "backlog": pool.backlog,
                "invocations": pool.invocations, "queued": pool.queued, "active": pool.active, "idle": pool.idle,
                "refused": pool.refused, "panicked": pool.panicked, "average_concurrency": pool.average_concurrency(),
                "saturation_percent": pool.saturation_percent(),
                "average_run_ms": pool.average_run().as_secs_f64() * 1e3,
                "average_wait_ms": pool.average_wait().as_secs_f64() * 1e3,
            })
        });
        Answer::done(text.join("\n"), Value::Array(value.collect()))
    }

    /// Changes a pool.
    pub(crate) fn resize(&self, name: &str, threads: usize, backlog: Option<usize>) -> Answer {
        let Some(pool) = self.common.pools.get(name) else {
            return Answer::refused(format!("no pool `{name}`; `threads stats` lists them"));
        };
        let backlog = backlog.unwrap_or_else(|| pool.statistics().backlog);
        match pool.resize(threads, backlog) {
            Ok(()) => Answer::done(format!("pool {name} has {threads} threads"), json!({ "threads": threads })),
            Err(error) => Answer::refused(error.to_string()),
        }
    }

    /// Memory by type, and of the process.
    pub(crate) fn memory(&self) -> Answer {
        let rows = self.accounts.rows();
        let mut monitor =
            engine::MemoryMonitor::new(self.memory_limits(), Some(std::sync::Arc::new(crate::allocator::Jemalloc)));
        let figures = monitor.sample().ok();
        let mut text = MemoryTable(&rows).to_string();
        if let Some(figures) = &figures {
            let percent = figures.resident * 100 / figures.limit().max(1);
            let _ = write!(text, "\nRSS {} bytes\nSystem RSS {percent} %", figures.resident);
            if let Some(allocator) = figures.allocator {
                let _ = write!(text, "\nAllocated {} bytes", allocator.allocated);
            }
        }
        let types: Vec<Value> = rows
            .iter()
            .map(|row| json!({ "type": &*row.name, "objects": row.objects, "objects_peak": row.objects_peak, "bytes": row.bytes, "bytes_peak": row.bytes_peak }))
            .collect();
        Answer::done(text, json!({ "types": types, "resident": figures.map(|figures| figures.resident) }))
    }

    /// The event loops.
    pub(crate) fn loops(&self) -> Answer {
        let all = self.loops.figures();
        let mut text =
            format!("{:>4} {:>14} {:>12} {:>8} {:>7} {:>7}", "loop", "polls", "spawned", "live", "panics", "stalls");
        for row in &all {
            let _ = write!(
                text,
                "\n{:>4} {:>14} {:>12} {:>8} {:>7} {:>7}",
                row.index, row.polls, row.spawned, row.live, row.panics, row.stalls
            );
        }
        let value = all.iter().map(|row| {
            json!({ "loop": row.index, "polls": row.polls, "spawned": row.spawned, "live": row.live, "panics": row.panics, "stalls": row.stalls })
        });
        Answer::done(text, Value::Array(value.collect()))
    }

    /// The store.
    pub(crate) fn spool(&self) -> Answer {
        let text = self.store.figures();
        Answer::done(text.clone(), json!(text))
    }

    /// The resolver.
    pub(crate) fn dns(&self) -> Answer {
        let stats = self.common.resolver.stats();
        table(&[
            ("UDP Queries", stats.udp_sent),
            ("TCP Queries", stats.tcp_sent),
            ("Pending DNS Queries", stats.pending as u64),
            ("Cache Hits", stats.cache_hits),
            ("Cache Misses", stats.cache_misses),
            ("Coalesced", stats.coalesced),
            ("Cache Entries", stats.cache_entries as u64),
            ("Attempts Timed Out", stats.attempts_timed_out),
            ("Server Failures", stats.server_failures),
            ("DNS Response Time Peak ms", stats.response_peak.as_millis() as u64),
        ])
    }

    /// What came back.
    pub(crate) fn returns(&self) -> Answer {
        table(&self.common.intakes.read(&self.gauges))
    }

    /// The logs.
    pub(crate) fn logs(&self) -> Answer {
        let all = self.logs.statistics();
        let text: Vec<String> = all
            .iter()
            .map(|log| {
                format!("{}: {} rows, {} dropped, {} write errors", log.name, log.rows, log.dropped, log.write_errors)
            })
            .collect();
        let value = all
            .iter()
            .map(|log| json!({ "log": log.name, "rows": log.rows, "dropped": log.dropped, "write_errors": log.write_errors }));
        Answer::done(text.join("\n"), Value::Array(value.collect()))
    }
}

/// Labels and numbers, one a line, labels to the right.
fn table(rows: &[(&str, u64)]) -> Answer {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let text: Vec<String> = rows.iter().map(|(label, value)| format!("{label:>width$}: {value}")).collect();
    let value = rows.iter().map(|(label, value)| (label.replace(' ', ""), json!(value))).collect();
    Answer::done(text.join("\n"), Value::Object(value))
}
