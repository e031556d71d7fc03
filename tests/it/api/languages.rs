//! The catalogues of the page's texts, and which of them a visitor gets.

use crate::support::{Actor, Answer, Server, send};

async fn asked(server: &Server, path: &str, accepted: &[&str]) -> Answer {
    let request = Actor::at(server).request("GET", path);
    send(accepted.iter().fold(request, |request, line| request.header("accept-language", *line))).await
}

#[tokio::test]
async fn the_catalogue_is_that_of_the_language_a_browser_asks_for() {
    let server = Server::start();
    for (accepted, chosen) in [
        (&[][..], "en"),
        (&["de-CH, de;q=0.9, en;q=0.8"], "de"),
        (&["pt-BR"], "pt"),
        (&["ja, fr;q=0.5, es;q=0.7"], "es"),
        (&["ja"], "en"),
        (&["en;q=0, *;q=0.1"], "de"),
        (&["ja", "ar-EG"], "ar"),
    ] {
        let answer = asked(&server, "/lang/auto.json", accepted).await.expect(200);
        assert_eq!(answer.text_of("language"), chosen, "{accepted:?}");
        assert_eq!(answer.header("content-language"), Some(chosen));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let vary = answer.header("vary").expect("Vary");
        assert!(["Accept-Language", "Accept-Encoding", "Origin"].iter().all(|name| vary.contains(name)), "{vary}");
        let known = answer.header("etag").expect("a tag");
        let again = Actor::at(&server).request("GET", "/lang/auto.json").header("if-none-match", known);
        let again = accepted.iter().fold(again, |request, line| request.header("accept-language", *line));
        assert_eq!(send(again).await.status, 304);
        assert_eq!(asked(&server, &format!("/lang/{chosen}.json"), &["fr"]).await.expect(200).text, answer.text);
    }
    let named = asked(&server, "/lang/fr.json", &["de"]).await.expect(200);
    assert_eq!((named.text_of("language").as_str(), named.header("content-language")), ("fr", Some("fr")));
    assert!(!named.header("vary").expect("Vary").contains("Language"));
    assert_eq!(asked(&server, "/lang/tlh.json", &[]).await.outcome(), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn the_setting_chooses_for_those_who_have_not_and_catalogues_stay_without_the_page() {
    let server = Server::with(&["page.language=ar", "page.enabled=false"]);
    assert_eq!(asked(&server, "/", &[]).await.status, 404);
    let answer = asked(&server, "/lang/auto.json", &["de"]).await.expect(200);
    assert_eq!((answer.text_of("language").as_str(), answer.text_of("direction").as_str()), ("ar", "rtl"));
    assert_eq!(asked(&server, "/lang/de.json", &[]).await.expect(200).text_of("language"), "de");
}
