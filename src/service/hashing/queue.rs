//! The queue of jobs for the hashing threads. Known callers and strangers wait in two lines, which are served
//! in turns. In each line address prefixes take turns, and each prefix and each account has few places. So
//! a caller that sends more than its share delays only itself.

use crate::{
    domain::AddressPrefix,
    service::caller::{AccountKey, Caller, Trust},
};
use std::collections::{HashMap, VecDeque};

pub type Job = Box<dyn FnOnce() + Send>;

/// The most places that one prefix has in a line.
const MAX_PER_PREFIX: usize = 8;
/// The most places that one account has in a line.
const MAX_PER_ACCOUNT: usize = 4;

/// A job's number and what is needed to find it in the queue.
pub struct Ticket {
    number: u64,
    known: bool,
    prefix: AddressPrefix,
}

struct Entry {
    number: u64,
    caller: Caller,
    job: Job,
}

/// The jobs that wait for a thread.
pub struct Queue {
    /// Jobs for which a thread is idle: it has only to wake up and fetch them.
    ready: VecDeque<Entry>,
    idle_threads: usize,
    known: Line,
    strangers: Line,
    strangers_turn: bool,
    places: usize,
    next_number: u64,
    is_closed: bool,
}

impl Queue {
    /// A queue with `places` places, of which a quarter is reserved for known callers.
    pub fn new(places: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            idle_threads: 0,
            known: Line::default(),
            strangers: Line::default(),
            strangers_turn: false,
            places,
            next_number: 0,
            is_closed: false,
        }
    }

    /// Adds a job; `None` if there is no place for its caller.
    pub fn push(&mut self, caller: Caller, job: Job) -> Option<Ticket> {
        let known = caller.trust != Trust::Stranger;
        let ticket = Ticket { number: self.next_number, known, prefix: caller.prefix };
        let entry = Entry { number: self.next_number, caller, job };
        if self.ready.len() < self.idle_threads {
            self.ready.push_back(entry);
        } else {
            // Each line has places of its own: strangers cannot take those reserved for known callers, nor the reverse.
            let reserved = self.places.div_ceil(4);
            let (line, places) = if known { (&mut self.known, reserved) } else { (&mut self.strangers, (self.places - reserved).max(1)) };
            line.push(entry, places)?;
        }
        self.next_number += 1;
        Some(ticket)
    }

    /// Takes out the next job and marks it as begun.
    pub fn pop(&mut self) -> Option<Job> {
        let entry = self.ready.pop_front().or_else(|| self.pop_in_turn())?;
        entry.caller.begin();
        Some(entry.job)
    }

    fn pop_in_turn(&mut self) -> Option<Entry> {
        let turn = self.strangers_turn;
        let (first, second) = if turn { (&mut self.strangers, &mut self.known) } else { (&mut self.known, &mut self.strangers) };
        let (entry, was_first) = first.pop().map(|entry| (entry, true)).or_else(|| second.pop().map(|entry| (entry, false)))?;
        // A line that was served out of turn, because the other was empty, keeps its next turn.
        self.strangers_turn = turn != was_first;
        Some(entry)
    }

    /// Notes that a thread has nothing to do.
    pub fn add_idle_thread(&mut self) {
        self.idle_threads += 1;
    }

    /// Takes out the next job for a thread that was idle.
    pub fn pop_for_idle_thread(&mut self) -> Option<Job> {
        let job = self.pop()?;
        self.idle_threads -= 1;
        Some(job)
    }

    /// Takes a job out; false if it was begun already.
    pub fn remove(&mut self, ticket: &Ticket) -> bool {
        if let Some(at) = self.ready.iter().position(|entry| entry.number == ticket.number) {
            return self.ready.remove(at).is_some();
        }
        let line = if ticket.known { &mut self.known } else { &mut self.strangers };
        line.remove(ticket)
    }

    /// Tells the threads that find no job to end.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// How many jobs wait for their turn.
    pub fn waiting(&self) -> usize {
        self.known.waiting + self.strangers.waiting
    }
}

/// One line: its prefixes in turn, each with its jobs.
#[derive(Default)]
struct Line {
    turns: VecDeque<AddressPrefix>,
    by_prefix: HashMap<AddressPrefix, VecDeque<Entry>>,
    by_account: HashMap<AccountKey, usize>,
    waiting: usize,
}

impl Line {
    fn push(&mut self, entry: Entry, places: usize) -> Option<()> {
        let (prefix, account) = (entry.caller.prefix, entry.caller.account);
        let own = self.by_prefix.get(&prefix).map_or(0, VecDeque::len);
        if own >= MAX_PER_PREFIX || self.by_account.get(&account).is_some_and(|count| *count >= MAX_PER_ACCOUNT) {
            return None;
        }
        // In a full line the prefix with the most jobs gives up its last one to a prefix with fewer.
        if self.waiting >= places {
            self.evict_from_longest(own)?;
        }
        self.waiting += 1;
        *self.by_account.entry(account).or_default() += 1;
        let jobs = self.by_prefix.entry(prefix).or_default();
        if jobs.is_empty() {
            self.turns.push_back(prefix);
        }
        jobs.push_back(entry);
        Some(())
    }

    /// Drops the last job of the prefix that has the most, if it has at least two more than `own`.
    fn evict_from_longest(&mut self, own: usize) -> Option<()> {
        let (prefix, jobs) = self.by_prefix.iter_mut().max_by_key(|(_, jobs)| jobs.len())?;
        let prefix = *prefix;
        let last = if jobs.len() >= own + 2 { jobs.pop_back() } else { None }?;
        self.count_removed(prefix, last.caller.account);
        Some(())
    }

    fn pop(&mut self) -> Option<Entry> {
        let prefix = self.turns.pop_front()?;
        let entry = self.by_prefix.get_mut(&prefix)?.pop_front()?;
        // The prefix takes its next turn after all others; `count_removed` ends its turns if it has no more jobs.
        self.turns.push_back(prefix);
        self.count_removed(prefix, entry.caller.account);
        Some(entry)
    }

    fn remove(&mut self, ticket: &Ticket) -> bool {
        let Some(jobs) = self.by_prefix.get_mut(&ticket.prefix) else { return false };
        let Some(at) = jobs.iter().position(|entry| entry.number == ticket.number) else { return false };
        let Some(entry) = jobs.remove(at) else { return false };
        self.count_removed(ticket.prefix, entry.caller.account);
        true
    }

    /// Updates the counts after a job was taken out.
    fn count_removed(&mut self, prefix: AddressPrefix, account: AccountKey) {
        self.waiting -= 1;
        if self.by_prefix.get(&prefix).is_some_and(VecDeque::is_empty) {
            self.by_prefix.remove(&prefix);
            self.turns.retain(|turn| *turn != prefix);
        }
        if let Some(count) = self.by_account.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.by_account.remove(&account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[derive(Default, Clone)]
    struct Served(Arc<Mutex<Vec<&'static str>>>);

    impl Served {
        fn job(&self, name: &'static str) -> Job {
            let served = Arc::clone(&self.0);
            Box::new(move || served.lock().push(name))
        }

        fn all(&self, queue: &mut Queue) -> Vec<&'static str> {
            while let Some(job) = queue.pop() {
                job();
            }
            std::mem::take(&mut *self.0.lock())
        }
    }

    fn caller(account: u64, prefix: u64, trust: Trust) -> Caller {
        Caller::new(AccountKey::of(&account.to_string()), AddressPrefix::V6(prefix), trust)
    }

    #[test]
    fn lim_9_prefixes_take_turns_and_so_do_known_callers_and_strangers() {
        let (mut queue, served) = (Queue::new(64), Served::default());
        for n in 0..4 {
            queue.push(caller(n, 1, Trust::Stranger), served.job("flood")).expect("a place");
        }
        queue.push(caller(9, 2, Trust::Stranger), served.job("stranger")).expect("a place");
        queue.push(caller(8, 1, Trust::Known), served.job("known")).expect("a place");
        queue.push(caller(7, 1, Trust::LoggedIn), served.job("logged in")).expect("a place");
        assert_eq!(served.all(&mut queue), ["known", "flood", "logged in", "stranger", "flood", "flood", "flood"]);
        assert!(queue.strangers.turns.is_empty() && queue.strangers.by_account.is_empty() && queue.strangers.by_prefix.is_empty());
    }

    #[test]
    fn lim_9_a_prefix_and_an_account_have_few_places_and_only_they_are_refused() {
        let (mut queue, served) = (Queue::new(64), Served::default());
        let mut push = |account, prefix, trust| queue.push(caller(account, prefix, trust), served.job("")).is_some();
        assert_eq!((0..50).filter(|n| push(*n, 1, Trust::Stranger)).count(), MAX_PER_PREFIX);
        assert_eq!((0..50).filter(|n| push(99, 100 + n, Trust::Stranger)).count(), MAX_PER_ACCOUNT);
        assert!(push(50, 2, Trust::Stranger), "another prefix");
        assert!(push(99, 1, Trust::Known), "who is known stands in another line");
    }

    #[test]
    fn lim_9_strangers_leave_a_quarter_and_the_longest_makes_room_for_the_next() {
        let (mut queue, served) = (Queue::new(64), Served::default());
        let mut push = |n: u64, prefix, trust| queue.push(caller(n, prefix, trust), served.job("")).is_some();
        assert!((0..48).all(|n| push(n, n / 8, Trust::Stranger)));
        assert!((48..80).all(|n| push(n, n, Trust::Stranger)), "each prefix finds one place");
        assert!((100..116).all(|n| push(n, n, Trust::Known)), "those kept");
        assert!(!push(200, 200, Trust::Known));
        assert_eq!(queue.waiting(), 64);
        assert!(queue.strangers.by_prefix.values().all(|jobs| jobs.len() <= 3), "those with most gave way");
    }

    #[test]
    fn what_waits_for_an_idle_thread_takes_no_place_and_what_left_is_not_served() {
        let (mut queue, served) = (Queue::new(4), Served::default());
        queue.add_idle_thread();
        let gone = queue.push(caller(1, 1, Trust::Stranger), served.job("gone")).expect("an idle thread");
        assert_eq!(queue.waiting(), 0);
        let left = queue.push(caller(1, 1, Trust::Stranger), served.job("left")).expect("a place");
        queue.push(caller(1, 1, Trust::Stranger), served.job("here")).expect("a place");
        assert!(queue.remove(&gone) && queue.remove(&left) && !queue.remove(&left));
        queue.pop_for_idle_thread().expect("one is left")();
        assert_eq!(served.all(&mut queue), ["here"]);
        assert_eq!((queue.idle_threads, queue.waiting()), (0, 0));
    }
}
