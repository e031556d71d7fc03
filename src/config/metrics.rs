//! `[metrics]`: where Prometheus finds them.

use super::{
    Settings,
    check::{OutOfBounds, ensure},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::net::{Ipv4Addr, SocketAddr};

/// What is measured, and who may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// The address of a listener that has nothing else; `None` is no such listener.
    #[serde(serialize_with = "serialize", deserialize_with = "deserialize")]
    pub listen: Option<SocketAddr>,
    /// Whether the main listener has them, too.
    pub enabled: bool,
}

impl Settings {
    /// Checks that this build can do what is asked for, and that two listeners do not share an address.
    pub(super) fn check_metrics(&self) -> Result<(), OutOfBounds> {
        self.check_metrics_of_a_build(cfg!(feature = "metrics"))
    }

    fn check_metrics_of_a_build(&self, has_them: bool) -> Result<(), OutOfBounds> {
        let Metrics { listen, enabled } = &self.metrics;
        let absent = "nothing: this build is without metrics; build it with the feature `metrics`, which is on by default";
        if let Some(listen) = listen {
            ensure(has_them, "metrics.listen", listen.to_string(), absent.into())?;
            let is_taken = listen == &self.server.listen && listen.port() != 0;
            ensure(!is_taken, "metrics.listen", listen.to_string(), "an address that server.listen does not have".into())?;
        }
        ensure(has_them || !enabled, "metrics.enabled", "true".into(), absent.into())
    }

    /// Warns of metrics that strangers may read.
    pub(super) fn metrics_warning(&self) -> Option<String> {
        let listen = self.metrics.listen.filter(|listen| !listen.ip().is_loopback())?;
        Some(format!(
            "metrics.listen is {listen}: whoever reaches that reads how many users there are, and what they do, without signing in"
        ))
    }
}

#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the form in which serde calls it")]
fn serialize<S: Serializer>(listen: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&listen.map(|listen| listen.to_string()).unwrap_or_default())
}

/// Reads an address with a port, or a port alone, which is one of 127.0.0.1.
fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let port = || text.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    text.parse().ok().or_else(port).map(Some).ok_or_else(|| {
        let allowed =
            "a port of 127.0.0.1, such as \"9464\", an address and a port, such as \"192.168.1.10:9464\", or \"\" for no listener";
        D::Error::custom(format!("found {text:?}, allowed: {allowed}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(listen: &str) -> Result<Metrics, String> {
        toml::from_str(&format!("listen = {listen}")).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn ops_9_a_port_alone_is_one_of_this_machine() {
        for (written, meant) in
            [("''", None), ("'9464'", Some("127.0.0.1:9464")), ("'0.0.0.0:9464'", Some("0.0.0.0:9464")), ("'[::1]:1'", Some("[::1]:1"))]
        {
            let read = read(written).expect("good").listen;
            assert_eq!(read, meant.map(|meant| meant.parse().expect("an address")), "{written}");
        }
        for wrong in ["'x'", "':9464'", "'99999'", "'127.0.0.1'", "'localhost:9464'"] {
            assert!(read(wrong).expect_err("refused").contains("allowed: a port of 127.0.0.1"), "{wrong}");
        }
    }

    #[test]
    fn a_build_without_metrics_promises_none() {
        let check = |has_them, listen: &str, enabled| {
            let metrics = Metrics { listen: listen.parse().ok(), enabled };
            let settings = Settings { metrics, ..Settings::default() };
            settings.check_metrics_of_a_build(has_them).map_err(|error| (error.key, error.allowed))
        };
        assert_eq!(check(true, "127.0.0.1:9464", true), Ok(()));
        assert_eq!(check(true, "127.0.0.1:3000", false).expect_err("taken").0, "metrics.listen");
        assert_eq!(check(false, "", false), Ok(()));
        for (listen, enabled, key) in [("127.0.0.1:9464", false, "metrics.listen"), ("", true, "metrics.enabled")] {
            let (refused, allowed) = check(false, listen, enabled).expect_err("absent");
            assert!(refused == key && allowed.contains("this build is without metrics"), "{refused}: {allowed}");
        }
    }

    #[test]
    fn metrics_beyond_this_machine_are_told_of() {
        let warning = |listen: &str| {
            let mut settings = Settings::default();
            settings.metrics.listen = listen.parse().ok();
            settings.warnings().into_iter().find(|warning| warning.starts_with("metrics.listen"))
        };
        assert_eq!((warning(""), warning("127.0.0.1:1"), warning("[::1]:1")), (None, None, None));
        assert!(warning("0.0.0.0:9464").is_some_and(|warning| warning.contains("without signing in")));
    }
}
