//! Which language a visitor is answered in (RFC 9110 §12.5.4, RFC 4647 §3.4).

use crate::domain::Language;

/// The language that the setting names. Without one it is the visitor's most wanted that there is, by the values of
/// `Accept-Language`, and the first of all languages if they want none of them.
#[must_use]
pub fn choose<'a>(setting: Option<Language>, accepted: impl IntoIterator<Item = &'a str>) -> Language {
    if let Some(language) = setting {
        return language;
    }
    let mut ranges: Vec<_> = accepted.into_iter().flat_map(|line| line.split(',')).filter_map(range).collect();
    // A stable sort: what is wanted as much as another keeps its place before it.
    ranges.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let is_refused =
        |language: &Language| ranges.iter().any(|(range, weight)| *weight == 0.0 && range.eq_ignore_ascii_case(language.tag()));
    let offered: Vec<_> = Language::ALL.iter().copied().filter(|language| !is_refused(language)).collect();
    let mut wanted = ranges.iter().filter(|(_, weight)| *weight > 0.0);
    let any = |range: &str| if range == "*" { offered.first().copied() } else { lookup(range, &offered) };
    wanted.find_map(|(range, _)| any(range)).unwrap_or(Language::ALL[0])
}

/// The range and the weight of an element of the list, if it is one.
fn range(element: &str) -> Option<(&str, f32)> {
    let (range, parameter) = element.split_once(';').unwrap_or((element, "q=1"));
    let (name, weight) = parameter.split_once('=')?;
    let weight = weight.trim().parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
    let range = range.trim();
    (name.trim().eq_ignore_ascii_case("q") && !range.is_empty()).then_some((range, weight))
}

/// The language of a range, found by leaving out one subtag after the other from its end: `de-CH-1996`, `de-CH`, `de`.
fn lookup(range: &str, offered: &[Language]) -> Option<Language> {
    let mut rest = Some(range);
    while let Some(tag) = rest {
        if let Some(found) = offered.iter().find(|language| language.tag().eq_ignore_ascii_case(tag)) {
            return Some(*found);
        }
        rest = tag.rsplit_once('-').map(|(shorter, _)| shorter);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_language_that_there_is_is_chosen() {
        for (line, chosen) in [
            ("", "en"),
            ("de", "de"),
            ("de-CH", "de"),
            ("DE-ch-1996", "de"),
            ("pt-BR,pt;q=0.9,en;q=0.8", "pt"),
            ("ja, fr;q=0.5, de;q=0.7", "de"),
            ("fr;q=0.5,es;q=0.5", "fr"),
            (" fr ; q=0.2 , es ; Q=0.3 ", "es"),
            ("zh-Hant-TW, ja", "en"),
            ("ar-EG-u-nu-latn", "ar"),
            ("*", "en"),
            ("*;q=0.5, ar;q=0.1", "en"),
            ("en;q=0, *", "de"),
            ("en;q=0, de;q=0.000, *;q=0.1", "fr"),
            ("de;q=0, de-CH", "en"),
            ("de-CH;q=0, de", "de"),
            ("en;q=0", "en"),
            ("*;q=0", "en"),
            ("es;q=2, de;q=x, fr;q, ;, ,,;q=1", "en"),
            ("es;level=1, fr;q=0.1", "fr"),
            ("de\u{e9}, -, --, fr-", "fr"),
        ] {
            assert_eq!(choose(None, [line]).tag(), chosen, "{line:?}");
        }
        assert_eq!(choose(None, ["ja;q=1", "fr;q=0.3, es;q=0.4"]), Language::Spanish, "lines are one list");
        assert_eq!(choose(None, []), Language::English);
    }

    #[test]
    fn the_setting_comes_first() {
        assert_eq!(choose(Some(Language::Arabic), ["de", "fr;q=0.5"]), Language::Arabic);
    }
}
