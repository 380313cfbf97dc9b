//! The state, by HTTP. The time for all of it is bounded, whatever the other end does.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::access::token::TOKEN_BYTES_MAX;

/// A state at the limits of a configuration stays below it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Debian's own list of authorities has 220 KiB.
const CA_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub struct Asked {
    pub url: String,
    pub token_file: Option<PathBuf>,
    pub ca: PathBuf,
}

/// The state; else why there is none, in words.
pub fn state(asked: Asked, patience: Duration) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let url = asked.url.clone();
    let answer = runtime.block_on(async { tokio::time::timeout(patience, fetch(asked)).await });
    // A file that cannot be read to its end, on a dead server say, is left behind.
    runtime.shutdown_background();
    answer.map_err(|_| format!("no answer from {url} within {} s", patience.as_secs()))?
}

async fn fetch(asked: Asked) -> Result<Value, String> {
    let Asked { url, token_file, ca } = asked;
    let wrong = || format!("{url} is no address of a box: such as https://lb1.example:8443");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(wrong()) };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let token = match token_file {
        Some(file) => Some(blocking(move || first_line(&file)).await?),
        None => None,
    };
    let path = format!("{}/api/v1/state", uri.path().trim_end_matches('/'));
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut request = Request::get(path).header(header::HOST, authority);
    if let Some(token) = &token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", **token));
    }
    let request = request.body(Body::empty()).map_err(|error| format!("{url}: {error}"))?;
    let port = match (uri.port_u16(), scheme) {
        (Some(port), _) => port,
        (None, "https") => 443,
        (None, _) => 80,
    };
    let connect = async || {
        let stream = TcpStream::connect((host.as_str(), port)).await;
        stream.map_err(|error| format!("no connection to {host}:{port}: {error}"))
    };
    let body = match scheme {
        "http" => {
            let is_local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
            if token.is_some() && !is_local {
                return Err("a token goes over https:// only, unless the box is this one".into());
            }
            exchange(connect().await?, request, &url).await?
        }
        "https" => {
            let config = blocking(move || client(&ca)).await?;
            let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
            let stream = TlsConnector::from(config).connect(name, connect().await?).await;
            exchange(stream.map_err(|error| refused(&host, port, &error))?, request, &url).await?
        }
        _ => return Err(wrong()),
    };
    serde_json::from_slice(&body).map_err(|error| format!("{url} answers something else than a state: {error}"))
}

fn refused(host: &str, port: u16, error: &std::io::Error) -> String {
    let text = error.to_string();
    // What `openssl req -x509` makes by default.
    let hint = if text.contains("CaUsedAsEndEntity") {
        "; make one with basicConstraints=CA:FALSE (docs/http.md)"
    } else {
        ""
    };
    format!("no TLS with {host}:{port}: {text}{hint}")
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
    url: &str,
) -> Result<Vec<u8>, String> {
    let failed = |error: hyper::Error| format!("{url}: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("{url}: the answer broke off: {error}"))?.to_bytes();
    connection.abort();
    if status == StatusCode::OK {
        return Ok(body.into());
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("it does not say why");
    Err(format!("{url} answers {}: {detail}", status.as_u16()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = contents(path, TOKEN_BYTES_MAX as u64 + 2)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} has no token in it", path.display()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    let is_token = !line.is_empty() && line.len() <= TOKEN_BYTES_MAX && line.bytes().all(|b| b.is_ascii_graphic());
    is_token.then(|| Zeroizing::new(line.to_owned())).ok_or_else(|| format!("{} has no token in it", path.display()))
}

fn client(ca: &Path) -> Result<Arc<ClientConfig>, String> {
    let bytes = contents(ca, CA_BYTES_MAX)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| format!("{} is no PEM file: {error}", ca.display()))?;
        // Old ones that rustls does not take are nobody's root.
        _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(format!("{} has no certificate in it", ca.display()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| format!("no TLS: {error}"))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn contents(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path).map_err(unreadable)?.take(bytes_max).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
