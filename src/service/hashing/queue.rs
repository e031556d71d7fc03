//! Who is hashed for next. Known callers and strangers stand in two lines, served in turns; in each line
//! address prefixes take turns, and each prefix and each account has few places. So whoever sends more
//! than their share waits for themselves.

use crate::{
    domain::AddressPrefix,
    service::caller::{AccountKey, Caller, Standing},
};
use std::collections::{HashMap, VecDeque};

pub type Job = Box<dyn FnOnce() + Send>;

/// Places of one prefix in a line.
const PER_PREFIX: usize = 8;
/// Places of one account in a line.
const PER_ACCOUNT: usize = 4;

/// A job's number and where it stands.
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

/// The jobs that wait.
pub struct Queue {
    /// For threads that are idle: not waiting, only not fetched yet.
    ready: VecDeque<Entry>,
    idle: usize,
    known: Line,
    strangers: Line,
    strangers_turn: bool,
    places: usize,
    next: u64,
    is_closed: bool,
}

impl Queue {
    /// With so many places, of which a quarter is kept for known callers.
    pub fn new(places: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            idle: 0,
            known: Line::default(),
            strangers: Line::default(),
            strangers_turn: false,
            places,
            next: 0,
            is_closed: false,
        }
    }

    /// Takes a job in, if there is a place for its caller.
    pub fn push(&mut self, caller: Caller, job: Job) -> Option<Ticket> {
        let known = caller.standing != Standing::Stranger;
        let ticket = Ticket { number: self.next, known, prefix: caller.prefix };
        let entry = Entry { number: self.next, caller, job };
        if self.ready.len() < self.idle {
            self.ready.push_back(entry);
        } else {
            // The places kept are not to be had otherwise: the lines have each their own.
            let kept = self.places.div_ceil(4);
            let (line, places) = if known { (&mut self.known, kept) } else { (&mut self.strangers, (self.places - kept).max(1)) };
            line.push(entry, places)?;
        }
        self.next += 1;
        Some(ticket)
    }

    /// The next job, begun.
    pub fn pop(&mut self) -> Option<Job> {
        let entry = self.ready.pop_front().or_else(|| self.pop_in_turn())?;
        entry.caller.begin();
        Some(entry.job)
    }

    fn pop_in_turn(&mut self) -> Option<Entry> {
        let turn = self.strangers_turn;
        let (first, second) = if turn { (&mut self.strangers, &mut self.known) } else { (&mut self.known, &mut self.strangers) };
        let (entry, was_first) = first.pop().map(|entry| (entry, true)).or_else(|| second.pop().map(|entry| (entry, false)))?;
        // Whose turn it was not has it next no less.
        self.strangers_turn = turn != was_first;
        Some(entry)
    }

    /// A thread has nothing to do.
    pub fn rest(&mut self) {
        self.idle += 1;
    }

    /// The next job for a thread that had nothing to do.
    pub fn pop_by_rested(&mut self) -> Option<Job> {
        let job = self.pop()?;
        self.idle -= 1;
        Some(job)
    }

    /// Takes a job out, if it was not begun.
    pub fn remove(&mut self, ticket: &Ticket) -> bool {
        if let Some(at) = self.ready.iter().position(|entry| entry.number == ticket.number) {
            return self.ready.remove(at).is_some();
        }
        let line = if ticket.known { &mut self.known } else { &mut self.strangers };
        line.remove(ticket)
    }

    /// No more jobs.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    #[cfg(test)]
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
        if own >= PER_PREFIX || self.by_account.get(&account).is_some_and(|count| *count >= PER_ACCOUNT) {
            return None;
        }
        // A full line still has a place for who has fewer in it than somebody else.
        if self.waiting >= places {
            self.drop_from_the_longest(own)?;
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

    /// Drops the last job of the prefix with most, if those are at least two more than `own`.
    fn drop_from_the_longest(&mut self, own: usize) -> Option<()> {
        let (prefix, jobs) = self.by_prefix.iter_mut().max_by_key(|(_, jobs)| jobs.len())?;
        let prefix = *prefix;
        let last = if jobs.len() >= own + 2 { jobs.pop_back() } else { None }?;
        self.left(prefix, last.caller.account);
        Some(())
    }

    fn pop(&mut self) -> Option<Entry> {
        let prefix = self.turns.pop_front()?;
        let entry = self.by_prefix.get_mut(&prefix)?.pop_front()?;
        // It takes its next turn after all others; `left` ends it if there is none.
        self.turns.push_back(prefix);
        self.left(prefix, entry.caller.account);
        Some(entry)
    }

    fn remove(&mut self, ticket: &Ticket) -> bool {
        let Some(jobs) = self.by_prefix.get_mut(&ticket.prefix) else { return false };
        let Some(at) = jobs.iter().position(|entry| entry.number == ticket.number) else { return false };
        let Some(entry) = jobs.remove(at) else { return false };
        self.left(ticket.prefix, entry.caller.account);
        true
    }

    /// Takes note that a job was taken out.
    fn left(&mut self, prefix: AddressPrefix, account: AccountKey) {
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

    fn caller(account: u64, prefix: u64, standing: Standing) -> Caller {
        Caller::new(AccountKey::of(&account.to_string()), AddressPrefix::V6(prefix), standing)
    }

    #[test]
    fn lim_9_prefixes_take_turns_and_so_do_known_callers_and_strangers() {
        let (mut queue, served) = (Queue::new(64), Served::default());
        for n in 0..4 {
            queue.push(caller(n, 1, Standing::Stranger), served.job("flood")).expect("a place");
        }
        queue.push(caller(9, 2, Standing::Stranger), served.job("stranger")).expect("a place");
        queue.push(caller(8, 1, Standing::Known), served.job("known")).expect("a place");
        queue.push(caller(7, 1, Standing::SignedIn), served.job("signed in")).expect("a place");
        assert_eq!(served.all(&mut queue), ["known", "flood", "signed in", "stranger", "flood", "flood", "flood"]);
        assert!(queue.strangers.turns.is_empty() && queue.strangers.by_account.is_empty() && queue.strangers.by_prefix.is_empty());
    }

    #[test]
    fn lim_9_a_prefix_and_an_account_have_few_places_and_only_they_are_refused() {
        let (mut queue, served) = (Queue::new(64), Served::default());
        let mut push = |account, prefix, standing| queue.push(caller(account, prefix, standing), served.job("")).is_some();
        assert_eq!((0..50).filter(|n| push(*n, 1, Standing::Stranger)).count(), PER_PREFIX);
        assert_eq!((0..50).filter(|n| push(99, 100 + n, Standing::Stranger)).count(), PER_ACCOUNT);
        assert!(push(50, 2, Standing::Stranger), "another prefix");
        assert!(push(99, 1, Standing::Known), "who is known stands in another line");
    }

    #[test]
    fn lim_9_strangers_leave_a_quarter_and_the_longest_makes_room_for_the_next() {
        let (mut queue, served) = (Queue::new(64), Served::default());
        let mut push = |n: u64, prefix, standing| queue.push(caller(n, prefix, standing), served.job("")).is_some();
        assert!((0..48).all(|n| push(n, n / 8, Standing::Stranger)));
        assert!((48..80).all(|n| push(n, n, Standing::Stranger)), "each prefix finds one place");
        assert!((100..116).all(|n| push(n, n, Standing::Known)), "those kept");
        assert!(!push(200, 200, Standing::Known));
        assert_eq!(queue.waiting(), 64);
        assert!(queue.strangers.by_prefix.values().all(|jobs| jobs.len() <= 3), "those with most gave way");
    }

    #[test]
    fn what_waits_for_an_idle_thread_takes_no_place_and_what_left_is_not_served() {
        let (mut queue, served) = (Queue::new(4), Served::default());
        queue.rest();
        let gone = queue.push(caller(1, 1, Standing::Stranger), served.job("gone")).expect("an idle thread");
        assert_eq!(queue.waiting(), 0);
        let left = queue.push(caller(1, 1, Standing::Stranger), served.job("left")).expect("a place");
        queue.push(caller(1, 1, Standing::Stranger), served.job("here")).expect("a place");
        assert!(queue.remove(&gone) && queue.remove(&left) && !queue.remove(&left));
        queue.pop_by_rested().expect("one is left")();
        assert_eq!(served.all(&mut queue), ["here"]);
        assert_eq!((queue.idle, queue.waiting()), (0, 0));
    }
}
