//! How far a long command is, on one line of a terminal.

use std::{
    cell::RefCell,
    io::{self, IsTerminal, Read, Write},
    time::{Duration, Instant},
};

/// How often the line changes at most.
const INTERVAL: Duration = Duration::from_millis(100);

const BAR: usize = 30;

/// A line on stderr, if a person looks.
pub struct Progress(RefCell<Line>);

struct Line {
    what: &'static str,
    total: Option<u64>,
    done: u64,
    /// None where nobody looks.
    shown: Option<Instant>,
}

impl Progress {
    /// Shows how much is done of so many bytes, if that is known.
    pub fn new(what: &'static str, total: Option<u64>) -> Self {
        let shown = io::stderr().is_terminal().then(Instant::now);
        Self(RefCell::new(Line { what, total: total.filter(|total| *total > 0), done: 0, shown }))
    }

    /// The same bytes, counted as they are read.
    pub const fn reading<R: Read>(&self, from: R) -> Counted<'_, R> {
        Counted { inner: from, progress: self }
    }

    /// The same bytes, counted as they are written.
    pub const fn writing<W: Write>(&self, to: W) -> Counted<'_, W> {
        Counted { inner: to, progress: self }
    }

    fn add(&self, bytes: usize) {
        let mut line = self.0.borrow_mut();
        line.done += bytes as u64;
        if line.shown.is_some_and(|shown| shown.elapsed() >= INTERVAL) {
            line.shown = Some(Instant::now());
            // A terminal that takes nothing must not end a backup.
            let _ = write!(io::stderr(), "\r\x1b[K{}", line.text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.0.borrow().shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Line {
    fn text(&self) -> String {
        let Self { what, total, done, .. } = self;
        let mib = done >> 20;
        total.map_or_else(
            || format!("{what} {mib} MiB"),
            |total| {
                let part = usize::try_from(done.saturating_mul(BAR as u64) / total).unwrap_or(BAR).min(BAR);
                format!("{what} [{}{}] {mib} of {} MiB", "=".repeat(part), " ".repeat(BAR - part), total >> 20)
            },
        )
    }
}

/// What is read or written, counted.
pub struct Counted<'a, T> {
    inner: T,
    progress: &'a Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(into).inspect(|bytes| self.progress.add(*bytes))
    }
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).inspect(|bytes| self.progress.add(*bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let line = |total, done: u64| Line { what: "reading", total, done: done << 20, shown: None }.text();
        assert_eq!(line(None, 3), "reading 3 MiB");
        assert_eq!(line(Some(4 << 20), 2), format!("reading [{}{}] 2 of 4 MiB", "=".repeat(15), " ".repeat(15)));
        assert!(line(Some(4 << 20), 9).contains(&"=".repeat(30)), "a file that grew");
    }
}
