//! Reference servers and loops: what bare warp, one verification, one hash and one write cost by themselves.

use doorward::{
    app::App,
    config::{Environment, Flags, OperatorSecrets, load},
    http::{AppState, PublicOrigin},
    server,
    store::engine::memory::Memory,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use warp::{Filter, Reply};

/// Runs Doorward on the engine in memory: the same work without waiting for a disk.
pub fn no_fsync(flags: &Flags) -> Result<(), Box<dyn std::error::Error>> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let mut settings = load(flags, &Environment::of_process())?.settings;
    doorward::telemetry::start(&settings.log);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let secrets = OperatorSecrets::read(&Environment::default(), settings.tokens.algorithm)?;
        let listener = server::listen(settings.server.listen)?;
        settings.server.listen = listener.local_addr()?;
        let app = Arc::new(App::open_on(|_, _| Box::new(Memory::default()), &settings, &secrets).await?);
        let site = PublicOrigin::new(&settings);
        server::run(listener, server::Transport::Plain, Arc::new(AppState { app, site }), std::future::pending()).await;
        Ok(())
    })
}

/// The claims of Doorward's own access tokens.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: u64,
    exp: u64,
    jti: String,
    sid: String,
    ver: u32,
    role: String,
    permissions: Vec<String>,
}

/// Runs bare warp with a route that does nothing and one that verifies a token and returns its claims.
pub fn warp(listen: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let secret = [7; 32];
    let (encoding, decoding) = (EncodingKey::from_secret(&secret), DecodingKey::from_secret(&secret));
    let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.set_issuer(&["doorward"]);
    validation.set_audience(&["doorward"]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let id = "0123456789abcdef0123456789abcdef";
    let claims = Claims {
        iss: "doorward".into(),
        aud: "doorward".into(),
        sub: id.into(),
        iat: now,
        exp: now + 36_000,
        jti: id.into(),
        sid: id.into(),
        ver: 1,
        role: "viewer".into(),
        permissions: vec!["articles:read".into()],
    };
    let header = Header { typ: Some("at+jwt".into()), kid: Some("0123456789abcdef".into()), ..Header::default() };
    let token = jsonwebtoken::encode(&header, &claims, &encoding)?;
    let verified = move |line: String| {
        let token = line.strip_prefix("Bearer ")?;
        jsonwebtoken::decode::<Claims>(token, &decoding, &validation).ok().map(|data| data.claims)
    };
    let verify = warp::path!("verify").and(warp::get()).and(warp::header("authorization")).map(move |line| match verified(line) {
        Some(claims) => warp::reply::json(&claims).into_response(),
        None => warp::http::StatusCode::UNAUTHORIZED.into_response(),
    });
    let bare = warp::path!("bare").or(warp::path!("health")).unify().and(warp::get()).map(|| "ok".into_response());
    let token = warp::path!("token").map(move || warp::reply::json(&serde_json::json!({ "accessToken": token })).into_response());
    let routes = verify.or(bare).unify().or(token).unify();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(listen).await?;
        let service = TowerToHyperService::new(warp::service(routes));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = service.clone();
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

/// The number of hashes per second of the scrypt crate with Doorward's parameters, in a loop.
pub fn scrypt_loop(span: Duration) -> Result<f64, Box<dyn std::error::Error>> {
    let params = scrypt::Params::new(15, 8, 3)?;
    Ok(rate(span, || {
        let mut output = [0; 32];
        scrypt::scrypt(b"correct horse battery 1", &[1; 16], &params, &mut output).expect("an output of this length");
        std::hint::black_box(output);
    }))
}

/// The number of durable appends of 256 bytes per second, with so many that share each sync.
pub fn append_loop(directory: &Path, waiting: u32, span: Duration) -> Result<f64, Box<dyn std::error::Error>> {
    let path = directory.join("append");
    let mut file = File::create(&path)?;
    let mut failed: io::Result<()> = Ok(());
    let syncs = rate(span, || {
        let appended = (0..waiting).try_for_each(|_| file.write_all(&[7; 256])).and_then(|()| file.sync_data());
        if appended.is_err() {
            failed = appended;
        }
    });
    std::fs::remove_file(path)?;
    failed?;
    Ok(syncs * f64::from(waiting))
}

/// How often per second this can be done.
pub fn rate(span: Duration, mut work: impl FnMut()) -> f64 {
    let (begun, mut done) = (Instant::now(), 0_u32);
    while begun.elapsed() < span {
        work();
        done += 1;
    }
    f64::from(done) / begun.elapsed().as_secs_f64()
}
