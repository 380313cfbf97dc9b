//! The doors for administrators and monitoring: one that cannot be opened is an alarm, and not only a line of the log.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::appliance::Appliance;
use super::lock;
use crate::access::listeners::Listening;
use crate::cli::ssh;
use crate::http;

/// Has the appliance know how the doors are, until the daemon ends. None: SSH has no key, which is told elsewhere.
pub async fn keep(
    appliance: Arc<Mutex<Appliance>>,
    mut http: watch::Receiver<http::Status>,
    mut ssh: Option<watch::Receiver<ssh::status::Status>>,
) {
    loop {
        let of_http = http.borrow_and_update().clone();
        let of_ssh = ssh.as_mut().map(|ssh| ssh.borrow_and_update().listening.clone()).unwrap_or_default();
        let troubles: Vec<String> = closed("HTTP", &of_http.listening)
            .chain(of_http.tls_trouble.map(|why| format!("TLS of HTTP: {why}")))
            .chain(closed("SSH", &of_ssh))
            .collect();
        {
            let mut appliance = lock(&appliance);
            appliance.http_certificate_ends = of_http.certificate_ends;
            appliance.set_alarm("doors", troubles.join("; "));
        }
        let is_over = tokio::select! {
            changed = http.changed() => changed.is_err(),
            changed = changed(&mut ssh) => changed.is_err(),
        };
        if is_over {
            return;
        }
    }
}

async fn changed<T>(watched: &mut Option<watch::Receiver<T>>) -> Result<(), watch::error::RecvError> {
    match watched {
        Some(watched) => watched.changed().await,
        None => std::future::pending().await,
    }
}

fn closed<'a>(what: &'a str, listening: &'a [Listening]) -> impl Iterator<Item = String> + 'a {
    listening.iter().filter_map(move |door| {
        let why = door.at.as_ref().err()?;
        Some(format!("no {what} on {}: {why}", door.wanted))
    })
}
