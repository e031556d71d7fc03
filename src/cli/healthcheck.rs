//! `doorward healthcheck`

use super::{output, output::print, process::runtime};
use crate::{config::Settings, failure::Failure};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpStream;

/// How long a healthy server may take to answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Args {
    /// Where it listens, if not at server.listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    at: Option<SocketAddr>,
}

pub fn run(args: &Args, settings: &Settings, json: bool) -> Result<(), Failure> {
    let at = args.at.unwrap_or_else(|| reachable(settings.server.listen));
    let asked = async { tokio::time::timeout(HEALTH_TIMEOUT, ask(at)).await.unwrap_or_else(|_| Err("no answer in time".into())) };
    let (healthy, answer) = runtime()?
        .block_on(asked)
        .map_err(|why| Failure::new(format!("http://{at}/health: {why}: is the server running? --at asks at another address")))?;
    print(json, &answer, |answer| output::text(answer, "status").into_owned())?;
    if healthy { Ok(()) } else { Err(Failure::new(format!("http://{at}/health: the server is up but degraded: see its log"))) }
}

/// The address to connect to: loopback if the server listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

async fn ask(at: SocketAddr) -> Result<(bool, Value), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/health").header("host", at.to_string()).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let healthy = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((healthy, serde_json::from_slice(&body)?))
}
