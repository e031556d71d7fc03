//! The audit trail: every event as a row, in the transaction that it tells of. What has no transaction of its own, such as
//! a failed login, waits in a short queue and is written soon after.

use super::{
    Error, Observer, Store,
    engine::{Priority, Reads},
    rows::readable,
    schema::{EVENTS, EVENTS_BY_USER},
};
use crate::domain::{By, Event, EventId, EventQuery, Kind, Recorded, Timestamp, UserId};
use std::{collections::BTreeMap, ops::ControlFlow, sync::atomic::Ordering::Relaxed};

/// The most rows that one look or transaction handles, so that it holds up nobody for long (STO-15).
const MAX_ROWS: usize = 1000;

/// The most rows that one page looks at. A page whose query few events meet ends here and says where to go on.
const MAX_SCANNED: usize = 5000;

/// How many ids are looked through first for those after another: some are of each of 65 536 milliseconds.
const FIRST_SPAN: u64 = 1 << 32;

/// A page of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventPage {
    /// The events that were asked for, in the order that was asked for.
    pub events: Vec<Recorded>,
    /// Where to go on; none at the end.
    pub next: Option<EventId>,
}

impl Store {
    /// Logs an event that is not of a transaction, and queues it for the trail.
    pub fn note(&self, event: Event) {
        self.observers.recorded(&event);
        self.noted.push((self.clock.now(), event));
    }

    /// Waits until there are events to write.
    pub async fn noted(&self) {
        self.noted.wait().await;
    }

    /// Writes the queued events. Those that cannot be written, because the disk is full or has failed, are counted as
    /// dropped. If some were dropped, the trail says how many.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn write_noted(&self) -> Result<(), Error> {
        let (mut events, dropped) = self.noted.take();
        if dropped > 0 {
            let event = Event::new(Kind::EventsDropped, By::Server).more(dropped);
            self.observers.recorded(&event);
            events.push((self.clock.now(), event));
        }
        if events.is_empty() {
            return Ok(());
        }
        let lost = dropped + events.len() as u64 - u64::from(dropped > 0);
        let written = self.transact(move |t| events.iter().try_for_each(|event| t.append(event))).await;
        if written.is_err() {
            self.noted.count_dropped(lost);
        }
        written
    }

    /// Events that meet a query, the latest first, from those before `before`.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn events(&self, query: &EventQuery, before: Option<EventId>, limit: usize) -> Result<EventPage, Error> {
        self.view(|reads| {
            let mut page = Page { query, limit, scanned: 0, found: EventPage::default() };
            match query.user {
                Some(user) => page.of_user(reads, user, before)?,
                None => EVENTS.scan(reads, &[], before.as_ref(), |id, (at, event)| page.visit(Recorded { id, at, event }))?,
            }
            Ok(page.found)
        })
        .await
    }

    /// Events that meet a query, in the order in which they were written, from those after `after`.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn events_after(&self, query: &EventQuery, after: Option<EventId>, limit: usize) -> Result<EventPage, Error> {
        self.view(|reads| {
            let mut page = Page { query, limit, scanned: 0, found: EventPage::default() };
            let last = EVENTS.first_key(reads, &[])?.unwrap_or_default();
            let mut from = after.unwrap_or_default().max(query.since.map(EventId::before).unwrap_or_default());
            // Keys lead from the latest event to the first, so a few events are read at once and turned round: those of so
            // long a time as has few enough of them. So many ids as one look handles always have.
            let mut span = FIRST_SPAN;
            while from < last {
                let to = from.plus(span);
                let Some(rows) = few_between(reads, from, to)? else {
                    span /= 2;
                    continue;
                };
                if rows.into_iter().rev().any(|recorded| page.visit(recorded).is_break()) {
                    break;
                }
                (from, span) = (to, span.saturating_mul(2));
            }
            Ok(page.found)
        })
        .await
    }

    /// How many events were recorded since the start.
    #[must_use]
    pub fn events_recorded(&self) -> u64 {
        self.observers.recorded.load(Relaxed)
    }

    /// The id of the latest event.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn last_event(&self) -> Result<Option<EventId>, Error> {
        self.view(|reads| EVENTS.first_key(reads, &[])).await
    }

    /// Removes the events before `keep_from`, and of the kinds with the most events the oldest, until at most `max` are
    /// left. So a burst of one kind pushes out its own history and never that of others. Returns how many were removed.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn sweep_events(&self, keep_from: Timestamp, max: usize) -> Result<usize, Error> {
        let mut counts = BTreeMap::<u8, usize>::new();
        self.visit_events(|_, at, event| {
            if at >= keep_from {
                *counts.entry(event.kind.number()).or_default() += 1;
            }
            false
        })
        .await?;
        let cap = fair_share(counts.values().copied(), max);
        let mut kept = BTreeMap::<u8, usize>::new();
        self.visit_events(|_, at, event| {
            let kept = kept.entry(event.kind.number()).or_default();
            *kept += 1;
            at < keep_from || *kept > cap
        })
        .await
    }

    /// Visits all events, the latest first, and removes those for which `is_over` is true. Returns how many that were.
    async fn visit_events(&self, mut is_over: impl FnMut(EventId, Timestamp, &Event) -> bool + Send) -> Result<usize, Error> {
        let (mut after, mut removed) = (None, 0);
        loop {
            let mut rows = Vec::with_capacity(MAX_ROWS);
            self.view(|reads| {
                rows.clear();
                EVENTS.scan(reads, &[], after.as_ref(), |id, (at, event)| {
                    rows.push((id, at, event));
                    if rows.len() == MAX_ROWS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
            })
            .await?;
            let is_last = rows.len() < MAX_ROWS;
            after = rows.last().map(|(id, ..)| *id);
            rows.retain(|(id, at, event)| is_over(*id, *at, event));
            removed += rows.len();
            self.remove_events(rows).await?;
            if is_last {
                return Ok(removed);
            }
            // The trail may be long: others are served between two looks.
            tokio::task::yield_now().await;
        }
    }

    async fn remove_events(&self, rows: Vec<(EventId, Timestamp, Event)>) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        self.run(Priority::Revocation, Vec::new, move |t| {
            for (id, _, event) in &rows {
                EVENTS.delete(t.tx, id);
                event.users().for_each(|user| EVENTS_BY_USER.delete(t.tx, &(user, *id)));
            }
            Ok(())
        })
        .await
    }
}

/// The events after `from` up to `to`, the latest first; `None` if there are more than one look handles.
fn few_between(reads: &dyn Reads, from: EventId, to: EventId) -> Result<Option<Vec<Recorded>>, Error> {
    let mut rows = Vec::new();
    EVENTS.scan(reads, &[], Some(&to.plus(1)), |id, (at, event)| {
        let is_within = id > from && rows.len() <= MAX_ROWS;
        if is_within {
            rows.push(Recorded { id, at, event });
        }
        if is_within { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok((rows.len() <= MAX_ROWS).then_some(rows))
}

/// The greatest number of events of one kind with which all kinds together have at most `max`.
fn fair_share(counts: impl Iterator<Item = usize>, max: usize) -> usize {
    let mut counts: Vec<_> = counts.collect();
    counts.sort_unstable();
    let mut room = max;
    for (at, count) in counts.iter().enumerate() {
        let share = room / (counts.len() - at);
        if *count > share {
            return share;
        }
        room -= count;
    }
    usize::MAX
}

/// A page that is being read.
struct Page<'a> {
    query: &'a EventQuery,
    limit: usize,
    scanned: usize,
    found: EventPage,
}

impl Page<'_> {
    fn visit(&mut self, recorded: Recorded) -> ControlFlow<()> {
        // Ids grow with the time, so no event before this one is of the time that is asked for.
        if self.query.since.is_some_and(|since| recorded.id.latest() < since) {
            return ControlFlow::Break(());
        }
        let id = recorded.id;
        self.scanned += 1;
        if self.query.matches(&recorded) {
            self.found.events.push(recorded);
        }
        if self.found.events.len() == self.limit || self.scanned == MAX_SCANNED {
            self.found.next = Some(id);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Reads the events about one user, found by the index.
    fn of_user(&mut self, reads: &dyn Reads, user: UserId, before: Option<EventId>) -> Result<(), Error> {
        let mut ids = Vec::new();
        let before = before.map(|before| (user, before));
        EVENTS_BY_USER.scan(reads, user.as_bytes(), before.as_ref(), |(_, id), ()| {
            ids.push(id);
            if ids.len() > MAX_SCANNED { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        for id in ids {
            let Some((at, event)) = readable(EVENTS.get(reads, &id))? else { continue };
            if self.visit(Recorded { id, at, event }).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
