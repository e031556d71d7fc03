//! Paths: which have one spelling alone, and what the others may mean.

/// Whether a path has one spelling: no escapes, no dot segments, no empty ones but at its end, none of the characters that
/// servers read in different ways.
pub fn is_plain(path: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._~!$&'()*+,=:@/-".contains(&b);
    let Some(segments) = path.strip_prefix('/') else { return false };
    let count = segments.split('/').count();
    let are_segments = segments.split('/').enumerate().all(|(i, segment)| (!segment.is_empty() || i + 1 == count) && !is_dots(segment));
    are_segments && path.bytes().all(is_plain)
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// A path as the server behind may read it: decoded until nothing changes, with `\` for `/`, without what follows a `;` in
/// a segment, dot segments resolved, slashes merged, in lower case.
pub struct Folded {
    path: String,
    /// Servers may read it in other ways than this.
    is_crooked: bool,
}

impl Folded {
    /// Folds a path as the client sent it, without its query.
    pub fn new(path: &str) -> Self {
        let once = decode(path.as_bytes());
        let mut decoded = once.clone();
        // Each round makes it shorter.
        loop {
            let next = decode(&decoded);
            if next == decoded {
                break;
            }
            decoded = next;
        }
        let text = String::from_utf8_lossy(&decoded);
        let is_crooked = !escapes_are_harmless(path) || once != decoded || text.contains('\u{fffd}') || has_other_readings(&text);
        let text = text.replace('\\', "/");
        let mut segments: Vec<&str> = Vec::new();
        for segment in text.split('/') {
            match segment.split(';').next().unwrap_or_default() {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                segment => segments.push(segment),
            }
        }
        let path = format!("/{}", segments.join("/")).to_lowercase();
        Self { path, is_crooked }
    }

    /// Whether the server behind may take it for a path that begins with `prefix`. Characters beyond ASCII may be taken for
    /// others (fullwidth letters for plain ones, say), so a segment with one counts as any.
    pub fn may_be_below(&self, prefix: &str) -> bool {
        if self.is_crooked || self.path.starts_with(prefix) {
            return true;
        }
        let (mut wanted, mut found) = (prefix.trim_end_matches('/').split('/').peekable(), self.path.split('/'));
        while let Some(segment) = wanted.next() {
            let Some(own) = found.next() else { return false };
            let fits = if wanted.peek().is_some() { own == segment } else { own.starts_with(segment) };
            if !fits && own.is_ascii() {
                return false;
            }
        }
        true
    }
}

/// Decodes each escape once. What is no escape stays.
fn decode(path: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(path).collect()
}

/// Whether all escapes in a path are complete, and none stands for a character that servers read in different ways
/// depending on when they decode it.
fn escapes_are_harmless(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let byte = rest.get(..2).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_some_and(|byte| !b"/\\.;%?#".contains(&byte) && !byte.is_ascii_control())
    })
}

/// Whether a decoded path has what some servers resolve and others do not.
fn has_other_readings(path: &str) -> bool {
    let mut segments = path.split('/').skip(1).peekable();
    let mut has_odd_segment = !path.starts_with('/');
    while let Some(segment) = segments.next() {
        has_odd_segment |= is_dots(segment) || (segment.is_empty() && segments.peek().is_some());
    }
    has_odd_segment || path.contains(['\\', ';', '?', '#']) || path.chars().any(char::is_control)
}
