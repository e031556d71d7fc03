//! `doorward gate explain`: which rule decides about a request.

use super::apps::{gate_of, no_app};
use crate::{
    cli::output::text,
    config::Settings,
    domain::{
        Role,
        gate::{App, Missing, Refused, Standing},
    },
    failure::Failure,
};
use serde_json::{Value, json};
use std::sync::Arc;
use url::Url;

/// What decides about a request, and how.
///
/// # Errors
/// No app is at the address.
pub fn explain(settings: &Settings, url: &str, method: &str, user: Option<&Value>) -> Result<Value, Failure> {
    let gate = gate_of(settings);
    let parsed = Url::parse(url)
        .map_err(|error| Failure::new(format!("{url}: {error}: write the address in full, such as https://wiki.example.org/page")))?;
    let origin = parsed.origin().ascii_serialization();
    let app = gate.apps().iter().find(|app| app.origin.as_str() == origin);
    let app = app.ok_or_else(|| no_app(&gate, &format!("{origin}: no app is at this address")))?;
    // What stands behind the host, as a browser sends it: the parser would resolve what the gate must see.
    let rest = url.strip_prefix(&origin).ok_or_else(|| Failure::new(format!("{url}: write it as {origin}/…")))?;
    let target = rest.split('#').next().filter(|target| !target.is_empty()).unwrap_or("/");
    let is_clear = target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic());
    let is_method = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    if !is_clear || !is_method {
        let why = "the gate refuses such a request with 403: a path begins with / and has no blanks, a method is in capitals";
        return Err(Failure::new(why));
    }
    let path = target.split('?').next().unwrap_or_default();
    let (verdict, rule, missing) = decide(settings, app, method, path, user)?;
    let hint = hint(app, path, verdict);
    Ok(json!({
        "app": app.name, "method": method, "path": path, "user": user.map(|user| text(user, "email")),
        "verdict": verdict, "rule": rule, "missing": missing, "hint": hint,
    }))
}

/// Verdict, the rule that decides, and what is missing.
fn decide(
    settings: &Settings,
    app: &Arc<App>,
    method: &str,
    path: &str,
    user: Option<&Value>,
) -> Result<(&'static str, String, Option<String>), Failure> {
    if path.starts_with("/.doorward/") {
        return Ok(("doorward", "what is below /.doorward/ is Doorward's own and never reaches the app".into(), None));
    }
    if let Some(entry) = app.public_entry(method, path) {
        return Ok(("public", format!("public has {:?}", entry.to_string()), None));
    }
    let Some(user) = user else { return Ok(("sign-in", format!("public of {} has no entry for it", app.name), None)) };
    if user["disabled"] == true {
        return Ok(("refused", "the user is disabled".into(), None));
    }
    let role: Role = text(user, "role").parse().map_err(|_| Failure::new("the user has no role"))?;
    let is_vouched_for = user["emailVerified"] == true || user["kind"] == "service";
    Ok(match app.admit_to(path, Standing { role: &role, is_vouched_for }, &settings.roles) {
        Ok(()) => ("allowed", allowing(app, &role), None),
        Err(Refused { missing, prefix }) => {
            let at =
                prefix.map_or_else(|| format!("[[gate.app]] {}", app.name), |prefix| format!("[[gate.app.path]] {prefix} of {}", app.name));
            ("refused", at, Some(missing_text(&missing)))
        }
    })
}

/// Why somebody is let in.
fn allowing(app: &App, role: &Role) -> String {
    let parts = if app.paths.is_empty() { "" } else { ", and no [[gate.app.path]] of it is in the way" };
    match &app.rule.roles {
        _ if role.is_admin() => "admin always may".into(),
        None => format!("[[gate.app]] {} has roles = [\"*\"]{parts}", app.name),
        Some(_) => format!("[[gate.app]] {} lists {role}{parts}", app.name),
    }
}

fn missing_text(missing: &Missing) -> String {
    match missing {
        Missing::VerifiedAddress => "nobody vouched for the address: `doorward user verify`, or unverified = true".into(),
        Missing::Role(roles) => format!("one of the roles: {}", roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ")),
        Missing::Permission(permission) => format!("the permission {permission}"),
    }
}

/// What is seldom meant.
fn hint(app: &App, path: &str, verdict: &str) -> Option<&'static str> {
    if verdict == "sign-in" && app.public_entry("GET", path).is_some() {
        return Some("public opens this path for GET and HEAD alone: an entry may begin with another method");
    }
    let is_manifest = path.ends_with("manifest.json") || path.ends_with(".webmanifest");
    (verdict != "public" && is_manifest).then_some("browsers fetch the manifest of a web app without cookies: let public have this path")
}

/// The answer for people.
pub fn shown(answer: &Value) -> String {
    let who = match text(answer, "user") {
        user if user.is_empty() => "somebody who is not signed in".into(),
        user => user,
    };
    let outcome = match &*text(answer, "verdict") {
        "public" => "passes, as everybody does",
        "allowed" => "passes",
        "doorward" => "is answered by Doorward",
        "sign-in" => "is sent to sign in (401 if it is no navigation)",
        _ => "is refused (403)",
    };
    let mut lines = vec![format!("{} {} at {}: {who} {outcome}", text(answer, "method"), text(answer, "path"), text(answer, "app"))];
    lines.push(format!("because: {}", text(answer, "rule")));
    for (member, label) in [("missing", "missing"), ("hint", "hint")] {
        if !answer[member].is_null() {
            lines.push(format!("{label}: {}", text(answer, member)));
        }
    }
    lines.join("\n")
}
