//! The languages of the page.

use std::{fmt, str::FromStr};

macro_rules! languages {
    ($($(#[$doc:meta])* $name:ident $tag:literal,)*) => {
        /// A language that there is a catalogue of, `assets/web/lang/<tag>.json`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Language { $($(#[$doc])* $name,)* }

        impl Language {
            /// All of them. The first is for whoever asks for none of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its tag (RFC 5646), which is also the name of its catalogue.
            #[must_use]
            pub const fn tag(self) -> &'static str {
                match self { $(Self::$name => $tag,)* }
            }
        }
    };
}

languages! {
    /// The language of the API, too.
    English "en",
    /// Written from left to right, as all but Arabic.
    German "de",
    /// France's and everybody else's.
    French "fr",
    /// Spain's and everybody else's.
    Spanish "es",
    /// Brazil's and everybody else's.
    Portuguese "pt",
    /// Written from right to left.
    Arabic "ar",
}

/// No catalogue has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such language")]
pub struct UnknownLanguage;

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(text: &str) -> Result<Self, UnknownLanguage> {
        Self::ALL.iter().copied().find(|language| language.tag() == text).ok_or(UnknownLanguage)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}
