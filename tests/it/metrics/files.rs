//! What comes with the repository for Prometheus and Grafana, held against a real scrape.

use super::{Scrape, measured, promtool};
use crate::support::{Actor, Server};
use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");
const ALERTS: &str = include_str!("../../../deploy/alerts.yml");
const ALERT_TESTS: &str = include_str!("../../../deploy/alerts.test.yml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana.json");

/// A scrape in which every metric has a value.
async fn whole() -> (Server, Scrape) {
    let (server, at) = measured(&["backup.every=1d"]);
    let ada = Actor::registered_with_tokens(&server, "ada@example.org").await;
    ada.me().await.expect(200);
    loop {
        let scrape = Scrape::of(&at).await;
        // They are counted soon after the start.
        if scrape.names().contains("doorward_users") {
            return (server, scrape);
        }
    }
}

/// The metrics that an expression names.
fn named(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("doorward_") || word.starts_with("process_"))
}

#[tokio::test]
async fn the_page_of_metrics_is_complete() {
    let (_server, scrape) = whole().await;
    let rows: BTreeSet<_> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once('`'))
        .map(|(name, rest)| (name, rest.trim_start_matches(" | ").splitn(3, " | ").collect::<Vec<_>>()))
        .filter(|(_, cells)| cells.len() == 3)
        .map(|(name, cells)| (name.to_owned(), cells[0].to_owned(), cells[2].to_owned()))
        .collect();
    let found: BTreeSet<_> = scrape.families.iter().map(|(name, (kind, help))| (name.clone(), kind.clone(), help.clone())).collect();
    let missing: Vec<_> = found.difference(&rows).map(|(name, kind, help)| format!("| `{name}` | {kind} | | {help} |")).collect();
    assert!(missing.is_empty(), "paste this into docs/metrics.md:\n\n{}\n", missing.join("\n"));
    assert_eq!(rows.difference(&found).collect::<Vec<_>>(), Vec::<&(String, String, String)>::new(), "these are not measured");
}

#[tokio::test]
async fn alerts_ask_for_what_there_is_and_do_what_their_tests_say() {
    for arguments in [["check", "rules", "deploy/alerts.yml"], ["test", "rules", "deploy/alerts.test.yml"]] {
        let (good, said) = promtool(&arguments, "");
        assert!(good && said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
    let alerts: Vec<_> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    for alert in &alerts {
        let tests: Vec<_> = ALERT_TESTS.split("alertname: ").skip(1).filter(|test| test.lines().next() == Some(alert)).collect();
        let quiet = tests.iter().filter(|test| test.contains("exp_alerts: []\n")).count();
        assert!(quiet >= 1 && tests.len() > quiet, "{alert} is tested neither quiet nor loud: {tests:?}");
    }
    let (_server, scrape) = whole().await;
    let names = scrape.names();
    let asked: Vec<_> =
        ALERTS.lines().filter(|line| !line.contains("description:") && !line.trim_start().starts_with('#')).flat_map(named).collect();
    assert!(asked.len() >= alerts.len() - 1, "{asked:?}");
    for name in asked {
        assert!(names.contains(name), "no {name} in a scrape");
    }
}

#[tokio::test]
async fn the_dashboard_asks_for_what_there_is() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    assert_eq!((&dashboard["uid"], &dashboard["id"]), (&Value::from("doorward"), &Value::Null), "it can be imported twice");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert!(variables.iter().any(|variable| variable["type"] == "datasource" && variable["name"] == "datasource"), "{variables:?}");
    let (_server, scrape) = whole().await;
    let (names, mut ids, mut asked) = (scrape.names(), BTreeSet::new(), 0);
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "two panels with one id: {panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("an expression");
            assert_eq!(expression.matches("rate(").count(), expression.matches("[$__rate_interval])").count(), "{expression}");
            assert!(expression.contains("instance=~\"$instance\""), "{expression}");
            for name in named(expression) {
                assert!(names.contains(name), "no {name} in a scrape: {expression}");
                asked += 1;
            }
        }
    }
    assert!(ids.len() >= 12 && asked >= 20, "{} panels ask {asked} times", ids.len());
}
