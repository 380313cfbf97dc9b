//! A channel: a session of the command line at one end, the client at the other, and bounded pipes between.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Shared;
use super::ahead::Ahead;
use super::connection::{Connection, OpenChannel, STALLED};
use crate::cli::Input;
use crate::cli::session::{Session, Terminal, Who};

/// Bytes between a session and its channel.
const PIPE: usize = 16 * 1024;
/// Inputs that the session has not taken.
const INPUTS: usize = 4;
/// How often it is looked whether output is stuck, while no input is taken.
const LOOK: Duration = Duration::from_millis(5);

/// What a channel is to do.
pub struct Start {
    /// Rows and columns of a terminal; `None`: there is none.
    pub terminal: Option<(usize, usize)>,
    /// One command, and no more.
    pub line: Option<String>,
}

/// Where a channel belongs.
pub struct Seat {
    pub shared: Arc<Shared>,
    pub connection: Arc<Connection>,
    pub handle: Handle,
    pub _open: OpenChannel,
}

/// Serves a channel until its session or its client has ended.
pub async fn attend(seat: Seat, channel: Channel<Msg>, started: oneshot::Receiver<Start>) {
    let (mut read, write) = channel.split();
    let (input, keys) = mpsc::channel(INPUTS);
    let is_stuck = AtomicBool::new(false);
    let ended = tokio::select! {
        gone = take_input(&mut read, input, &is_stuck) => match gone {
            Gone::Left => return,
            Gone::TooMuch => {
                warn!("ssh: {} sends and takes nothing: the connection is ended", seat.connection.peer);
                let _ = timeout(STALLED, seat.handle.disconnect(
                    Disconnect::ByApplication,
                    "too much was sent that was not taken yet".into(),
                    String::new(),
                )).await;
                return seat.connection.kill();
            }
        },
        ended = run(&seat, &write, started, keys, &is_stuck) => ended,
    };
    let Ok(status) = ended else { return seat.connection.kill() };
    let goodbye = async {
        write.exit_status(status.into()).await?;
        write.eof().await?;
        write.close().await
    };
    // What the client sends meanwhile is still to be taken, or the goodbye would wait for it.
    let drained = async { while read.wait().await.is_some() {} };
    tokio::select! {
        said = timeout(STALLED, goodbye) => {
            if said.is_err() {
                seat.connection.kill();
            }
        }
        () = drained => {}
    }
}

/// The session of a channel; its exit status. An error: the client takes nothing, or is gone.
async fn run(
    seat: &Seat,
    write: &ChannelWriteHalf<Msg>,
    started: oneshot::Receiver<Start>,
    keys: mpsc::Receiver<Input>,
    is_stuck: &AtomicBool,
) -> io::Result<u8> {
    // The time of a channel that nothing is asked of is that of one that nobody types at.
    let settings = seat.shared.settings().await;
    let idle = Some(settings.ssh.idle).filter(|idle| !idle.is_zero());
    let gone = || io::Error::from(io::ErrorKind::NotConnected);
    let start = match timeout(idle.unwrap_or(STALLED), started).await {
        Ok(Ok(start)) => start,
        // The channel is closed again, and whoever takes its input sees that.
        Ok(Err(_)) => return std::future::pending().await,
        Err(_) => return Ok(1),
    };
    let login = seat.connection.login().ok_or_else(gone)?;
    let who = Who {
        user: login.user.clone(),
        from: seat.connection.peer.to_string(),
        level: login.level,
        highest: login.level,
    };
    let (rows, columns) = start.terminal.unwrap_or_default();
    let terminal = Terminal { interactive: start.terminal.is_some() && start.line.is_none(), rows, columns };
    let (output, shown) = duplex(PIPE);
    let session = Session::new(seat.shared.control.clone(), who, keys, output, terminal)
        .with_idle(idle)
        .with_authenticator(seat.shared.auth.clone());
    // A command by itself speaks as to a pipe; a terminal, if there is one, wants more at the end of a line.
    let wants_returns = start.terminal.is_some() && start.line.is_some();
    let (status, told) =
        tokio::join!(session.serve(start.line.as_deref()), tell(shown, write, wants_returns, is_stuck));
    told?;
    // Without output, an error of the session is that it could not show it.
    status
}

/// What the session shows, to the client.
async fn tell(
    mut shown: impl AsyncRead + Unpin,
    write: &ChannelWriteHalf<Msg>,
    wants_returns: bool,
    is_stuck: &AtomicBool,
) -> io::Result<()> {
    let mut to = Box::pin(write.make_writer());
    let mut buffer = vec![0; PIPE / 2];
    loop {
        let count = shown.read(&mut buffer).await?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        let with_returns = wants_returns.then(|| with_returns(bytes));
        is_stuck.store(true, Ordering::SeqCst);
        timeout(STALLED, to.write_all(with_returns.as_deref().unwrap_or(bytes))).await??;
        is_stuck.store(false, Ordering::SeqCst);
    }
}

fn with_returns(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for byte in bytes {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}

/// Why no more input comes.
enum Gone {
    /// The client has closed the channel, or is gone with all of them.
    Left,
    TooMuch,
}

/// Takes what the client sends, for as long as there is a client: the library waits for whoever does not.
async fn take_input(read: &mut ChannelReadHalf, input: mpsc::Sender<Input>, is_stuck: &AtomicBool) -> Gone {
    let mut ahead = Ahead::default();
    let mut input = Some(input);
    let mut is_over = false;
    loop {
        if is_over && ahead.is_empty() {
            // The session learns that nothing comes any more; the client may still read what it says.
            input = None;
        }
        let may_take = input.is_none() || ahead.has_room(is_stuck.load(Ordering::SeqCst));
        tokio::select! {
            message = read.wait(), if may_take => match message {
                None | Some(ChannelMsg::Close) => return Gone::Left,
                Some(ChannelMsg::Eof) => is_over = true,
                Some(ChannelMsg::Data { data }) if input.is_some() && !is_over => ahead.push(Input::Bytes(data.into())),
                Some(ChannelMsg::WindowChange { col_width, row_height, .. }) if input.is_some() => {
                    let small = |size: u32| usize::from(u16::try_from(size).unwrap_or_default());
                    ahead.push(Input::Size(small(row_height), small(col_width)));
                }
                // Requests have been answered elsewhere.
                Some(_) => {}
            },
            () = give(&mut input, &mut ahead) => {}
            () = sleep(LOOK), if !may_take => {}
        }
        if ahead.is_too_much() {
            return Gone::TooMuch;
        }
    }
}

/// Hands the session the next input; never, where there is none. May be given up at any time: nothing is lost.
async fn give(input: &mut Option<mpsc::Sender<Input>>, ahead: &mut Ahead) {
    let Some(to) = input.as_ref().filter(|_| !ahead.is_empty()) else { return std::future::pending().await };
    let permit = to.reserve().await.ok();
    if let (Some(permit), Some(next)) = (permit, ahead.pop()) {
        return permit.send(next);
    }
    // It takes no input, or has ended.
    while ahead.pop().is_some() {}
    *input = None;
}
