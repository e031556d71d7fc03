//! `doorward healthcheck`

use super::{
    output,
    output::print,
    process::{reachable, runtime},
};
#[cfg(feature = "tls")]
use crate::server::tls;
use crate::{config::Settings, failure::Failure};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// The longest answer that is read. A server's own has some hundred bytes.
const MAX_ANSWER: u64 = 64 * 1024;

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
    let is_tls = settings.server.tls.is_on();
    let url = format!("{}://{at}/health", if is_tls { "https" } else { "http" });
    let asked = async { tokio::time::timeout(HEALTH_TIMEOUT, ask(at, is_tls)).await.unwrap_or_else(|_| Err("no answer in time".into())) };
    let (healthy, answer) = runtime()?
        .block_on(asked)
        .map_err(|why| Failure::new(format!("{url}: {why}: is the server running? --at asks at another address")))?;
    print(json, &answer, |answer| output::text(answer, "status").into_owned())?;
    if healthy { Ok(()) } else { Err(Failure::new(format!("{url}: the server is up but degraded: see its log"))) }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Asks, through TLS if that is what is served.
async fn ask(at: SocketAddr, is_tls: bool) -> Result<(bool, Value), Error> {
    let stream = TcpStream::connect(at).await?;
    #[cfg(feature = "tls")]
    if is_tls {
        return ask_on(tls::connect(stream, at.ip()).await?, at).await;
    }
    // Without the feature, a certificate is no valid setting.
    let _ = is_tls;
    ask_on(stream, at).await
}

/// Asks in HTTP/1.0, whose answer ends with the connection: one request is not worth an HTTP client, which has 100 KB.
async fn ask_on(mut stream: impl AsyncRead + AsyncWrite + Unpin, at: SocketAddr) -> Result<(bool, Value), Error> {
    stream.write_all(format!("GET /health HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("what answers there speaks no HTTP")?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).ok_or("what answers there speaks no HTTP")?;
    Ok((status.starts_with('2'), serde_json::from_str(body)?))
}
