//! Requests from outside, sent by curl: it has TLS and roots of trust, sends any path as it is, and is on most machines. A
//! TLS client of our own would be a tenth of the binary.

use crate::failure::Failure;
use std::process::{Command, Stdio};

/// A request that asks an app's public address, signed out.
#[derive(Debug, Clone)]
pub struct Probe {
    method: &'static str,
    url: String,
    headers: Vec<String>,
    target: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How many bytes its body has.
    pub size: usize,
    headers: Vec<(String, String)>,
}

impl Probe {
    /// A `GET` of a path as it stands here, with a browser's headers of a navigation.
    pub fn navigation(origin: &str, path: &str) -> Self {
        let headers = ["Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"].map(str::to_owned).to_vec();
        Self { method: "GET", url: format!("{origin}{path}"), headers, target: None }
    }

    /// The same with another method.
    pub const fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// The same with this target in its request line, in place of the address's.
    pub fn target(mut self, target: String) -> Self {
        self.target = Some(target);
        self
    }

    /// The same with another header.
    pub fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    /// Sends it. `None` if there was no answer: something on the way has refused it.
    ///
    /// # Errors
    /// There is no curl.
    pub fn send(&self, extra: &[String]) -> Result<Result<Answer, String>, Failure> {
        let mut curl = Command::new("curl");
        // Of an upgraded connection the head is all that there is to see, so the time is short.
        curl.args(["--silent", "--show-error", "--path-as-is", "--globoff", "--http1.1", "--max-time", "10", "--output", "/dev/null"]);
        curl.args(["--dump-header", "-", "--write-out", "%{size_download}", "--request", self.method, "--url", &self.url]).args(extra);
        if let Some(target) = &self.target {
            curl.args(["--request-target", target]);
        }
        for line in &self.headers {
            curl.args(["--header", line]);
        }
        let output = curl.stdin(Stdio::null()).output().map_err(|error| Failure::new(format!("curl: {error}: gate check needs it")))?;
        let answer = Answer::parse(&String::from_utf8_lossy(&output.stdout));
        Ok(answer.ok_or_else(|| String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("curl: ").to_owned()))
    }
}

impl Answer {
    /// The last head that was received: an interim one may stand before it.
    fn parse(text: &str) -> Option<Self> {
        let head = text.replace("\r\n", "\n");
        // Behind the head stands the size of the body.
        let (head, size) = head.rsplit_once("\n\n").unwrap_or((&head, ""));
        let head = head.trim_end().rsplit("\n\n").next()?;
        let (line, rest) = head.split_once('\n').unwrap_or((head, ""));
        let status = line.strip_prefix("HTTP/")?.split(' ').nth(1)?.parse().ok()?;
        let pairs = rest.lines().filter_map(|line| line.split_once(':'));
        let size = size.trim().parse().unwrap_or_default();
        Some(Self { status, size, headers: pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect() })
    }

    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the app, or somebody in its place, has said yes: 2xx, or an upgrade.
    pub const fn is_yes(&self) -> bool {
        matches!(self.status, 101 | 200..=299)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_head_counts() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 303 See Other\r\nLocation: /x\r\nSet-Cookie: a=b\r\n\r\n17";
        let answer = Answer::parse(text).expect("an answer");
        assert_eq!((answer.status, answer.size, answer.header("location"), answer.header("nothing")), (303, 17, Some("/x"), None));
        assert!(!answer.is_yes() && Answer::parse("HTTP/1.1 101 Switching Protocols\r\n\r\n").expect("an answer").is_yes());
        assert!(Answer::parse("").is_none() && Answer::parse("garbage").is_none());
    }
}
