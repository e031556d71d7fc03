//! Where the heads of a connection's requests begin and end, and what hyper drops of them: it keeps one of
//! two lengths of a body (HTTP-3), and no fragment of a target (HTTP-7).
//!
//! The bytes are parsed as hyper parses them, by the same parser, so both agree on where a head ends;
//! `Content-Length` says where the next begins. Bodies are counted and never looked into: they may look
//! like heads, and there are passwords in them.

use memchr::{memchr, memmem};
use std::{collections::VecDeque, mem};
use zeroize::Zeroizing;

/// Largest head, in bytes, and most header lines.
pub const MAX_HEAD: usize = 16 * 1024;
pub const MAX_HEADERS: usize = 64;

/// What is kept of one head. hyper gives up on longer ones.
const MAX_KEPT: usize = 2 * MAX_HEAD;

/// What is known of one request's head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Its body has more than one length: a proxy in front may have believed another (RFC 9112 §6.1).
    pub is_ambiguous: bool,
    /// Its target has a `#`.
    pub has_fragment: bool,
    /// Where the next one begins is not known, so there is none: the connection ends with the answer. So it
    /// is behind a chunked body, whose end is hyper's to find.
    pub is_last: bool,
}

/// What has arrived on a connection.
#[derive(Default)]
pub struct Heads {
    next: Next,
    /// A head that is not complete. There are tokens in it.
    partial: Zeroizing<Vec<u8>>,
    /// Those that are complete, until their requests are taken up.
    complete: VecDeque<Head>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Head,
    /// So many bytes of a body.
    Body(u64),
    /// Nothing that is a request.
    Nothing,
}

impl Heads {
    /// Takes note of bytes.
    pub fn received(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.next {
                Next::Nothing => return,
                Next::Body(left) => self.skip(left, bytes),
                Next::Head => self.read(bytes),
            };
        }
    }

    /// The head of the request that is taken up now.
    pub fn take(&mut self) -> Head {
        // That hyper has seen one that we have not does not happen; if it did, nothing would be sure.
        self.complete.pop_front().unwrap_or(Head { is_ambiguous: true, is_last: true, ..Head::default() })
    }

    fn skip<'a>(&mut self, left: u64, bytes: &'a [u8]) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left.saturating_sub(here as u64);
        self.next = if left == 0 { Next::Head } else { Next::Body(left) };
        &bytes[here..]
    }

    /// What follows the head that ends in these bytes.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        // Most heads come whole.
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
        // The end of an empty line may have come on its own.
        match self.parse(&partial, before.saturating_sub(3)) {
            Some(end) => &bytes[end.saturating_sub(before)..],
            None if partial.len() > MAX_KEPT => {
                self.next = Next::Nothing;
                &[]
            }
            None => {
                self.partial = partial;
                &[]
            }
        }
    }

    /// Parses a head, unless it is not complete: then its end, an empty line, is not among the bytes behind `from`.
    fn parse(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        let recent = &bytes[from..];
        if memmem::find(recent, b"\n\r\n").is_none() && memmem::find(recent, b"\n\n").is_none() {
            return None;
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(end)) => {
                self.note(&request);
                Some(end)
            }
            Ok(httparse::Status::Partial) => None,
            // hyper refuses it as well, and what comes behind it.
            Err(_) => {
                self.next = Next::Nothing;
                None
            }
        }
    }

    fn note(&mut self, request: &httparse::Request<'_, '_>) {
        let named = |name: &'static str| request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        let (lengths, codings) = (named("content-length").count(), named("transfer-encoding").count());
        let length = match named("content-length").next() {
            None => Some(0),
            Some(length) => str::from_utf8(length.value).ok().and_then(|text| text.trim().parse::<u64>().ok()),
        };
        // What follows a CONNECT is a tunnel.
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
            // Grown by hand: what moves by itself leaves a copy behind.
            let mut roomier = Zeroizing::new(Vec::with_capacity((self.partial.len() + bytes.len()).next_power_of_two()));
            roomier.extend_from_slice(&self.partial);
            self.partial = roomier;
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
        assert_eq!(heads.take(), TWO_LENGTHS, "not seen is not fine");
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
