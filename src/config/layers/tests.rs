//! Which layer wins, and how a wrong setting is refused.

use super::*;
use std::time::Duration;

fn flags(file: &str, set: &[&str]) -> (tempfile::TempDir, Flags) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.toml");
    std::fs::write(&path, file).expect("a file");
    (dir, Flags { config: Some(path), set: set.iter().map(|s| (*s).to_owned()).collect(), ..Flags::default() })
}

fn loaded(file: &str, env: &[(&str, &str)], set: &[&str]) -> Result<Loaded, Failure> {
    let (_dir, flags) = flags(file, set);
    load(&flags, &Environment::with(env))
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let (file, env, set) = ("[tokens]\naccess_ttl = '1m'", [("DOORWARD_TOKENS_ACCESS_TTL", "2m")], ["tokens.access_ttl=3m"]);
    let ttl = |file, env: &[_], set: &[_]| loaded(file, env, set).expect("loads").settings.tokens.access_ttl;
    assert_eq!(ttl("", &[], &[]), Duration::from_secs(900));
    assert_eq!(ttl(file, &[], &[]), Duration::from_secs(60));
    assert_eq!(ttl(file, &env, &[]), Duration::from_secs(120));
    assert_eq!(ttl(file, &env, &set), Duration::from_secs(180));
    assert_eq!(loaded(file, &env, &set).expect("loads").source("tokens.access_ttl"), "flag --set");
}

#[test]
fn a_setting_of_an_earlier_release_is_understood_and_named() {
    for (file, env, set) in [
        ("[demo]\nenabled = false", &[][..], &[][..]),
        ("", &[("DOORWARD_DEMO_ENABLED", "false")], &[]),
        ("", &[], &["demo.enabled=false"]),
    ] {
        let loaded = loaded(file, env, set).expect("loads");
        assert!(!loaded.settings.page.enabled);
        assert!(loaded.renamed[0].ends_with("demo.enabled is called page.enabled now"), "{:?}", loaded.renamed);
    }
    let failure = loaded("[demo]\ncolour = 'red'", &[], &[]).expect_err("refused");
    assert!(failure.to_string().contains("demo"), "{failure}");
    assert!(loaded("[demo]\n[page]\nenabled = false", &[], &[]).is_ok_and(|loaded| !loaded.settings.page.enabled), "an empty section");
    let both = [("DOORWARD_DEMO_ENABLED", "true"), ("DOORWARD_PAGE_ENABLED", "false")];
    for contradiction in [loaded("[demo]\nenabled = true\n[page]\nenabled = false", &[], &[]), loaded("", &both, &[])] {
        let failure = contradiction.expect_err("refused").to_string();
        assert!(failure.ends_with("found both demo.enabled and page.enabled, which are one setting: remove demo.enabled"), "{failure}");
    }
}

#[test]
fn texts_take_the_type_of_their_setting() {
    let env = [
        ("DOORWARD_INSECURE_DEV", "true"),
        ("DOORWARD_SESSIONS_MAX_PER_USER", "3"),
        ("DOORWARD_SERVER_TRUSTED_PROXIES", "127.0.0.1, ::1/128"),
        ("DOORWARD_SERVICE_PORT", "3000"),
        ("DOORWARD_ACCESS_SECRET", "no setting"),
        ("PATH", "/bin"),
    ];
    let settings = loaded("", &env, &["roles.viewer=articles:read,news:read", "roles.author=news:write"]).expect("loads").settings;
    assert!(settings.insecure_dev);
    assert_eq!(settings.sessions.max_per_user, 3);
    assert_eq!(settings.server.trusted_proxies, ["127.0.0.1/32".parse().expect("a net"), "::1/128".parse().expect("a net")]);
    assert!(settings.roles.allows(&"viewer".parse().expect("a role"), "news:read"));
}

#[test]
fn a_section_within_a_section_is_read_from_every_layer() {
    let cert = |file, env: &[_], set: &[_]| loaded(file, env, set).map(|loaded| loaded.settings.server.tls.cert.display().to_string());
    let file = "[server]\ntls = { cert = 'file.pem', key = 'key.pem' }";
    assert_eq!(cert(file, &[], &[]).expect("loads"), "file.pem");
    assert_eq!(cert(file, &[("DOORWARD_SERVER_TLS_CERT", "variable.pem")], &[]).expect("loads"), "variable.pem");
    assert_eq!(cert(file, &[], &["server.tls.cert=flag.pem"]).expect("loads"), "flag.pem");
}

#[test]
fn a_wrong_setting_is_refused_with_origin_key_found_and_allowed() {
    let refused = |file, env: &[_], set: &[_], words: &[&str]| {
        let failure = loaded(file, env, set).expect_err("refused");
        assert_eq!(failure.code(), 78);
        for word in words {
            assert!(failure.to_string().contains(word), "{word} is not in: {failure}");
        }
    };
    refused("[tokens]\nacess_ttl = '1m'", &[], &[], &["test.toml", "tokens.acess_ttl", "nearest: tokens.access_ttl"]);
    refused("[tokns]\naccess_ttl = '1m'", &[], &[], &["test.toml", "tokns.access_ttl", "nearest: tokens.access_ttl"]);
    refused("[tokens.access]\nttl = '1m'", &[], &[], &["test.toml", "tokens.access.ttl: there is no such setting"]);
    refused("[server]\ntls = 'cert.pem'", &[], &[], &["server.tls: there is no such setting; nearest: server.tls."]);
    refused("[server]\ntls = { certificate = 'x' }", &[], &[], &["server.tls.certificate", "nearest: server.tls.cert"]);
    refused("tokens = 5", &[], &[], &["test.toml", "tokens: there is no such setting"]);
    refused("[tokns]", &[], &[], &["tokns"]);
    refused("[tokens]\naccess_ttl = 'soon'", &[], &[], &["test.toml", "tokens.access_ttl", "found \"soon\", allowed: a duration such as"]);
    refused("[tokens]\naccess_ttl = 5", &[], &[], &["test.toml", "tokens.access_ttl", "found 5, allowed: a duration such as"]);
    refused("[page]\nenabled = 'yes'", &[], &[], &["page.enabled", "found \"yes\", allowed: true or false"]);
    refused("[server]\nlisten = '3000'", &[], &[], &["server.listen", "found \"3000\", allowed: an address and a port"]);
    refused("[roles]\nviewer = []", &[], &[], &["test.toml", "roles.admin", "allowed: a role admin"]);
    refused("[sessions]\nmax_per_user = -1", &[], &[], &["max_per_user", "found -1, allowed: a whole number"]);
    refused("[passwords]\nscrypt_log_n = 300", &[], &[], &["scrypt_log_n", "found 300, allowed: a smaller number"]);
    refused("[cors]\nallowed_origins = 'x'", &[], &[], &["cors.allowed_origins", "found \"x\", allowed: a list"]);
    refused("", &[], &["tokens.refresh_ttl=999d"], &["tokens.refresh_ttl", "found 999d, allowed: 15m to 365d"]);
    refused("", &[], &["registration.default_role=admin"], &["allowed: a role of [roles] that may not administer: editor, viewer"]);
    refused("[tokens]\naccess_ttl = '1s'", &[], &[], &["test.toml", "tokens.access_ttl", "1s", "10s to 1h"]);
    refused("[registration]\nmode = 'all'", &[], &[], &["registration.mode", "found \"all\", allowed: auto, open, invite, closed"]);
    refused("[server\n", &[], &[], &["test.toml", "line 1"]);
    refused("", &[("DOORWARD_TOKENS_ACESS_TTL", "1m")], &[], &["DOORWARD_TOKENS_ACESS_TTL", "DOORWARD_TOKENS_ACCESS_TTL"]);
    refused("", &[("DOORWARD_PORT", "3000")], &[], &["DOORWARD_PORT", "no such setting"]);
    refused("[server]\ntrusted_proxies = ['10.0.0']", &[], &[], &["test.toml", "server.trusted_proxies", "10.0.0", "such as"]);
    refused("", &[], &["server.trusted_proxies=0.0.0.0/0"], &["server.trusted_proxies", "0.0.0.0/0", "everybody"]);
    refused("", &[("DOORWARD_SESSIONS_MAX_PER_USER", "many")], &[], &["DOORWARD_SESSIONS_MAX_PER_USER", "many"]);
    refused("", &[], &["tokens.ttl=1m"], &["--set: tokens.ttl", "tokens.access_ttl"]);
    refused("", &[], &["tokens"], &["--set", "tokens", "KEY=VALUE"]);
    refused("", &[], &["server.public_url=http://box.lan"], &["--set: server.public_url", "box.lan", "insecure_http"]);
}

proptest::proptest! {
    #[test]
    fn no_file_variable_or_flag_makes_reading_the_settings_panic(
        file in "(\\[[a-z.]{0,8}\\]\n|[a-z_]{1,14} ?= ?['\"\\[{0-9a-z:/.,}\\]-]{0,12}\n|\\PC{0,20}){0,5}",
        key in proptest::sample::select(vec!["SERVER_LISTEN", "TOKENS_ACCESS_TTL", "SERVER_PUBLIC_URL", "ROLES_VIEWER", "LIMITS_LOGIN_FAILURES"]),
        value in "[0-9a-z:/.,\\[\\]*-]{0,20}|\\PC{0,20}",
    ) {
        // Settings are accepted, or refused with the exit code for settings.
        let name = format!("DOORWARD_{key}");
        for outcome in [
            loaded(&file, &[], &[]),
            loaded("", &[(&name, &value)], &[]),
            loaded("", &[], &[&format!("{}={value}", key.to_lowercase().replacen('_', ".", 1))]),
            loaded("", &[], &[&value]),
        ] {
            proptest::prop_assert!(outcome.map_or_else(|failure| failure.code() == 78, |_| true));
        }
    }
}
