//! Keeps the neighbour entries of a set of addresses fresh.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::requests::Requests;
use super::tables::View;
use super::{NotDirect, Routes};
use crate::core::network::IfIndex;
use crate::os::OsError;

/// Runs until `wanted` has no sender any more. One address after the other, so
/// that at most one request is on the way, however many addresses there are.
pub(super) async fn keep(
    requests: Requests,
    mut wanted: watch::Receiver<Vec<IpAddr>>,
    every: Duration,
    view: watch::Receiver<Arc<View>>,
    routes: watch::Sender<Arc<Routes>>,
) {
    loop {
        let addresses = wanted.borrow_and_update().clone();
        let mut found = BTreeMap::new();
        for address in addresses {
            let route = refresh(&requests, &view, None, address).await.unwrap_or_else(|error| {
                tracing::warn!(%address, %error, "cannot keep a neighbour entry fresh");
                Err(NotDirect::Refused(error.to_string()))
            });
            found.insert(address, route);
            if wanted.has_changed().is_err() {
                return;
            }
        }
        routes.send_if_modified(|now| {
            let changed = **now != found;
            if changed {
                *now = Arc::new(found);
            }
            changed
        });
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// One round for one address; the link that its entry is on.
pub(super) async fn refresh(
    requests: &Requests,
    view: &watch::Receiver<Arc<View>>,
    link: Option<IfIndex>,
    address: IpAddr,
) -> Result<Result<IfIndex, NotDirect>, OsError> {
    let link = match link {
        Some(link) => link,
        None => match requests.direct_link(address).await? {
            Ok(link) => link,
            Err(reason) => return Ok(Err(reason)),
        },
    };
    let permanent = view.borrow().permanent.contains(&(address, link));
    if !permanent {
        requests.use_neighbour(link, address).await?;
    }
    Ok(Ok(link))
}
