//! Reads what Prometheus reads.

use crate::support::Server;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::{Command, Stdio},
};

/// A server with a listener for metrics, and that listener's address.
pub fn measured(settings: &[&str]) -> (Server, String) {
    let server = Server::with(&[&["metrics.listen=127.0.0.1:0"], settings].concat());
    let address = address(&server);
    (server, address)
}

/// Where a server said last that its metrics are.
pub fn address(server: &Server) -> String {
    let log = server.log();
    let (_, rest) = log.rsplit_once("metrics are at http://").expect("a line in the log");
    rest.split_once("/metrics").expect("a path").0.to_owned()
}

/// A scrape: the type and the help of each family, and the value of each series.
#[derive(Debug)]
pub struct Scrape {
    pub text: String,
    pub families: BTreeMap<String, (String, String)>,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    /// Asks a listener that has metrics and nothing else.
    pub async fn of(address: &str) -> Self {
        let response = reqwest::get(format!("http://{address}/metrics")).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self::read(response.text().await.expect("text"))
    }

    pub fn read(text: String) -> Self {
        let (mut helps, mut families, mut series) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a text");
                helps.insert(name.to_owned(), help.to_owned());
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of.split_once(' ').expect("a type");
                families.insert(name.to_owned(), (kind.to_owned(), helps.remove(name).expect("a help text before")));
            } else {
                let (name, value) = line.rsplit_once(' ').expect("a value");
                let earlier = series.insert(name.to_owned(), value.parse().expect("a number"));
                assert!(earlier.is_none(), "{name} twice");
            }
        }
        Self { text, families, series }
    }

    /// The value of a series, by its name and labels as they are written; panics if there is none.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// The names of all series, without labels.
    pub fn names(&self) -> BTreeSet<&str> {
        self.series.keys().map(|series| series.split('{').next().expect("a name")).collect()
    }

    /// The labels of all series.
    pub fn labels(&self) -> BTreeSet<(&str, &str)> {
        let inner = self.series.keys().filter_map(|series| series.split_once('{')?.1.strip_suffix("\"}"));
        inner.flat_map(|inner| inner.split("\",")).map(|label| label.split_once("=\"").expect("a label")).collect()
    }
}

/// Runs `promtool`, with this text on stdin. Panics if it is not installed: no test here is skipped.
pub fn promtool(arguments: &[&str], stdin: &str) -> (bool, String) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, which tests/run installs on Debian, as root");
    child.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("ended");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
