//! Tests of what every engine must do; each engine runs them all.

use super::{Engine, Priority, Tx, Work};
use crate::store::Error;
use std::{
    ops::ControlFlow,
    sync::mpsc::{self, Sender},
};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;
type Run = Box<dyn FnMut(&mut dyn Tx) -> Result<(), Error> + Send>;

struct Script {
    run: Run,
    done: Sender<Result<(), Error>>,
}

impl Work for Script {
    fn run(&mut self, tx: &mut dyn Tx) -> Result<(), Error> {
        (self.run)(tx)
    }

    fn priority(&self) -> Priority {
        Priority::Normal
    }

    fn hints(&self) -> Vec<Vec<u8>> {
        vec![b"never there".to_vec()]
    }

    fn finish(self: Box<Self>, result: Result<(), Error>) {
        self.done.send(result).expect("somebody waits");
    }
}

/// Runs one work and waits for it.
fn work(engine: &dyn Engine, run: impl FnMut(&mut dyn Tx) -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
    let (done, outcome) = mpsc::channel();
    engine.submit(Box::new(Script { run: Box::new(run), done }));
    outcome.recv().expect("an engine finishes every work")
}

/// Writes one row and waits until it is durable.
pub fn put(engine: &dyn Engine, key: &[u8], value: &[u8]) {
    let (key, value) = (key.to_vec(), value.to_vec());
    work(engine, move |tx| {
        tx.put(key.clone(), value.clone());
        Ok(())
    })
    .expect("written");
}

fn scan(engine: &dyn Engine, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Rows {
    let mut rows = Rows::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut look = |reads: &dyn super::Reads| {
        rows.clear();
        reads.scan(prefix, after, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    };
    runtime.block_on(engine.view(&mut look)).expect("readable");
    rows
}

fn row(key: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
    (key.into(), value.into())
}

/// Runs all tests, each on an empty engine from `make`.
pub fn run(mut make: impl FnMut() -> Box<dyn Engine>) {
    rows_are_found_in_the_order_of_their_keys(&*make());
    a_work_sees_what_it_wrote_and_what_is_committed(&*make());
    what_fails_or_panics_leaves_nothing_and_harms_nobody_else(&*make());
    what_is_finished_can_be_read_by_everybody(&*make());
    a_snapshot_stays_as_it_was(&*make());
    a_snapshot_begins_between_two_works(&*make());
}

fn rows_are_found_in_the_order_of_their_keys(engine: &dyn Engine) {
    for key in ["b2", "a", "b", "b1", "c"] {
        put(engine, key.as_bytes(), key.as_bytes());
    }
    assert_eq!(scan(engine, b"b", None, 9), [row("b", "b"), row("b1", "b1"), row("b2", "b2")]);
    assert_eq!(scan(engine, b"b", Some(b"b"), 9), [row("b1", "b1"), row("b2", "b2")], "after is not among them");
    assert_eq!(scan(engine, b"b", Some(b"a"), 1), [row("b", "b")], "after may lie before the prefix, and a visit may end it");
    assert_eq!(scan(engine, b"", None, 9).len(), 5);
    work(engine, |tx| {
        tx.delete(b"b1".to_vec());
        tx.delete(b"nothing".to_vec());
        tx.put(b"b2".to_vec(), b"new".to_vec());
        Ok(())
    })
    .expect("written");
    assert_eq!(scan(engine, b"b", None, 9), [row("b", "b"), row("b2", "new")]);
}

fn a_work_sees_what_it_wrote_and_what_is_committed(engine: &dyn Engine) {
    put(engine, b"k1", b"old");
    put(engine, b"k2", b"old");
    work(engine, |tx| {
        assert_eq!(tx.reads().get(b"k1")?.as_deref(), Some(&b"old"[..]));
        tx.put(b"k1".to_vec(), b"new".to_vec());
        tx.delete(b"k2".to_vec());
        tx.put(b"k3".to_vec(), b"new".to_vec());
        assert_eq!(tx.reads().get(b"k1")?.as_deref(), Some(&b"new"[..]));
        assert_eq!(tx.reads().get(b"k2")?, None);
        let mut keys = Vec::new();
        tx.reads().scan(b"k", None, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        assert_eq!(keys, [b"k1", b"k3"]);
        Ok(())
    })
    .expect("its assertions hold");
}

fn what_fails_or_panics_leaves_nothing_and_harms_nobody_else(engine: &dyn Engine) {
    put(engine, b"k", b"1");
    let failed = work(engine, |tx| {
        tx.put(b"k".to_vec(), b"2".to_vec());
        tx.put(b"other".to_vec(), b"2".to_vec());
        Err(Error::NotOurs)
    });
    assert!(matches!(failed, Err(Error::NotOurs)));
    let panicked = work(engine, |tx| {
        tx.put(b"k".to_vec(), b"3".to_vec());
        panic!("on purpose")
    });
    assert!(matches!(panicked, Err(Error::Panicked)));
    assert_eq!(scan(engine, b"", None, 9), [row("k", "1")]);
    assert!(engine.is_writable());
    put(engine, b"k", b"4");
    assert_eq!(scan(engine, b"", None, 9), [row("k", "4")]);
}

/// Four threads add one to a number many times: no addition is lost, and each is readable once it is finished.
fn what_is_finished_can_be_read_by_everybody(engine: &dyn Engine) {
    const EACH: u8 = 25;
    put(engine, b"sum", &[0]);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..EACH {
                    let before = scan(engine, b"sum", None, 1)[0].1[0];
                    work(engine, |tx| {
                        let sum = tx.reads().get(b"sum")?.map_or(0, |value| value[0]);
                        tx.put(b"sum".to_vec(), vec![sum + 1]);
                        Ok(())
                    })
                    .expect("written");
                    assert!(scan(engine, b"sum", None, 1)[0].1[0] > before);
                }
            });
        }
    });
    assert_eq!(scan(engine, b"sum", None, 1)[0].1, [4 * EACH]);
}

fn all(reads: &dyn super::Reads, prefix: &[u8], after: Option<&[u8]>) -> Rows {
    let mut rows = Rows::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    reads.scan(prefix, after, visit).expect("readable");
    rows
}

/// Rows are changed, removed and added, before and while the snapshot is read.
fn a_snapshot_stays_as_it_was(engine: &dyn Engine) {
    let key = |n: u32| n.to_be_bytes().to_vec();
    let write = |step: usize, value: &'static [u8]| {
        work(engine, move |tx| {
            for n in (0..2000).step_by(step) {
                if n % 3 == 0 { tx.delete(key(n)) } else { tx.put(key(n), value.to_vec()) }
            }
            Ok(())
        })
        .expect("written");
    };
    write(2, b"old");
    let snapshot = engine.snapshot().expect("opened");
    let before = scan(engine, b"", None, usize::MAX);
    assert!(before.len() > 600);
    write(1, b"new");
    std::thread::scope(|threads| {
        threads.spawn(|| (1..9).for_each(|step| write(step, b"newer")));
        for _ in 0..5 {
            assert!(all(&*snapshot, b"", None) == before, "it has changed");
        }
    });
    let part: Rows = before.into_iter().filter(|(found, _)| found.starts_with(&[0, 0, 1]) && *found > key(300)).collect();
    assert!(part.len() > 50 && all(&*snapshot, &[0, 0, 1], Some(&key(300))) == part, "a part of it");
    assert_eq!(snapshot.get(&key(2)).expect("readable").as_deref(), Some(&b"old"[..]));
    assert_eq!(snapshot.get(&key(1)).expect("readable"), None);
    assert_eq!(snapshot.get(&key(6)).expect("readable"), None);
    let mut first = Vec::new();
    let visit = &mut |key: &[u8], _: &[u8]| {
        first.push(key.to_vec());
        ControlFlow::Break(())
    };
    snapshot.scan(b"", None, visit).expect("readable");
    assert_eq!(first, [key(2)]);
}

/// Works write two rows that must be equal, at the two ends of the database.
fn a_snapshot_begins_between_two_works(engine: &dyn Engine) {
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for n in 0..100u8 {
                work(engine, move |tx| {
                    tx.put(b"a".to_vec(), vec![n]);
                    tx.put(b"z".to_vec(), vec![n]);
                    Ok(())
                })
                .expect("written");
            }
        });
        while !writer.is_finished() {
            let snapshot = engine.snapshot().expect("opened");
            let (a, z) = (snapshot.get(b"a").expect("readable"), snapshot.get(b"z").expect("readable"));
            assert_eq!(a, z);
        }
    });
}

#[test]
fn memory_keeps_what_every_engine_promises() {
    run(|| Box::new(super::memory::Memory::default()));
}
