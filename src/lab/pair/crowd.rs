//! Connections that stay: most talk all the time, some keep silent until they are asked.
//!
//! ```text
//!   connect ──greeting──> open ──line, its echo with a checksum──> open
//!      ^                    │ reset, closed, or no true echo in time
//!      └── at once ──── lost: noted, with when, and by whom it is served next
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::servers::md5::hex_digest;

/// An echo that takes longer is none. TCP repeats what was lost after 0.2, 0.4, 0.8 … s.
const ECHO_PATIENCE: Duration = Duration::from_secs(10);
/// A round of all is spread over so long.
const ROUND_TAKES: Duration = Duration::from_millis(500);
/// Of a connection and its greeting.
const OPEN_PATIENCE: Duration = Duration::from_secs(3);
/// After a connection that could not be opened.
const OPEN_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are being opened at the same time.
const OPENING_MAX: usize = 64;
/// Longest answer that is read, in bytes.
const LINE_MAX: usize = 256;

/// Who comes, and what they do.
#[derive(Clone, Debug)]
pub struct Guests {
    /// The echo, in each mode and family; taken in turn.
    pub targets: Vec<SocketAddr>,
    pub talking: usize,
    pub silent: usize,
    /// Each of those that talk says something so often.
    pub pace: Duration,
}

/// A connection that did not live.
#[derive(Clone, Debug)]
pub struct Loss {
    pub target: SocketAddr,
    /// Its own end.
    pub client: Option<SocketAddr>,
    pub server: String,
    pub silent: bool,
    pub at: Instant,
    pub why: String,
    /// When its client was served again, and by whom.
    pub back: Option<(Instant, String)>,
}

#[derive(Clone, Debug, Default)]
struct Guest {
    /// The server of the connection that is open.
    server: Option<String>,
    /// The ends of that connection.
    ends: Option<(SocketAddr, SocketAddr)>,
    /// The round of [`Crowd::everybody_speaks`] that it has been through, alive or not.
    round: u64,
    /// Place of its last loss in the book.
    loss: Option<usize>,
    /// It has lost a connection since the last [`Crowd::reseat`].
    moved: bool,
}

#[derive(Debug, Default)]
struct Book {
    guests: Vec<Guest>,
    losses: Vec<Loss>,
    /// When good echoes came, since [`Crowd::note`].
    echoes: Vec<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Order {
    round: u64,
    reseat: u64,
    end: bool,
}

/// What became of them since [`Crowd::note`].
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub losses: Vec<Loss>,
    /// In order.
    pub echoes: Vec<Instant>,
}

/// The guests, on a thread in the client's network.
#[derive(Debug)]
pub struct Crowd {
    book: Arc<Mutex<Book>>,
    orders: watch::Sender<Order>,
    thread: Option<std::thread::JoinHandle<Result<io::Result<()>, LabError>>>,
    count: usize,
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crowd {
    /// Begins to open the connections.
    pub fn gather(client: &Host, guests: Guests) -> Self {
        let count = guests.talking + guests.silent;
        let book = Arc::new(Mutex::new(Book { guests: vec![Guest::default(); count], ..Book::default() }));
        let (orders, heard) = watch::channel(Order::default());
        let own = book.clone();
        let thread = client.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let doors = Arc::new(Semaphore::new(OPENING_MAX));
                let mut tasks = Vec::with_capacity(count);
                for number in 0..count {
                    let Some(target) = guests.targets.get(number % guests.targets.len().max(1)) else { break };
                    // Spread over the pace, so that something is said at any time.
                    let talks = (number < guests.talking).then_some((guests.pace, number));
                    let guest = Place { number, target: *target, talks, book: own.clone(), orders: heard.clone() };
                    tasks.push(tokio::spawn(guest.live(doors.clone())));
                }
                for task in tasks {
                    // A guest ends when all shall.
                    let _ = task.await;
                }
            });
            Ok(())
        });
        Self { book, orders, thread: Some(thread), count }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits until all are open.
    pub async fn all_open(&self, patience: Duration) -> anyhow::Result<()> {
        let open = |book: &Book| book.guests.iter().filter(|guest| guest.server.is_some()).count();
        self.until(patience, "open", open).await
    }

    async fn until(&self, patience: Duration, what: &str, count: impl Fn(&Book) -> usize) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let now = count(&lock(&self.book));
            if now == self.count {
                return Ok(());
            }
            let late = start.elapsed() >= patience;
            anyhow::ensure!(!late, "after {patience:?} {now} of {} connections are {what}", self.count);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many connections each server has.
    pub fn places(&self) -> BTreeMap<String, usize> {
        let mut places = BTreeMap::new();
        for server in lock(&self.book).guests.iter().filter_map(|guest| guest.server.clone()) {
            *places.entry(server).or_default() += 1;
        }
        places
    }

    /// The connections that are open: client and target of each, and its server.
    pub fn connections(&self) -> BTreeMap<(SocketAddr, SocketAddr), String> {
        let book = lock(&self.book);
        book.guests.iter().filter_map(|guest| Some((guest.ends?, guest.server.clone()?))).collect()
    }

    /// Begins anew to note what happens.
    pub fn note(&self) {
        let mut book = lock(&self.book);
        book.losses.clear();
        book.echoes.clear();
        book.guests.iter_mut().for_each(|guest| guest.loss = None);
    }

    /// Has everybody say something, the silent too, and waits until each has had its echo or is lost.
    pub async fn everybody_speaks(&self) -> anyhow::Result<()> {
        let mut round = 0;
        self.orders.send_modify(|order| {
            order.round += 1;
            round = order.round;
        });
        let patience = ROUND_TAKES + ECHO_PATIENCE * 2 + OPEN_PATIENCE;
        let through = |guest: &&Guest| guest.round >= round || guest.server.is_none();
        self.until(patience, "heard", |book| book.guests.iter().filter(through).count()).await
    }

    /// What was noted.
    pub fn seen(&self) -> Seen {
        let book = lock(&self.book);
        Seen { losses: book.losses.clone(), echoes: book.echoes.clone() }
    }

    /// Those who have moved to another server come anew, to whom they are sent now.
    pub fn reseat(&self) {
        self.orders.send_modify(|order| order.reseat += 1);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.orders.send_modify(|order| order.end = true);
        // A thread that has panicked has ended, too.
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// One guest's.
struct Place {
    number: usize,
    target: SocketAddr,
    /// How often, and where in that time it begins.
    talks: Option<(Duration, usize)>,
    book: Arc<Mutex<Book>>,
    orders: watch::Receiver<Order>,
}

/// Why a connection has ended.
enum End {
    Lost(io::Error),
    /// It comes anew.
    Reseated,
    All,
}

type Stream = BufReader<TcpStream>;

impl Place {
    async fn live(mut self, doors: Arc<Semaphore>) {
        loop {
            if self.orders.borrow().end {
                return;
            }
            let opened = {
                // Nobody closes it.
                let Ok(_door) = doors.acquire().await else { return };
                tokio::time::timeout(OPEN_PATIENCE, open(self.target)).await
            };
            let Ok(Ok((stream, server))) = opened else {
                tokio::time::sleep(OPEN_PAUSE).await;
                continue;
            };
            let client = stream.get_ref().local_addr().ok();
            self.opened(&server, client);
            match self.talk(stream).await {
                End::Lost(error) => self.lost(&server, client, &error),
                End::Reseated => self.guest(|guest| guest.server = None),
                End::All => return,
            }
        }
    }

    fn guest(&self, change: impl FnOnce(&mut Guest)) {
        if let Some(guest) = lock(&self.book).guests.get_mut(self.number) {
            change(guest);
        }
    }

    fn opened(&self, server: &str, client: Option<SocketAddr>) {
        let mut book = lock(&self.book);
        let Some(guest) = book.guests.get_mut(self.number) else { return };
        guest.server = Some(server.to_owned());
        guest.ends = client.map(|client| (client, self.target));
        let loss = guest.loss.take();
        if let Some(loss) = loss.and_then(|place| book.losses.get_mut(place)) {
            loss.back = Some((Instant::now(), server.to_owned()));
        }
    }

    fn lost(&self, server: &str, client: Option<SocketAddr>, error: &io::Error) {
        let round = self.orders.borrow().round;
        let mut book = lock(&self.book);
        let (silent, why) = (self.talks.is_none(), crate::lab::customer::why(error));
        let at = Instant::now();
        let place = book.losses.len();
        book.losses.push(Loss { target: self.target, client, server: server.to_owned(), silent, at, why, back: None });
        if let Some(guest) = book.guests.get_mut(self.number) {
            *guest = Guest { server: None, ends: None, round, loss: Some(place), moved: true };
        }
    }

    async fn talk(&mut self, mut stream: Stream) -> End {
        let mut count = 0_u64;
        let mut heard = *self.orders.borrow_and_update();
        if heard.end {
            return End::All;
        }
        let begin = self.talks.map(|(pace, place)| pace.mul_f64((place % 997) as f64 / 997.0));
        let mut next = tokio::time::Instant::now() + begin.unwrap_or_default();
        // What has been asked before it was open is answered with the first line.
        let mut asked = true;
        loop {
            if asked || (self.talks.is_some() && next <= tokio::time::Instant::now()) {
                count += 1;
                if let Err(error) = echo(&mut stream, self.number, count).await {
                    return End::Lost(error);
                }
                let mut book = lock(&self.book);
                book.echoes.push(Instant::now());
                if let Some(guest) = book.guests.get_mut(self.number) {
                    guest.round = heard.round;
                }
                drop(book);
                asked = false;
                // In step with its own clock, and without catching up.
                if let Some((pace, _)) = self.talks {
                    while next <= tokio::time::Instant::now() {
                        next += pace;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(next), if self.talks.is_some() => {}
                changed = self.orders.changed() => {
                    if changed.is_err() {
                        return End::All;
                    }
                    let order = *self.orders.borrow_and_update();
                    if order.end {
                        return End::All;
                    }
                    asked = order.round != heard.round;
                    if asked {
                        // Thousands of segments in one instant are more than the client's own machine takes.
                        tokio::time::sleep(ROUND_TAKES.mul_f64((self.number % 997) as f64 / 997.0)).await;
                    }
                    let reseat = order.reseat != heard.reseat;
                    heard = order;
                    let mut moved = false;
                    self.guest(|guest| moved = reseat && std::mem::take(&mut guest.moved));
                    if moved {
                        return End::Reseated;
                    }
                }
                read = stream.fill_buf() => return End::Lost(match read {
                    Ok([]) => io::ErrorKind::UnexpectedEof.into(),
                    Ok(_) => io::Error::other("words that nobody asked for"),
                    Err(error) => error,
                }),
            }
        }
    }
}

async fn open(target: SocketAddr) -> io::Result<(Stream, String)> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(LINE_MAX, stream);
    let greeting = line(&mut stream).await?;
    let server = greeting.split(' ').next().unwrap_or_default().to_owned();
    Ok((stream, server))
}

async fn echo(stream: &mut Stream, guest: usize, count: u64) -> io::Result<()> {
    let said = format!("guest {guest} says {count}");
    let talk = async {
        stream.get_mut().write_all(format!("{said}\r\n").as_bytes()).await?;
        let heard = line(stream).await?;
        let true_echo = heard == format!("{} {said}", hex_digest(said.as_bytes()));
        true_echo.then_some(()).ok_or_else(|| io::Error::other("an echo that is not what was said"))
    };
    tokio::time::timeout(ECHO_PATIENCE, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A line without its end; bounded.
async fn line(stream: &mut Stream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let some = stream.fill_buf().await?;
        if some.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let end = some.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(some.len(), |end| end + 1);
        bytes.extend_from_slice(some.get(..taken).unwrap_or_default());
        stream.consume(taken);
        if end.is_some() {
            return Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned());
        }
        if bytes.len() > LINE_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}
