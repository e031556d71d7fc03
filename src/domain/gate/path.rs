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

/// A path as servers behind may read it: decoded, with plain letters, with `\` for `/`, without what follows a `;` in a
/// segment, dot segments resolved, slashes merged, without regard to case.
pub struct Folded {
    /// With plain letters for others, and without whatever is not ASCII.
    readings: [String; 2],
    /// Servers may read it in other ways than these.
    is_crooked: bool,
}

impl Folded {
    /// Folds a path as the client sent it, without its query.
    pub fn new(path: &str) -> Self {
        let once = decode(path.as_bytes());
        // What a second round changes is read in several ways already: nothing more need be known of it.
        let decoded = String::from_utf8_lossy(&once);
        let plain = plain_letters(&decoded);
        let ascii: String = plain.chars().filter(char::is_ascii).collect();
        let is_undecoded = |text: &str| decode(text.as_bytes()) != text.as_bytes();
        let is_crooked = !escapes_are_harmless(path)
            || decode(&once) != once
            || decoded.contains('\u{fffd}')
            || has_other_readings(&decoded)
            || [&plain, &ascii].into_iter().any(|text| is_undecoded(text) || text.split(['/', '\\']).any(is_dots));
        Self { readings: [plain, ascii].map(|text| resolved(&text)), is_crooked }
    }

    /// Whether the server behind may take it for a path that begins with `prefix`.
    pub fn may_be_below(&self, prefix: &str) -> bool {
        self.is_crooked || self.readings.iter().any(|path| path.starts_with(prefix))
    }
}

/// A path without dot segments, empty ones and parameters, in one case. By way of capitals: some letters have the same.
fn resolved(text: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/")).to_uppercase().to_lowercase()
}

/// A text with plain letters for those that some servers take for them: fullwidth ones, ligatures, letters with marks
/// (Unicode Standard Annex 15, NFKD).
fn plain_letters(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let decomposed = icu_normalizer::DecomposingNormalizerBorrowed::new_nfkd().normalize(text);
    decomposed.chars().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect()
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
