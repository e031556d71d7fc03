//! A client that sends what it is told to, byte for byte.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long an answer may take. A proxy waits some seconds for a gate that is silent.
const PATIENCE: Duration = Duration::from_secs(40);

/// An answer, with names of headers in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

/// The values of a header in a list of headers.
pub fn values<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

/// A connection to a proxy.
pub struct Connection {
    stream: TcpStream,
    /// What was read and not yet used.
    rest: Vec<u8>,
}

impl Connection {
    /// Connects; nothing if nobody listens.
    pub fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        Some(Self { stream, rest: Vec::new() })
    }

    /// Sends these bytes. False if the other side has closed, which it may do when it refuses a request.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads the next answer, also one with 100 or 101. Nothing if the connection ends instead.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        if answer.status >= 200 && !matches!(answer.status, 204 | 304) {
            answer.body = self.body(&answer.headers)?;
        }
        Some(answer)
    }

    /// Reads the next answer without its body, such as one to `HEAD`.
    pub fn head(&mut self) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break self.rest.drain(..end + 4).collect::<Vec<_>>();
            }
            self.more()?;
        };
        let (status, headers) = parse(&head)?;
        Some(Answer { status, headers, body: Vec::new() })
    }

    /// Reads the next answer that is no 100.
    pub fn final_answer(&mut self) -> Option<Answer> {
        loop {
            match self.answer() {
                Some(answer) if answer.status == 100 => {}
                answer => return answer,
            }
        }
    }

    /// Reads so many bytes.
    pub fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.rest.len() < length {
            self.more()?;
        }
        Some(self.rest.drain(..length).collect())
    }

    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.rest.extend_from_slice(&piece[..read]);
                Some(())
            }
        }
    }

    fn body(&mut self, headers: &[(String, String)]) -> Option<Vec<u8>> {
        if values(headers, "transfer-encoding") == ["chunked"] {
            let mut body = Vec::new();
            loop {
                let size = self.line()?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).ok()?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    return Some(body);
                }
                body.extend(self.exactly(size)?);
                self.line()?;
            }
        }
        match values(headers, "content-length")[..] {
            [length] => self.exactly(length.parse().ok()?),
            _ => {
                while self.more().is_some() {}
                Some(std::mem::take(&mut self.rest))
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).ok();
            }
            self.more()?;
        }
    }
}

/// Reads the head of an answer.
fn parse(head: &[u8]) -> Option<(u16, Vec<(String, String)>)> {
    let mut space = [httparse::EMPTY_HEADER; 100];
    let mut answer = httparse::Response::new(&mut space);
    answer.parse(head).ok()?;
    Some((answer.code?, named(answer.headers)))
}

/// Headers as they are compared here.
pub fn named(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect()
}

/// Undoes percent-encoding.
pub fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).expect("two digits"));
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).expect("UTF-8")
}
