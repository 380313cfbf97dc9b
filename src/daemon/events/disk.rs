//! The events on disk: a file for each class, a line for each event, so that after a restart they are there again.
//!
//! Lines are appended, and synced once for all that came together. A file that has twice as many lines as its class keeps
//! is replaced as a whole by those that are kept. A daemon that is killed leaves a torn line at most, which the next one
//! leaves out.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::core::events::{Class, Event, History};
use crate::files;

/// Events that wait to be written; beyond, they are counted as lost.
const WAITING: usize = 4096;
/// Events that are written and synced together.
const BATCH: usize = 512;
/// Bytes that are read of a file: 4,000 lines of the longest kind, and more.
const READ_MAX: u64 = 32 << 20;
/// A file that could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the end of the daemon waits for the last events.
const FLUSH: Duration = Duration::from_secs(1);

enum Order {
    Put(Arc<Event>),
    Flush(SyncSender<()>),
}

/// The way to the files.
pub struct Disk {
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

impl Disk {
    /// What is there, and a thread that writes on.
    pub fn open(dir: &Path) -> (History, Self) {
        let (orders, receiver) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let mut history = History::default();
        let files: BTreeMap<Class, Shelf> =
            Class::ALL.into_iter().map(|class| (class, Shelf::open(dir, class))).collect();
        for event in files.values().flat_map(|shelf| &shelf.kept) {
            history.restore(Event::clone(event));
        }
        let writer = Writer { dir: dir.to_owned(), files, lost: lost.clone(), refused: None };
        let thread = std::thread::Builder::new().name("lbd-events".into()).spawn(move || writer.run(&receiver));
        if let Err(error) = thread {
            warn!("events are not written down, they are kept until the daemon ends: {error}");
        }
        (history, Self { orders, lost })
    }

    /// Waits for nothing.
    pub fn put(&self, event: Arc<Event>) {
        if self.orders.try_send(Order::Put(event)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.orders.try_send(Order::Flush(done)).is_ok() {
            // One that takes longer is not waited for.
            _ = is_done.recv_timeout(FLUSH);
        }
    }
}

/// The file of a class.
struct Shelf {
    path: PathBuf,
    class: Class,
    kept: VecDeque<Arc<Event>>,
    /// What has come and is not in the file.
    new: Vec<u8>,
    lines: usize,
    /// It must be replaced before anything is appended: it has a torn line, or one that nobody understands.
    torn: bool,
}

impl Shelf {
    fn open(dir: &Path, class: Class) -> Self {
        let path = dir.join(format!("{class}.jsonl"));
        let mut shelf = Self { path, class, kept: VecDeque::new(), new: Vec::new(), lines: 0, torn: false };
        let mut bytes = Vec::new();
        match File::open(&shelf.path).and_then(|file| file.take(READ_MAX).read_to_end(&mut bytes)) {
            Ok(_) => shelf.take(&String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                warn!("{}: {error}; the events of earlier runs are missing", shelf.path.display());
                shelf.torn = true;
            }
        }
        shelf
    }

    fn take(&mut self, text: &str) {
        let mut unread = 0_usize;
        for line in text.lines() {
            match Event::from_line(line).filter(|event| event.class == self.class) {
                Some(event) => self.keep(Arc::new(event)),
                None => unread += 1,
            }
            self.lines += 1;
        }
        if unread > 0 {
            warn!("{}: {unread} lines are no events of this release, and are left out", self.path.display());
        }
        self.torn = unread > 0 || !(text.is_empty() || text.ends_with('\n'));
    }

    fn keep(&mut self, event: Arc<Event>) {
        while self.kept.len() >= self.class.kept() {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    fn put(&mut self, event: Arc<Event>) {
        self.new.extend(event.to_line().as_bytes());
        self.new.push(b'\n');
        self.lines += 1;
        self.keep(event);
    }

    /// Lines that are not in the file yet.
    fn pending(&self) -> u64 {
        self.new.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    /// Has the file say what has come.
    fn write(&mut self) -> anyhow::Result<()> {
        if self.new.is_empty() && !self.torn {
            return Ok(());
        }
        let new = std::mem::take(&mut self.new);
        let is_full = self.lines > 2 * self.class.kept();
        if !self.torn && !is_full {
            // Until it has ended well: half of it may be there.
            self.torn = true;
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            file.write_all(&new)?;
            file.sync_data()?;
        } else {
            self.torn = true;
            let lines: String = self.kept.iter().map(|event| event.to_line() + "\n").collect();
            files::replace_private(&self.path, lines.as_bytes())?;
            self.lines = self.kept.len();
        }
        self.torn = false;
        Ok(())
    }
}

struct Writer {
    dir: PathBuf,
    files: BTreeMap<Class, Shelf>,
    lost: Arc<AtomicU64>,
    /// When the files could not be written.
    refused: Option<Instant>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let mut waiting = Vec::new();
            match orders.recv_timeout(AGAIN) {
                Ok(order) => self.take(order, &mut waiting),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for order in orders.try_iter().take(BATCH) {
                self.take(order, &mut waiting);
            }
            self.write();
            for done in waiting {
                // Whoever wanted to know may have given up.
                _ = done.try_send(());
            }
        }
    }

    fn take(&mut self, order: Order, waiting: &mut Vec<SyncSender<()>>) {
        match order {
            Order::Put(event) => {
                if let Some(shelf) = self.files.get_mut(&event.class) {
                    shelf.put(event);
                }
            }
            Order::Flush(done) => waiting.push(done),
        }
    }

    fn write(&mut self) {
        if self.refused.is_some_and(|since| since.elapsed() < AGAIN) {
            // What is not written now is when the file is replaced, as far as its class keeps it.
            self.count();
            return;
        }
        // Where it is there, or cannot be made, the files say so.
        _ = fs::create_dir_all(&self.dir);
        let mut trouble = None;
        for shelf in self.files.values_mut() {
            let lines = shelf.pending();
            if let Err(error) = shelf.write() {
                self.lost.fetch_add(lines, Ordering::Relaxed);
                trouble = Some(format!("{}: {error:#}", shelf.path.display()));
            }
        }
        match (trouble, self.refused.is_some()) {
            (Some(trouble), false) => {
                warn!("events are not written down: {trouble}; tried again every {} s", AGAIN.as_secs());
                self.refused = Some(Instant::now());
            }
            (Some(_), true) => self.refused = Some(Instant::now()),
            (None, true) => {
                info!("events are written down again");
                self.refused = None;
            }
            (None, false) => {}
        }
    }

    fn count(&mut self) {
        for shelf in self.files.values_mut().filter(|shelf| !shelf.new.is_empty()) {
            self.lost.fetch_add(shelf.pending(), Ordering::Relaxed);
            shelf.new.clear();
            shelf.torn = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::check::State;
    use crate::core::events::{EventFilter, LIMIT_MAX, What};
    use crate::core::moment::UnixTime;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("lbd-events-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn flap(n: usize) -> What {
        let check = "smtp 10.1.0.2:25".to_owned();
        What::CheckDown { server: format!("pc{n}"), check, from: State::Up, why: "no answer".into() }
    }

    /// Puts events as `Events` does, a few at a time, so that none finds the queue full.
    fn put(history: &mut History, disk: &Disk, events: impl Iterator<Item = What>) {
        for (n, what) in events.enumerate() {
            disk.put(history.record(UnixTime::default(), &what));
            if n % 1000 == 999 {
                disk.flush();
            }
        }
        disk.flush();
    }

    fn all(history: &History) -> Vec<Arc<Event>> {
        history.page(&EventFilter { limit: LIMIT_MAX, ..Default::default() }).events
    }

    #[test]
    fn the_next_run_knows_what_this_one_knew() {
        let dir = Scratch::new("again");
        let (mut history, disk) = Disk::open(&dir.0);
        put(&mut history, &disk, [What::OwnerBecame {}, What::Stopping {}].into_iter());
        put(&mut history, &disk, (0..7000).map(flap));
        assert_eq!(disk.lost(), 0);
        let (again, _) = Disk::open(&dir.0);
        assert_eq!(all(&again), all(&history));
        assert_eq!(all(&again).len(), Class::Health.kept() + 2);
        let lines = fs::read_to_string(dir.0.join("health.jsonl")).unwrap().lines().count();
        assert!((Class::Health.kept()..=2 * Class::Health.kept()).contains(&lines), "{lines}");
    }

    #[test]
    fn a_torn_line_costs_itself_and_nothing_else() {
        let dir = Scratch::new("torn");
        let (mut history, disk) = Disk::open(&dir.0);
        put(&mut history, &disk, (0..3).map(flap));
        let path = dir.0.join("health.jsonl");
        let whole = fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut found, disk) = Disk::open(&dir.0);
            let complete = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            // Of a line that lacks nothing but its end everything is there.
            let there = all(&found).len();
            assert!(there == complete || (there == complete + 1 && whole[cut] == b'\n'), "{cut}: {there}");
            put(&mut found, &disk, [flap(9)].into_iter());
            let (again, _) = Disk::open(&dir.0);
            assert_eq!(all(&again), all(&found), "{cut}");
        }
    }

    #[test]
    fn files_of_nonsense_are_left_out_and_replaced() {
        let dir = Scratch::new("nonsense");
        fs::create_dir_all(&dir.0).unwrap();
        fs::write(dir.0.join("health.jsonl"), b"{}\n\xff\xfe\nnull\n[1]\n{\"number\": -1}\n").unwrap();
        let (mut history, disk) = Disk::open(&dir.0);
        assert!(all(&history).is_empty());
        put(&mut history, &disk, [flap(1)].into_iter());
        assert_eq!(fs::read_to_string(dir.0.join("health.jsonl")).unwrap().lines().count(), 1);
    }

    #[test]
    fn files_that_cannot_be_written_are_counted_and_stop_nobody() {
        let dir = Scratch::new("nowhere");
        // A file where the directory should be.
        fs::write(&dir.0, b"").unwrap();
        let (mut history, disk) = Disk::open(&dir.0);
        let begun = Instant::now();
        put(&mut history, &disk, (0..100).map(flap));
        put(&mut history, &disk, (0..100).map(flap));
        assert!(begun.elapsed() < 2 * FLUSH, "{:?}", begun.elapsed());
        assert!(disk.lost() >= 200, "{}", disk.lost());
        assert_eq!(all(&history).len(), 200);
        fs::remove_file(&dir.0).unwrap();
    }

    #[test]
    fn a_full_queue_is_counted_and_waited_for_by_nobody() {
        let (orders, _receiver) = sync_channel(WAITING);
        let disk = Disk { orders, lost: Arc::default() };
        let mut history = History::default();
        for n in 0..WAITING + 10 {
            disk.put(history.record(UnixTime::default(), &flap(n)));
        }
        assert_eq!(disk.lost(), 10);
    }
}
