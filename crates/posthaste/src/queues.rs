//! What operators ask of queues and do to them: which are meant, why one is held, and what rests. Everything is done page
//! by page, so that no event loop pauses for a long list.

use crate::failure::Failure;
use crate::server::Server;
use crate::shard::Shard;
use delivery::{LastFailure, SourceRow};
use engine::TaskKind;
use message::{Address, Routed, UnixMicros};
use routing::EgressId;
use scheduling::{ContainerRow, Selector, Suspension};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Places for containers that one question, or one step, looks at.
const PLACES: u32 = 1024;
/// Containers that one command can mean.
const SELECTED_MAX: usize = 200_000;

/// A container with what delivery knows of it.
#[derive(Debug)]
pub(crate) struct Explained {
    pub(crate) row: ContainerRow,
    pub(crate) failure: Option<LastFailure>,
    /// What traffic shaping has in force for it.
    pub(crate) shaping: Vec<shaping::Standing>,
}

impl Server {
    /// The containers that a selector means, of all loops.
    pub(crate) async fn select(&self, selector: &Selector) -> Result<Vec<ContainerRow>, Failure> {
        let mut rows = Vec::new();
        let mut from: Vec<Option<u32>> = vec![Some(0); self.jobs.len()];
        while from.iter().any(Option::is_some) && rows.len() < SELECTED_MAX {
            let (asked, selector) = (from.clone(), selector.clone());
            let pages = self
                .ask_all(move |shard| {
                    let at = asked.get(shard.context.index()).copied().flatten()?;
                    Some(shard.scheduler.borrow().select(&selector, at, PLACES, shard.unix()))
                })
                .await?;
            for (from, page) in from.iter_mut().zip(pages) {
                *from = page.as_ref().and_then(|page| page.next);
                rows.extend(page.into_iter().flat_map(|page| page.rows));
            }
        }
        Ok(rows)
    }

    /// The containers of a domain, or those that its route shares with others, and why they wait.
    pub(crate) async fn why(&self, domain: &str, binding: Option<&str>) -> Result<Vec<Explained>, Failure> {
        let selector =
            |domain: &str| Selector { domain: Some(domain.into()), binding: binding.map(Arc::from), group: None };
        let mut rows = self.select(&selector(domain)).await?;
        if rows.is_empty()
            && let Some(name) = self.container_of(domain).await?
        {
            rows = self.select(&selector(&name)).await?;
        }
        let containers: Vec<_> = rows.iter().map(|row| row.container.clone()).collect();
        let failures = self
            .ask_all(move |shard| containers.iter().map(|container| shard.last_failure(container)).collect::<Vec<_>>())
            .await?;
        let containers: Vec<_> = rows.iter().map(|row| row.container.clone()).collect();
        let placed = self
            .ask_all(move |shard| containers.iter().map(|container| shard.site_name(container)).collect::<Vec<_>>())
            .await?;
        let latest = |place: usize| {
            let each = failures.iter().filter_map(|of_loop| of_loop.get(place)?.clone());
            each.max_by_key(|failure| failure.at)
        };
        let now = crate::operate::now();
        let explained = rows.into_iter().enumerate().map(|(place, row)| {
            let site = placed.iter().find_map(|of_loop| of_loop.get(place)?.clone());
            let shaping = self.common.desk.standing_for(now, &(row.container.clone(), site));
            Explained { row, failure: latest(place), shaping }
        });
        Ok(explained.collect())
    }

    /// The container that mail for a domain goes to by the binding `default`.
    async fn container_of(&self, domain: &str) -> Result<Option<String>, Failure> {
        let Ok(address) = Address::new("postmaster", domain) else { return Ok(None) };
        let names = self
            .ask_all(move |shard| match shard.generation.borrow_mut().router.route(&address, EgressId::default()) {
                Routed::To(container) => Some(container.name.to_string()),
                Routed::Refused(_) => None,
            })
            .await?;
        Ok(names.into_iter().flatten().next())
    }

    /// Lets what a selector means rest, on all loops.
    pub(crate) async fn suspend(&self, selector: &Selector, span: Option<Duration>) -> Result<(), Failure> {
        let selector = selector.clone();
        let answers = self
            .ask_all(move |shard| {
                let now = shard.unix();
                let until = span.map_or(UnixMicros(u64::MAX), |span| now.after(span));
                let suspended = shard.scheduler.borrow_mut().suspend(selector.clone(), until, now);
                shard.suspensions_changed();
                suspended
            })
            .await?;
        answers.into_iter().collect::<Result<(), _>>().map_err(|error| Failure::new(error.to_string()))
    }

    /// Ends the suspensions of what a selector means; how many that were.
    pub(crate) async fn resume(&self, selector: &Selector) -> Result<usize, Failure> {
        let selector = selector.clone();
        let ended = self
            .ask_all(move |shard| {
                let ended = shard.scheduler.borrow_mut().resume(&selector);
                shard.suspensions_changed();
                ended
            })
            .await?;
        Ok(ended.into_iter().max().unwrap_or(0))
    }

    /// Source addresses that have failed since they last worked, of each loop.
    pub(crate) async fn sources(&self) -> Result<Vec<(usize, SourceRow)>, Failure> {
        let all = self.ask_all(|shard| (shard.context.index(), shard.sources())).await?;
        Ok(all.into_iter().flat_map(|(index, rows)| rows.into_iter().map(move |row| (index, row))).collect())
    }

    /// What rests by an operator's word.
    pub(crate) async fn suspensions(&self) -> Result<Vec<Suspension>, Failure> {
        let all = self.ask_all(|shard| shard.scheduler.borrow().suspensions().to_vec()).await?;
        Ok(all.into_iter().next().unwrap_or_default())
    }
}

impl Shard {
    /// Brings suspensions to the containers that exist, in steps.
    fn suspensions_changed(self: &Rc<Self>) {
        let shard = self.clone();
        let applying = async move {
            let mut from = Some(0);
            while let Some(at) = from {
                from = shard.scheduler.borrow_mut().apply_suspensions(at, PLACES, shard.unix());
                shard.ring();
                shard.context.yield_now().await;
            }
        };
        self.context.spawn(TaskKind("suspensions"), applying).detach();
    }
}
