//! The setting `page.language`: `auto`, or the tag of a language.

use crate::domain::Language;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

const AUTO: &str = "auto";

#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the form in which serde calls it")]
pub fn serialize<S: Serializer>(language: &Option<Language>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(language.map_or(AUTO, Language::tag))
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Language>, D::Error> {
    let text = String::deserialize(from)?;
    if text == AUTO {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let tags: Vec<_> = Language::ALL.iter().map(|language| language.tag()).collect();
        D::Error::custom(format!("found {text:?}, allowed: {AUTO}, {}", tags.join(", ")))
    })
}
