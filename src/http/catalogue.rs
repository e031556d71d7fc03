//! The texts that people read, by language. The page has them from the same files.

use super::assets;
use crate::domain::Language;
use serde_json::{Map, Value};
use std::sync::OnceLock;

/// The texts of one language.
#[derive(Debug)]
pub struct Catalogue(Map<String, Value>);

impl Catalogue {
    /// The catalogue of a language. It is parsed when it is first asked for, and then kept.
    #[must_use]
    pub fn of(language: Language) -> &'static Self {
        static PARSED: [OnceLock<Catalogue>; Language::ALL.len()] = [const { OnceLock::new() }; Language::ALL.len()];
        PARSED[language as usize].get_or_init(|| Self(assets::catalogue(language).unwrap_or_default()))
    }

    /// The text of a key. One that no catalogue has is its own text: a page that says too little is better than none.
    #[must_use]
    pub fn text<'a>(&'a self, key: &'a str) -> &'a str {
        self.0.get(key).and_then(Value::as_str).unwrap_or(key)
    }

    /// The text of a key with a value in place of each `{name}`. Values are text and not markup.
    #[must_use]
    pub fn fill(&self, key: &str, values: &[(&str, &str)]) -> String {
        let mut rest = self.text(key);
        let mut filled = String::with_capacity(rest.len());
        while let Some((before, name, after)) =
            rest.split_once('{').and_then(|(before, open)| open.split_once('}').map(|(name, after)| (before, name, after)))
        {
            let value = values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
            filled.extend([before, value]);
            rest = after;
        }
        filled + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_a_catalogue_that_says_which_it_is() {
        for language in Language::ALL {
            let catalogue = Catalogue::of(*language);
            assert_eq!(catalogue.text("language"), language.tag());
            let direction = if *language == Language::Arabic { "rtl" } else { "ltr" };
            assert_eq!(catalogue.text("direction"), direction, "{language}");
        }
        assert_eq!(Catalogue::of(Language::German).text("login.title"), "Anmelden");
        assert_eq!(Catalogue::of(Language::German).text("no such key"), "no such key");
    }

    #[test]
    fn values_are_put_in_place_once() {
        let catalogue = Catalogue(Map::from_iter([("k".to_owned(), Value::from("{a} and {b}, {a}{none}!"))]));
        assert_eq!(catalogue.fill("k", &[("a", "{b}"), ("b", "B")]), "{b} and B, {b}!");
        assert_eq!(catalogue.fill("open {", &[]), "open {");
    }
}
