//! Finds the heads of a connection's requests and notes what hyper does not report of them: hyper keeps one of
//! two lengths of a body (HTTP-3) and drops the fragment of a target (HTTP-7).
//!
//! The heads are parsed with hyper's own parser, so both agree on where a head ends; `Content-Length` says
//! where the next begins. Bodies are counted and never looked into: they may look like heads, and there are
//! passwords in them.

use memchr::{memchr, memmem};
use std::{collections::VecDeque, mem};
use zeroize::Zeroizing;

/// The largest head that is accepted, in bytes.
pub const MAX_HEAD_SIZE: usize = 16 * 1024;
/// The most header lines that a head may have.
pub const MAX_HEADERS: usize = 64;

/// How much of an incomplete head is kept, in bytes. hyper gives up on longer ones.
const MAX_PARTIAL_HEAD_SIZE: usize = 2 * MAX_HEAD_SIZE;

/// What the server must know of one request's head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// The head gives its body more than one length. A proxy in front may have believed another one than
    /// hyper does (RFC 9112 §6.1).
    pub is_ambiguous: bool,
    /// The target has a `#`.
    pub has_fragment: bool,
    /// The connection must end after the answer, because it is not known where the next head begins. Every
    /// chunked body is such a case: only hyper finds its end.
    pub is_last: bool,
}

/// Follows the bytes of one connection and parses the heads among them.
#[derive(Default)]
pub struct Heads {
    next: Next,
    /// A head of which only a part has arrived. There are tokens in it.
    partial: Zeroizing<Vec<u8>>,
    /// Complete heads whose requests hyper has not handed to the service yet.
    complete: VecDeque<Head>,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Head,
    /// A body, of which this many bytes are still to come.
    Body(u64),
    /// Nothing that may be read as a request.
    Nothing,
}

impl Heads {
    /// Reads bytes that have arrived.
    pub fn received(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.next {
                Next::Nothing => return,
                Next::Body(left) => self.skip(left, bytes),
                Next::Head => self.read(bytes),
            };
        }
    }

    /// Returns the head of the request that hyper has just handed to the service.
    pub fn take(&mut self) -> Head {
        // hyper finds no head that is not found here. If it did, nothing would be known of it: assume the worst.
        self.complete.pop_front().unwrap_or(Head { is_ambiguous: true, is_last: true, ..Head::default() })
    }

    fn skip<'a>(&mut self, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left.saturating_sub(here as u64);
        self.next = if left == 0 { Next::Head } else { Next::Body(left) };
        &bytes[here..]
    }

    /// Reads the bytes of a head and returns those behind its end.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        // Most heads arrive in one piece: these need not be copied.
        if self.partial.is_empty()
            && let Some(end) = self.parse(bytes, 0)
        {
            return &bytes[end..];
        }
        if self.next != Next::Head {
            return &[];
        }
        let before = self.partial.len();
        self.keep(bytes);
        let partial = mem::take(&mut self.partial);
        // The empty line that ends a head may itself be split, so look three bytes back.
        match self.parse(&partial, before.saturating_sub(3)) {
            Some(end) => &bytes[end.saturating_sub(before)..],
            None if partial.len() > MAX_PARTIAL_HEAD_SIZE => {
                self.next = Next::Nothing;
                &[]
            }
            None => {
                self.partial = partial;
                &[]
            }
        }
    }

    /// Parses a head if it is complete, and returns its length. A head ends with an empty line, which is looked
    /// for behind `from`: the bytes before are known not to have it.
    fn parse(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        let recent = &bytes[from..];
        if memmem::find(recent, b"\n\r\n").is_none() && memmem::find(recent, b"\n\n").is_none() {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(end)) => {
                self.record(&request);
                Some(end)
            }
            Ok(httparse::Status::Partial) => None,
            // hyper refuses this head as well, and reads nothing behind it.
            Err(_) => {
                self.next = Next::Nothing;
                None
            }
        }
    }

    fn record(&mut self, request: &httparse::Request<'_, '_>) {
        let named = |name: &'static str| request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        let (lengths, codings) = (named("content-length").count(), named("transfer-encoding").count());
        let length = match named("content-length").next() {
            None => Some(0),
            Some(length) => str::from_utf8(length.value).ok().and_then(|text| text.trim().parse::<u64>().ok()),
        };
        // The bytes behind a CONNECT are a tunnel's.
        let is_framed = codings == 0 && lengths <= 1 && request.method != Some("CONNECT");
        let length = length.filter(|_| is_framed);
        self.next = match length {
            Some(0) => Next::Head,
            Some(length) => Next::Body(length),
            None => Next::Nothing,
        };
        self.complete.push_back(Head {
            is_ambiguous: lengths > 1 || (lengths > 0 && codings > 0),
            has_fragment: request.path.is_some_and(|target| memchr(b'#', target.as_bytes()).is_some()),
            is_last: length.is_none(),
        });
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.partial.capacity() - self.partial.len() < bytes.len() {
            // Grown by hand: a `Vec` that grows by itself leaves a copy of the tokens in freed memory.
            let mut larger = Zeroizing::new(Vec::with_capacity((self.partial.len() + bytes.len()).next_power_of_two()));
            larger.extend_from_slice(&self.partial);
            self.partial = larger;
        }
        self.partial.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(pieces: &[&[u8]]) -> Vec<Head> {
        let mut heads = Heads::default();
        pieces.iter().for_each(|piece| heads.received(piece));
        heads.complete.into()
    }

    const PLAIN: Head = Head { is_ambiguous: false, has_fragment: false, is_last: false };
    const CHUNKED: Head = Head { is_last: true, ..PLAIN };
    const TWO_LENGTHS: Head = Head { is_ambiguous: true, is_last: true, ..PLAIN };
    const FRAGMENT: Head = Head { has_fragment: true, ..PLAIN };

    #[test]
    fn http_3_a_head_with_two_lengths_is_seen_in_any_order() {
        let head = |lines: &str| seen(&[format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n").as_bytes()]);
        assert_eq!(head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), [TWO_LENGTHS]);
        assert_eq!(head("content-length:5\r\nTRANSFER-ENCODING:chunked\r\n"), [TWO_LENGTHS]);
        assert_eq!(head("Content-Length: 5\nTransfer-Encoding: chunked\n"), [TWO_LENGTHS], "bare line feeds");
        assert_eq!(head("Content-Length: 5\r\nContent-Length: 5\r\n"), [TWO_LENGTHS]);
        assert_eq!(head("Transfer-Encoding: chunked\r\n"), [CHUNKED]);
        assert_eq!(head("Content-Length: 5\r\n"), [PLAIN]);
        assert_eq!(head("Content-Length: x\r\n"), [CHUNKED], "what is no number ends the connection");
    }

    #[test]
    fn http_7_a_fragment_is_seen_in_the_target_alone() {
        assert_eq!(seen(&[b"GET /x#y HTTP/1.1\r\nHost: x\r\n\r\n"]), [FRAGMENT]);
        assert_eq!(seen(&[b"GET http://x#y HTTP/1.1\r\n\r\n"]), [FRAGMENT]);
        assert_eq!(seen(&[b"GET /x HTTP/1.1\r\nX-Colour: #fff\r\n\r\n"]), [PLAIN]);
    }

    #[test]
    fn http_11_a_body_is_counted_and_never_taken_for_a_head() {
        let body = "\r\n\r\nGET /#x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".repeat(100);
        let post = format!("POST /x HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let get = "\r\nGET /y HTTP/1.1\r\n\r\n";
        assert_eq!(seen(&[post.as_bytes(), get.as_bytes(), b"GET /#z HTTP/1.1\r\n\r\n"]), [PLAIN, PLAIN, FRAGMENT]);
        assert_eq!(seen(&[format!("{get}{post}{get}").as_bytes()]), [PLAIN; 3], "sent ahead");
        assert_eq!(seen(&[b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", get.as_bytes()]), [CHUNKED], "nothing is behind it");
    }

    #[test]
    fn no_more_than_a_head_is_kept_and_nothing_of_a_body() {
        let mut heads = Heads::default();
        (0..100).for_each(|_| heads.received(&[b'x'; 16 * 1024]));
        assert_eq!((heads.partial.len(), heads.next), (0, Next::Nothing), "too long");
        let mut heads = Heads::default();
        heads.received(b"POST / HTTP/1.1\r\nContent-Length: 99\r\n");
        assert!(!heads.partial.is_empty());
        heads.received(b"\r\n{\"password\":\"correct horse");
        assert_eq!((heads.partial.capacity(), heads.next), (0, Next::Body(73)));
        assert_eq!(heads.take(), PLAIN);
        assert_eq!(heads.take(), TWO_LENGTHS, "an unknown head counts as ambiguous");
    }

    proptest! {
        /// However the bytes are cut, the same heads are seen.
        #[test]
        fn pieces_make_no_difference(cuts in proptest::collection::vec(0_usize..300, 0..8)) {
            let stream = b"\r\n\nGET /a#b HTTP/1.1\r\nHost: x\r\n\r\nPOST /c HTTP/1.1\nContent-Length: 9\n\n\r\n\r\nGET /POST /d HTTP/1.1\r\nHost: y\r\nContent-Length: 0\r\n\r\nPOST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /f HTTP/1.1\r\n\r\n";
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            prop_assert_eq!(seen(&pieces), vec![FRAGMENT, PLAIN, PLAIN, CHUNKED]);
        }
    }
}
