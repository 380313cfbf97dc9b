//! A session: lines in, commands carried out, answers out, on any transport.
//!
//! ```text
//!   Input ──> Keys ──> Editor ──line──> Grammar ──command──> lines ──> filter ──> pager ──> output
//!              └── Ctrl-C while a command runs or a page is shown
//! ```

mod configuring;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::info;
use zeroize::Zeroizing;

use self::configuring::Configuring;
use super::commands::{self, ADMIN, Call, Change, Entry, Refusal, Run, USER};
use super::editor::{Editor, Event};
use super::grammar::matcher::{Args, Help, NoMatch, NoObjects, Objects, split_pipe};
use super::keys::{Input, Key, Keys};
use super::lines::Ticket;
use super::monitor;
use super::pager::{MORE, Pager, Turn};
use super::pipe::{FILTERS, Filter, Pipe};
use super::redact::redact;
use super::table::age;
use crate::access::auth::{Authenticator, DENIED_AFTER, Local};
use crate::access::next_editor;
use crate::core::control::{Control, Door, Editor as By, State};
use crate::core::events::What;

/// A session in which nothing is typed for so long ends, unless its transport says otherwise.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Parts of a long answer that wait to be shown.
const CHUNKS: usize = 2;
/// Bytes that are shown at once.
const SHOWN_AT_ONCE: usize = 8 * 1024;

/// Who types, and by which way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    pub user: String,
    /// Where from: `console`, or an address.
    pub from: String,
    /// The level to begin with.
    pub level: u8,
    /// The highest level that he may have.
    pub highest: u8,
}

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// It shows what is typed, has pages, and wants prompts.
    pub interactive: bool,
    pub rows: usize,
    pub columns: usize,
}

/// What is shown of one command.
struct Page {
    pager: Pager,
    filter: Option<Filter>,
}

/// See the module's documentation.
pub struct Session<W> {
    control: Arc<dyn Control>,
    auth: Arc<dyn Authenticator>,
    who: Who,
    /// Its place among those who are logged in.
    ticket: Ticket,
    /// `None`: it does not end by itself.
    idle_max: Option<Duration>,
    level: u8,
    hostname: String,
    editor: Editor,
    keys: Keys,
    output: W,
    /// Not written yet.
    shown: Vec<u8>,
    terminal: Terminal,
    /// A command was refused.
    refused: bool,
    /// `terminal length` and `terminal width` were typed.
    said_length: bool,
    said_width: bool,
    /// The last key at `--More--` was CR: a LF or NUL behind it belongs to it.
    after_cr: bool,
    /// Who changes the configuration, when this session does.
    by: By,
    /// What is typed is the configuration.
    configuring: Option<Configuring>,
    /// What the daemon writes down is shown.
    monitor: Option<broadcast::Receiver<Arc<str>>>,
}

impl<W: AsyncWrite + Unpin> Session<W> {
    pub fn new(
        control: Arc<dyn Control>,
        who: Who,
        input: mpsc::Receiver<Input>,
        output: W,
        terminal: Terminal,
    ) -> Self {
        let session = next_editor();
        Self {
            auth: Arc::new(Local::new(control.clone())),
            control,
            ticket: Ticket::take(&who),
            idle_max: Some(IDLE_MAX),
            level: who.level,
            by: By { session, name: format!("{} from {}", who.user, who.from) },
            configuring: None,
            monitor: None,
            who,
            hostname: "lb".to_owned(),
            editor: if terminal.interactive { Editor::default() } else { Editor::of_script() },
            keys: Keys::new(input),
            output,
            shown: Vec::new(),
            terminal,
            refused: false,
            said_length: false,
            said_width: false,
            after_cr: false,
        }
    }

    /// Ends after so long without a key; `None`: never.
    pub fn with_idle(self, idle_max: Option<Duration>) -> Self {
        Self { idle_max, ..self }
    }

    /// Asks another authority than the configuration for what `enable` wants.
    pub fn with_authenticator(self, auth: Arc<dyn Authenticator>) -> Self {
        Self { auth, ..self }
    }

    /// One command, or all that is typed; its exit status. Ends, with 1, when an administrator clears its line.
    pub async fn serve(self, line: Option<&str>) -> io::Result<u8> {
        let cleared = self.ticket.cleared();
        let session = async {
            match line {
                Some(line) => self.execute(line).await,
                None => self.run().await,
            }
        };
        tokio::select! {
            ended = session => ended,
            () = cleared.notified() => Ok(1),
        }
    }

    /// The next key. What the daemon writes down meanwhile is shown, where that is wanted.
    async fn key_or_log(&mut self) -> Key {
        loop {
            let told = match &mut self.monitor {
                None => return self.keys.next().await,
                Some(monitor) => tokio::select! {
                    biased;
                    key = self.keys.next() => return key,
                    told = monitor.recv() => told,
                },
            };
            let text = match told {
                Ok(line) => line.to_string(),
                Err(RecvError::Lagged(count)) => format!("% {count} messages came too fast for this terminal"),
                Err(RecvError::Closed) => {
                    self.monitor = None;
                    continue;
                }
            };
            // A password that is typed goes on being typed.
            if self.editor.secret {
                continue;
            }
            // The line that is typed makes room, and comes again below.
            let width = self.prompt_text().len() + self.editor.len();
            self.shown.extend(format!("\r{:width$}\r", "").into_bytes());
            self.put_line(&text);
            self.prompt();
            self.editor.redraw(&mut self.shown);
            if self.flush().await.is_err() {
                return Key::End;
            }
        }
    }

    /// The next key; an error when none has come for too long.
    async fn next_key(&mut self) -> Result<Key, Elapsed> {
        let key = match self.idle_max {
            Some(idle_max) => timeout(idle_max, self.key_or_log()).await?,
            None => self.key_or_log().await,
        };
        self.ticket.touch(self.level);
        Ok(key)
    }

    /// One command and no more; its exit status, 1 if it was refused.
    pub async fn execute(mut self, line: &str) -> io::Result<u8> {
        self.terminal.interactive = false;
        self.audited(line).await?;
        self.flush().await?;
        Ok(u8::from(self.refused))
    }

    /// To its end; 1 if a line of a script was refused.
    pub async fn run(mut self) -> io::Result<u8> {
        if let Some(state) = self.state().await {
            self.hostname.clone_from(&state.hostname);
        }
        self.prompt();
        loop {
            if self.keys.is_empty() {
                // Nothing more has come: what was typed acts.
                self.settle().await?;
                self.flush().await?;
            } else if self.shown.len() > SHOWN_AT_ONCE && self.nothing_waits() {
                self.flush().await?;
            }
            let goes_on = match self.next_key().await {
                Ok(Key::Byte(byte)) => self.byte(byte).await?,
                Ok(Key::Size(rows, columns)) => {
                    self.resize(rows, columns);
                    true
                }
                // The last line of a script need not be ended.
                Ok(Key::End) => !self.terminal.interactive && !self.editor.is_empty() && self.byte(b'\n').await?,
                Err(_) => {
                    self.put_line("");
                    let idle = age(self.idle_max.unwrap_or(IDLE_MAX));
                    self.put_line(&format!("% Nothing was typed for {idle}: the session ends"));
                    false
                }
            };
            if !goes_on {
                self.settle().await?;
                self.flush().await?;
                return Ok(u8::from(self.refused && !self.terminal.interactive));
            }
        }
    }

    /// What was said by a command counts, whatever size the terminal has.
    fn resize(&mut self, rows: usize, columns: usize) {
        if !self.said_length {
            self.terminal.rows = rows;
        }
        if !self.said_width {
            self.terminal.columns = columns;
        }
    }

    async fn byte(&mut self, byte: u8) -> io::Result<bool> {
        let mut echo = Vec::new();
        let event = self.editor.feed(byte, &mut echo);
        if self.terminal.interactive {
            self.shown.extend(echo);
        }
        let Some(event) = event else { return Ok(true) };
        let event = match event {
            Event::Line(line) if self.configuring.is_some() => return self.typed(line, false).await,
            Event::End(line) if self.configuring.is_some() => return self.typed(line, true).await,
            other => other,
        };
        self.settle().await?;
        let goes_on = match event {
            Event::Line(line) | Event::End(line) => {
                self.after_cr = byte == b'\r';
                // What was typed is seen before what it does.
                self.flush().await?;
                self.audited(&line).await?
            }
            Event::Help(line) => {
                self.shown.extend(b"?\r\n");
                self.help(&line).await?;
                self.prompt();
                self.editor.redraw(&mut self.shown);
                return Ok(true);
            }
            Event::Tab(line) => {
                let state = self.state().await;
                let added = match &self.configuring {
                    Some(configuring) => configuring.complete(&line, self.level, objects(state.as_deref())),
                    None => commands::grammar(self.level).complete(&line, objects(state.as_deref())),
                };
                self.editor.add(&added, &mut self.shown);
                return Ok(true);
            }
            Event::Redraw => {
                self.put_line("");
                self.prompt();
                self.editor.redraw(&mut self.shown);
                return Ok(true);
            }
            Event::Interrupt => true,
            // One step out, as with `exit`.
            Event::Leave if self.configuring.is_some() => {
                self.put_line("");
                return self.typed("exit".to_owned(), false).await;
            }
            Event::Leave => false,
        };
        if goes_on {
            self.prompt();
        }
        Ok(goes_on)
    }

    async fn state(&self) -> Option<Arc<State>> {
        self.control.state().await.ok()
    }

    fn prompt(&mut self) {
        if self.terminal.interactive {
            self.shown.extend(self.prompt_text().as_bytes());
        }
    }

    fn prompt_text(&self) -> String {
        match &self.configuring {
            Some(configuring) => format!("{}({})#", self.hostname, configuring.shown()),
            None => format!("{}{}", self.hostname, if self.level >= ADMIN { '#' } else { '>' }),
        }
    }

    fn put_line(&mut self, line: &str) {
        self.shown.extend(line.as_bytes());
        self.shown.extend(if self.terminal.interactive { &b"\r\n"[..] } else { b"\n" });
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.shown.is_empty() {
            self.output.write_all(&self.shown).await?;
            self.output.flush().await?;
            self.shown.clear();
        }
        Ok(())
    }

    /// Carries out a line, and writes down who typed it, and what came of it; `false`: the session is over.
    async fn audited(&mut self, line: &str) -> io::Result<bool> {
        let (before, level) = (std::mem::take(&mut self.refused), self.level);
        let goes_on = self.line(line).await;
        self.write_down(line, level);
        self.refused |= before;
        goes_on
    }

    /// Who typed what, and what came of it.
    fn write_down(&self, line: &str, level: u8) {
        let text = line.trim();
        if !text.is_empty() {
            let outcome = if self.refused { "refused" } else { "done" };
            let text = redact(text);
            info!("cli: {} from {}, level {level}: {text:?}: {outcome}", self.who.user, self.who.from);
        }
    }

    /// Carries out a line; `false`: the session is over.
    async fn line(&mut self, line: &str) -> io::Result<bool> {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('!') {
            return Ok(true);
        }
        let (text, pipe) = split_pipe(line);
        // The state is made for whoever asks: not for what concerns the session alone, whatever names there are.
        let grammar = commands::grammar(self.level);
        let (mut state, mut found) = (None, grammar.find(text, &NoObjects));
        if !matches!(&found, Ok((entry, _)) if matches!(entry.run, Run::Session(_))) {
            state = self.state().await;
            found = grammar.find(text, objects(state.as_deref()));
        }
        let (entry, args) = match found {
            Ok((entry, args)) => (*entry, args),
            Err(no_match) => {
                self.not_understood(&no_match);
                return Ok(true);
            }
        };
        let pipe = match (pipe.map(Pipe::read).transpose(), entry.run) {
            (Ok(Some(_)), Run::Session(_)) => {
                self.not_understood(&NoMatch::Invalid { at: text.len(), why: None });
                return Ok(true);
            }
            (Ok(Some(Pipe::Json)), Run::Do(_)) => {
                self.refuse(&Refusal("this command has no JSON".into()));
                return Ok(true);
            }
            (Ok(pipe), _) => pipe,
            (Err(words), _) => {
                self.refused = true;
                self.put_line(&words);
                return Ok(true);
            }
        };
        self.carry_out(entry, args, pipe, state.as_deref()).await
    }

    async fn carry_out(
        &mut self,
        entry: &'static Entry,
        args: Args,
        pipe: Option<Pipe>,
        state: Option<&State>,
    ) -> io::Result<bool> {
        let json = matches!(pipe, Some(Pipe::Json));
        let call = Call { control: self.control.clone(), args, json, by: self.by.clone() };
        let filter = match pipe {
            Some(Pipe::Lines(filter)) => Some(filter),
            _ => None,
        };
        let result = match (entry.run, state) {
            (Run::Session(change), _) => match change(&call.args) {
                Change::Configure { local, revert } => self.configure(local, revert).await.map(|()| Vec::new()),
                Change::Enable => {
                    self.enable().await?;
                    return Ok(true);
                }
                change => return Ok(self.change(change)),
            },
            (Run::Show(..), None) => Err(Refusal("the daemon does not answer now".into())),
            (Run::Show(_, value), Some(state)) if call.json => {
                let text = serde_json::to_string_pretty(&value(state, &call.args)).unwrap_or_default();
                Ok(text.lines().map(str::to_owned).collect())
            }
            // A filter sees the whole of a line, also what would not fit.
            (Run::Show(text, _), Some(state)) => {
                text(state, &call.args, if filter.is_some() { 0 } else { self.width() })
            }
            (Run::Do(act) | Run::Ask(act), _) => tokio::select! {
                result = act(call) => result,
                () = self.keys.interrupted() => {
                    Err(Refusal("interrupted: what was ordered may be done all the same".into()))
                }
            },
            (Run::Stream(act), _) => {
                self.stream(|lines| act(call, lines), filter).await?;
                return Ok(true);
            }
        };
        match result {
            Ok(lines) => {
                let mut page = self.page(filter);
                if self.show(&mut page, lines).await? {
                    self.end(page).await?;
                }
            }
            Err(refusal) => self.refuse(&refusal),
        }
        Ok(true)
    }

    /// Shows lines as they come, until all have, or the operator has seen enough.
    async fn stream(
        &mut self,
        act: impl FnOnce(commands::Lines) -> BoxFuture<'static, Result<(), Refusal>>,
        filter: Option<Filter>,
    ) -> io::Result<()> {
        let (send, mut lines) = mpsc::channel(CHUNKS);
        let mut work = act(send);
        let mut result = None;
        let mut page = self.page(filter);
        loop {
            // Ctrl-C first, which must not wait for lines that always come; the command's end last, because what it has
            // said before is still to be shown.
            let chunk = tokio::select! {
                biased;
                () = self.keys.interrupted() => return Ok(()),
                chunk = lines.recv() => chunk,
                ended = &mut work, if result.is_none() => {
                    result = Some(ended);
                    continue;
                }
            };
            match chunk {
                Some(chunk) => {
                    if !self.show(&mut page, chunk).await? {
                        return Ok(());
                    }
                    self.flush().await?;
                }
                None => break,
            }
        }
        // Its channel closes only when it ends.
        let result = match result {
            Some(result) => result,
            None => work.await,
        };
        self.end(page).await?;
        if let Err(refusal) = result {
            self.refuse(&refusal);
        }
        Ok(())
    }

    /// Of a script nobody knows how wide what reads it is.
    fn width(&self) -> usize {
        if self.terminal.interactive { self.terminal.columns } else { 0 }
    }

    /// Becomes an administrator: who is none needs the password that makes everybody one.
    async fn enable(&mut self) -> io::Result<()> {
        if self.level >= ADMIN {
            return Ok(());
        }
        // Nobody is asked who could not answer: the next line of a script is a command.
        if self.who.highest < ADMIN {
            let auth = self.auth.clone();
            let is_asked = self.terminal.interactive && auth.has_enable(&self.who.user).await;
            let (user, from) = (self.who.user.clone(), self.who.from.clone());
            if !(is_asked && self.knows_password().await?) {
                self.control.happened(What::EnableFailed { user, from });
                self.refuse(&Refusal("Access denied".into()));
                return Ok(());
            }
            self.control.happened(What::Enabled { user, from });
        }
        self.level = ADMIN;
        self.ticket.touch(self.level);
        Ok(())
    }

    async fn knows_password(&mut self) -> io::Result<bool> {
        self.shown.extend(b"Password: ");
        self.flush().await?;
        self.editor.secret = true;
        let typed = self.secret_line().await;
        self.editor.secret = false;
        self.put_line("");
        self.flush().await?;
        let Some(password) = typed else { return Ok(false) };
        let auth = self.auth.clone();
        let may = auth.enable(&self.who.user, &password).await;
        if may {
            self.control.logins().accepted(Door::Enable);
        } else {
            self.control.logins().refused(Door::Enable);
            tokio::time::sleep(DENIED_AFTER).await;
        }
        Ok(may)
    }

    /// A line that is not shown; `None`: nobody types it any more.
    async fn secret_line(&mut self) -> Option<Zeroizing<String>> {
        let mut unseen = Vec::new();
        loop {
            match self.next_key().await {
                Ok(Key::Byte(byte)) => match self.editor.feed(byte, &mut unseen) {
                    Some(Event::Line(line) | Event::End(line)) => {
                        self.after_cr = byte == b'\r';
                        return Some(Zeroizing::new(line));
                    }
                    Some(Event::Interrupt | Event::Leave) => return None,
                    _ => {}
                },
                Ok(Key::Size(rows, columns)) => self.resize(rows, columns),
                Ok(Key::End) | Err(_) => return None,
            }
        }
    }

    fn change(&mut self, change: Change) -> bool {
        match change {
            // Done already: it may have to ask.
            Change::Enable => {}
            Change::Disable => self.level = USER,
            Change::Leave => return false,
            // Of a script nobody looks while it is done.
            Change::Monitor(on) => self.monitor = (on && self.terminal.interactive).then(monitor::follow),
            Change::Length(rows) => (self.terminal.rows, self.said_length) = (rows, true),
            Change::Width(columns) => (self.terminal.columns, self.said_width) = (columns, true),
            // It asks the daemon: see `carry_out`.
            Change::Configure { .. } => {}
            Change::Privilege => self.put_line(&format!("Current privilege level is {}", self.level)),
            Change::History => {
                let lines: Vec<String> = self.editor.history().map(|line| format!("  {}", redact(line))).collect();
                lines.iter().for_each(|line| self.put_line(line));
            }
            Change::Help => {
                for line in [
                    "Help may be asked for at any point by a question mark `?`:",
                    "1. after a blank, for what may come next (`show ?`)",
                    "2. within a word, for what begins so (`sh?`)",
                    "Words may be abbreviated as long as they are of one command alone; Tab completes them.",
                ] {
                    self.put_line(line);
                }
            }
        }
        true
    }

    fn refuse(&mut self, Refusal(words): &Refusal) {
        self.refused = true;
        for line in words.lines() {
            self.put_line(&format!("% {line}"));
        }
    }

    /// In the words of IOS, with the mark under what is wrong.
    fn not_understood(&mut self, no_match: &NoMatch) {
        self.refused = true;
        if let NoMatch::Invalid { at, .. } = no_match {
            let prompt = if self.terminal.interactive { self.prompt_text().len() } else { 0 };
            self.put_line(&format!("{}^", " ".repeat(prompt + at)));
        }
        self.put_line(&no_match.to_string());
        if let NoMatch::Invalid { why: Some(why), .. } = no_match {
            self.put_line(&format!("% {why}"));
        }
        self.put_line("");
    }

    fn page(&self, filter: Option<Filter>) -> Page {
        let rows = if self.terminal.interactive { self.terminal.rows } else { 0 };
        Page { pager: Pager::new(rows, self.terminal.columns), filter }
    }

    /// Shows lines page by page; `false`: the operator has seen enough.
    async fn show(&mut self, page: &mut Page, lines: Vec<String>) -> io::Result<bool> {
        for line in lines {
            if page.filter.as_mut().is_none_or(|filter| filter.passes(&line))
                && !self.turn(&mut page.pager, &line).await?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All lines have come: what is left to say.
    async fn end(&mut self, mut page: Page) -> io::Result<()> {
        if let Some(line) = page.filter.as_ref().and_then(Filter::end) {
            self.turn(&mut page.pager, &line).await?;
        }
        Ok(())
    }

    async fn turn(&mut self, pager: &mut Pager, line: &str) -> io::Result<bool> {
        while pager.turn(line) == Turn::Wait {
            self.shown.extend(MORE.as_bytes());
            self.flush().await?;
            let goes_on = self.key_at_more(pager).await;
            self.shown.extend(Pager::erase().as_bytes());
            if !goes_on {
                return Ok(false);
            }
        }
        self.put_line(line);
        if self.shown.len() > SHOWN_AT_ONCE {
            self.flush().await?;
        }
        Ok(true)
    }

    /// The next key at `--More--`, which may be a sequence of bytes; whether more is to be shown.
    async fn key_at_more(&mut self, pager: &mut Pager) -> bool {
        loop {
            match self.next_key().await {
                Ok(Key::Byte(b'\n' | 0)) if std::mem::take(&mut self.after_cr) => {}
                Ok(Key::Byte(key)) => {
                    self.after_cr = key == b'\r';
                    let goes_on = pager.key(key);
                    if !goes_on {
                        // The rest of an arrow's sequence is no command.
                        self.keys.drop_sequence(key);
                    }
                    return goes_on;
                }
                Ok(Key::Size(rows, columns)) => {
                    self.resize(rows, columns);
                    pager.resize(self.terminal.rows, self.terminal.columns);
                }
                Ok(Key::End) | Err(_) => return false,
            }
        }
    }

    async fn show_all(&mut self, lines: Vec<String>) -> io::Result<()> {
        let mut page = self.page(None);
        self.show(&mut page, lines).await.map(drop)
    }

    async fn help(&mut self, line: &str) -> io::Result<()> {
        if let (_, Some(pipe)) = split_pipe(line)
            && self.configuring.is_none()
        {
            let word = pipe.trim();
            let lines: Vec<String> = FILTERS
                .iter()
                .filter(|(name, _)| name.starts_with(word))
                .map(|(name, help)| format!("  {name:10}  {help}"))
                .collect();
            return self.show_all(lines).await;
        }
        let state = self.state().await;
        let help = match &self.configuring {
            Some(configuring) => configuring.help(line, self.level, objects(state.as_deref())),
            None => commands::grammar(self.level).help(line, objects(state.as_deref())),
        };
        match help {
            Ok(Help::Words(words)) => self.show_all(vec![words.join("  ")]).await,
            Ok(Help::Next(lines)) => {
                let width = lines.iter().map(|(shown, _)| shown.len()).max().unwrap_or(0);
                let lines = lines.iter().map(|(shown, help)| format!("  {shown:width$}  {help}").trim_end().to_owned());
                self.show_all(lines.collect()).await
            }
            Err(no_match) => {
                let refused = self.refused;
                self.not_understood(&no_match);
                // A question is no command.
                self.refused = refused;
                Ok(())
            }
        }
    }
}

fn objects(state: Option<&State>) -> &dyn Objects {
    match state {
        Some(state) => state,
        None => &NoObjects,
    }
}
