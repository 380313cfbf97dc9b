//! A `Control` that plays its part from memory, and notes what is asked of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lbd::config::{Config, Name, Protocol, Running, parse};
use lbd::core::admin::{AdminState, Then};
use lbd::core::control::pair::Side;
use lbd::core::control::*;
use lbd::core::events::{Event, EventFilter, EventPage, History, What};
use lbd::core::forwarding::{DestKey, Family, ServiceKey};
use lbd::core::moment::UnixTime;
use tokio::sync::{broadcast, mpsc};

use super::sample;

/// How a walk over the connections ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Proper,
    Fails,
    /// The walker dies: its channel closes, and nothing is said.
    Dies,
}

pub struct Fake {
    pub state: Mutex<State>,
    /// What is in force, what is saved, and who holds it.
    pub configuration: Mutex<Configuration>,
    /// Why the configuration is changed elsewhere.
    pub elsewhere: Option<String>,
    /// Connections that there are.
    pub rows: u32,
    pub end: End,
    /// Rows that the walk has produced.
    pub produced: Arc<AtomicU32>,
    /// The walk has ended, whatever the reason.
    pub walk_over: Arc<AtomicBool>,
    pub filter: Mutex<Option<Filter>>,
    /// The latest order.
    pub ordered: Mutex<Option<Order>>,
    /// Text of the configuration file that a reload reads.
    pub file: &'static str,
    /// Operations and questions take this long.
    pub delay: Duration,
    /// Questions and orders that have come in.
    pub asked: AtomicU32,
    /// Orders that have been carried out.
    pub done: AtomicU32,
    pub panics: bool,
    pub logins: Logins,
    /// What has happened.
    pub history: Mutex<History>,
    pub new_events: broadcast::Sender<Arc<Event>>,
}

/// What there is of a configuration; its rules are those of the daemon, in few lines.
pub struct Configuration {
    pub running: Running,
    pub revision: u64,
    pub saved: Config,
    pub before: Option<(Editor, Running)>,
}

impl Default for Configuration {
    fn default() -> Self {
        let saved = parse("lb.yaml", include_str!("../../lb.yaml.example")).unwrap().config;
        Self { running: Running::of(saved.clone()), revision: 1, saved, before: None }
    }
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            state: Mutex::new(sample::state()),
            configuration: Mutex::default(),
            elsewhere: None,
            rows: 3,
            end: End::Proper,
            produced: Arc::default(),
            walk_over: Arc::default(),
            filter: Mutex::default(),
            ordered: Mutex::default(),
            file: "hostname: lb1\n",
            delay: Duration::ZERO,
            asked: AtomicU32::default(),
            done: AtomicU32::default(),
            panics: false,
            logins: Logins::default(),
            history: Mutex::default(),
            new_events: broadcast::Sender::new(16),
        }
    }
}

impl Control for Fake {
    fn state(&self) -> BoxFuture<'_, Result<Arc<State>, OperationError>> {
        async {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.delay).await;
            Ok(Arc::new(self.state.lock().unwrap().clone()))
        }
        .boxed()
    }

    fn history(&self) -> BoxFuture<'_, Result<HistoryState, OperationError>> {
        async { Ok(sample::history()) }.boxed()
    }

    fn logins(&self) -> &Logins {
        &self.logins
    }

    fn config(&self) -> BoxFuture<'_, Result<Arc<Config>, OperationError>> {
        async { Ok(Arc::new(self.configuration.lock().unwrap().running.config.clone())) }.boxed()
    }

    fn running(&self) -> BoxFuture<'_, Result<InForce, OperationError>> {
        async {
            let now = self.configuration.lock().unwrap();
            let left = Duration::from_secs(60);
            Ok(InForce {
                running: now.running.clone(),
                revision: now.revision,
                unsaved: now.running.config != now.saved,
                hold: now.before.as_ref().map(|(by, _)| Hold { by: by.clone(), left }),
                elsewhere: self.elsewhere.clone(),
            })
        }
        .boxed()
    }

    fn capture(
        &self,
        _by: Editor,
        order: CaptureOrder,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<CapturePiece>, OperationError>> {
        async move {
            let (out, pieces) = mpsc::channel(4);
            let file = order.file.map(|name| name.to_string());
            let report = CaptureReport { packets: 1, bytes: 4, lost: 0, ended: "the time is over", file };
            if report.file.is_none() {
                out.send(CapturePiece::Bytes(b"pcap".to_vec())).await.unwrap();
            }
            out.send(CapturePiece::End(report)).await.unwrap();
            Ok(pieces)
        }
        .boxed()
    }

    fn top(&self, _by: Editor, _order: TopOrder) -> BoxFuture<'_, Result<Vec<TopRow>, OperationError>> {
        let row = TopRow { client: [192, 0, 2, 7].into(), connections: 3, packets: 40, bytes: 5000 };
        async move { Ok(vec![row]) }.boxed()
    }

    fn explain(&self, question: PacketQuestion) -> BoxFuture<'_, Result<Explanation, OperationError>> {
        async move {
            Ok(Explanation {
                packet: format!("a packet from {}", question.client),
                verdict: "forwarded",
                reason: "to-server",
                meaning: "to a server",
                events: Vec::new(),
                server: Some("pc1".to_owned()),
                because: vec!["the client is bound to the server by the service's persistence".to_owned()],
                leaves: None,
            })
        }
        .boxed()
    }

    fn configure(&self, change: Change) -> BoxFuture<'_, Result<ReloadReport, ConfigError>> {
        async move {
            let mut now = self.configuration.lock().unwrap();
            if let Some((by, _)) = now.before.clone().filter(|(by, _)| *by != change.by) {
                return Err(ConfigError::Held(Hold { by, left: Duration::from_secs(60) }));
            }
            if now.revision != change.revision {
                return Err(ConfigError::Changed(now.revision));
            }
            now.running = change.running;
            now.revision += 1;
            Ok(ReloadReport { revision: now.revision, changed: true, notes: Vec::new() })
        }
        .boxed()
    }

    fn config_order(&self, by: Editor, order: ConfigOrder) -> BoxFuture<'_, Result<Vec<String>, ConfigError>> {
        async move {
            let mut now = self.configuration.lock().unwrap();
            match order {
                ConfigOrder::Hold(_) => now.before = Some((by, now.running.clone())),
                ConfigOrder::Confirm => drop(now.before.take().ok_or(ConfigError::NotHeld)?),
                ConfigOrder::Revert => now.running = now.before.take().ok_or(ConfigError::NotHeld)?.1,
                ConfigOrder::Save => now.saved = now.running.config.clone(),
                ConfigOrder::Load => now.running = Running::of(now.saved.clone()),
            }
            now.revision += 1;
            Ok(Vec::new())
        }
        .boxed()
    }

    fn on_disk(&self, which: Which) -> BoxFuture<'_, Result<Arc<Config>, ConfigError>> {
        async move {
            match which {
                Which::Startup => Ok(Arc::new(self.configuration.lock().unwrap().saved.clone())),
                Which::Archived(number) => Err(ConfigError::NotArchived(number)),
            }
        }
        .boxed()
    }

    fn archive(&self) -> BoxFuture<'_, Result<Vec<Saved>, ConfigError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn order(&self, order: Order) -> BoxFuture<'_, Result<OrderReport, OperationError>> {
        async move {
            assert!(!self.panics, "told to");
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.delay).await;
            self.done.fetch_add(1, Ordering::SeqCst);
            *self.ordered.lock().unwrap() = Some(order.clone());
            let mut now = self.state.lock().unwrap();
            let Order { server, pool, action, force } = order;
            let Some(entry) = now.servers.iter_mut().find(|entry| entry.name == server) else {
                let suggestion = (server == "pc22").then(|| "pc2".to_owned());
                return Err(OperationError::NoSuchServer { name: server, suggestion });
            };
            if pool.as_deref().is_some_and(|pool| pool != "mx") {
                let suggestion = (pool.as_deref() == Some("mxx")).then(|| "mx".to_owned());
                return Err(OperationError::NoSuchPool { name: pool.unwrap(), suggestion });
            }
            if server == "pc4" && !force {
                let services = vec!["mail/smtp".to_owned(), "mail/pop3".to_owned()];
                return Err(OperationError::LastMember { server, services });
            }
            let (state, deadline, then) = match action {
                Action::Enable => (AdminState::Enabled, None, Then::Nothing),
                Action::Drain { deadline, then } => (AdminState::Draining, deadline, then),
                Action::Disable => (AdminState::Disabled, None, Then::Nothing),
                Action::Remove if force => (entry.admin, None, Then::Nothing),
                Action::Remove => {
                    let (state, connections) = (entry.admin, entry.connections);
                    return Err(OperationError::NotDrained { server, state, connections });
                }
            };
            let before = std::mem::replace(&mut entry.admin, state);
            let removed = action == Action::Remove;
            Ok(OrderReport {
                server,
                pool,
                before,
                state,
                connections: if removed { 0 } else { entry.connections },
                cut: if removed { entry.connections } else { 0 },
                deadline_at: deadline.map(|deadline| 1_795_000_000 + deadline.as_secs()),
                then,
                removed,
                notes: Vec::new(),
            })
        }
        .boxed()
    }

    fn pair_order(&self, order: PairOrder) -> BoxFuture<'_, Result<(), OperationError>> {
        async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            match order {
                PairOrder::HandOver => Err(OperationError::NoHandOver("the other box is in maintenance".into())),
                PairOrder::TakeConfig(Side::Peer) => {
                    Err(OperationError::NoConfigChoice("both boxes have the same".into()))
                }
                PairOrder::Maintenance(_) | PairOrder::TakeConfig(Side::Own) => {
                    self.done.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            }
        }
        .boxed()
    }

    fn reload(&self) -> BoxFuture<'_, Result<ReloadReport, ReloadError>> {
        async {
            tokio::time::sleep(self.delay).await;
            if self.file.starts_with("hostname") {
                Ok(ReloadReport { revision: 4, changed: true, notes: vec!["pool `web` is not used".into()] })
            } else {
                Err(parse("lb.yaml", self.file).unwrap_err().into())
            }
        }
        .boxed()
    }

    fn events(&self, filter: EventFilter) -> BoxFuture<'_, Result<EventPage, OperationError>> {
        async move { Ok(self.history.lock().unwrap().page(&filter)) }.boxed()
    }

    fn follow_events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.new_events.subscribe()
    }

    fn happened(&self, what: What) {
        let event = self.history.lock().unwrap().record(UnixTime::from_millis(1_764_331_387_000), &what);
        // Nobody may follow.
        _ = self.new_events.send(event);
    }

    fn connections(&self, filter: Filter) -> BoxFuture<'_, Result<mpsc::Receiver<Chunk>, OperationError>> {
        *self.filter.lock().unwrap() = Some(filter.clone());
        let (sender, receiver) = mpsc::channel(2);
        let (rows, end) = (self.rows, self.end);
        let (produced, walk_over) = (Arc::clone(&self.produced), Arc::clone(&self.walk_over));
        tokio::spawn(async move {
            walk(rows, end, &filter, &sender, &produced).await;
            walk_over.store(true, Ordering::SeqCst);
        });
        async { Ok(receiver) }.boxed()
    }
}

async fn walk(rows: u32, end: End, filter: &Filter, sender: &mpsc::Sender<Chunk>, produced: &AtomicU32) {
    let dest = dest();
    let mut left = filter.limit as usize;
    let mut next = 0;
    while next < rows && left > 0 {
        let last = rows.min(next + CHUNK_ROWS_MAX as u32);
        let mut chunk: Vec<_> = (next..last).map(|n| row(n, &dest)).filter(|row| filter.matches(row)).collect();
        chunk.truncate(left);
        left -= chunk.len();
        next = last;
        produced.fetch_add(chunk.len() as u32, Ordering::SeqCst);
        if sender.send(Chunk::Rows(chunk)).await.is_err() {
            return;
        }
    }
    let _ = match end {
        End::Proper => sender.send(Chunk::End).await,
        End::Fails => sender.send(Chunk::Failed(OperationError::Failed("the table cannot be read".into()))).await,
        End::Dies => Ok(()),
    };
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn dest() -> Arc<DestKey> {
    let service = ServiceKey { virtual_server: name("mail"), service: name("smtp"), family: Family::V4 };
    Arc::new(DestKey { service, server: name("pc2") })
}

/// Row number `n`: clients count up from 10.0.0.0, all to pc2's SMTP.
fn row(n: u32, dest: &Arc<DestKey>) -> ConnectionRow {
    ConnectionRow {
        client: SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + n), 40_000)),
        virtual_address: "192.0.2.10:25".parse().unwrap(),
        protocol: Protocol::Tcp,
        dest: Arc::clone(dest),
        state: if n.is_multiple_of(2) { FlowState::Established } else { FlowState::Closing },
        idle: Duration::from_millis(250),
        age: Duration::from_secs(90),
        source_port: None,
    }
}
