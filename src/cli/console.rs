//! `lbd console`: the command line for root on the box itself, over a Unix socket. The way in when no other is.
//!
//! Both sides send frames: a byte that says of what kind, the length in two bytes, and so many bytes.
//!
//! ```text
//!   client: hello (JSON), then data and sizes        server: data, then the exit status
//! ```

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::warn;

use super::commands::ADMIN;
use super::keys::Input;
use super::session::{Session, Terminal, Who};
use crate::core::control::Control;

/// Name of the socket in the run directory.
const SOCKET: &str = "console.sock";
/// Sessions at once.
const SESSIONS_MAX: usize = 16;
/// Bytes of one frame.
const FRAME_MAX: usize = 16 * 1024;
/// Who connects says at once what he wants.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A terminal that has taken nothing for so long is given up, with its session.
const READ_WITHIN: Duration = Duration::from_secs(600);
/// What was read and not taken yet.
const INPUTS: usize = 16;

const HELLO: u8 = b'h';
const DATA: u8 = b'd';
const SIZE: u8 = b's';
const EXIT: u8 = b'x';

/// What a client wants.
#[derive(Debug, Deserialize, Serialize)]
struct Hello {
    interactive: bool,
    rows: usize,
    columns: usize,
    /// One command and no more.
    line: Option<String>,
}

pub fn socket(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET)
}

/// Opens the socket, which root alone may connect to.
pub fn bind(run_dir: &Path) -> io::Result<UnixListener> {
    let path = socket(run_dir);
    // Of a daemon before; there is no second one, whose lock would have been met first.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The directory may be open to all: nobody connects before the mode is set, because nobody listens yet.
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(&path)?)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
}

/// Serves sessions for ever.
pub async fn serve(listener: UnixListener, control: Arc<dyn Control>) {
    let places = Arc::new(Semaphore::new(SESSIONS_MAX));
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let Ok(place) = places.clone().try_acquire_owned() else {
                    let words = format!("% {SESSIONS_MAX} sessions are open, which is as many as may be\r\n");
                    // There is room for a frame in any new socket; whoever is gone needs no answer.
                    let _ = timeout(HELLO_WITHIN, turn_away(&mut stream, &words)).await;
                    continue;
                };
                let control = control.clone();
                tokio::spawn(async move {
                    // A client that goes away ends its session: no error of ours.
                    let _ = attend(stream, control).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!("the console accepts nobody now: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn turn_away(stream: &mut UnixStream, words: &str) -> io::Result<()> {
    send_frame(stream, DATA, words.as_bytes()).await?;
    send_frame(stream, EXIT, &[1]).await
}

async fn attend(stream: UnixStream, control: Arc<dyn Control>) -> io::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let first = timeout(HELLO_WITHIN, frame(&mut read)).await??;
    let Some((HELLO, body)) = first else { return Ok(()) };
    let hello: Hello = serde_json::from_slice(&body)?;
    let (send, receive) = mpsc::channel(INPUTS);
    let reader = tokio::spawn(async move {
        while let Ok(Some(frame)) = frame(&mut read).await {
            let input = match frame {
                (DATA, bytes) => Input::Bytes(bytes),
                (SIZE, bytes) => match <[u8; 4]>::try_from(bytes.as_slice()) {
                    Ok([a, b, c, d]) => {
                        Input::Size(u16::from_be_bytes([a, b]).into(), u16::from_be_bytes([c, d]).into())
                    }
                    Err(_) => break,
                },
                _ => break,
            };
            if send.send(input).await.is_err() {
                break;
            }
        }
    });
    let who = Who { user: "root".into(), from: "console".into(), level: ADMIN, highest: ADMIN };
    let terminal = Terminal { interactive: hello.interactive, rows: hello.rows, columns: hello.columns };
    let (output, shown) = duplex(FRAME_MAX);
    let session = Session::new(control, who, receive, output, terminal);
    let (status, told) = tokio::join!(session.serve(hello.line.as_deref()), tell(shown, &mut write));
    reader.abort();
    told?;
    send_frame(&mut write, EXIT, &[status?]).await
}

/// What the session shows, in frames.
async fn tell(mut shown: DuplexStream, write: &mut OwnedWriteHalf) -> io::Result<()> {
    let mut buffer = vec![0; FRAME_MAX];
    loop {
        let count = shown.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        timeout(READ_WITHIN, send_frame(write, DATA, buffer.get(..count).unwrap_or_default())).await??;
    }
}

/// The next frame; `None` at the end.
async fn frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 3];
    match from.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let [kind, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > FRAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(Some((kind, body)))
}

async fn send_frame(to: &mut (impl AsyncWrite + Unpin), kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u16::try_from(body.len()).ok().filter(|length| usize::from(*length) <= FRAME_MAX);
    let length = length.ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = vec![kind];
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    to.write_all(&bytes).await
}

/// The client's side, for `lbd console`.
pub mod client {
    use std::io::{IsTerminal, Read, Write, stdin, stdout};
    use std::os::fd::AsFd;

    use anyhow::Context;
    use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
    use tokio::signal::unix::{SignalKind, signal};
    use zeroize::Zeroizing;

    use super::*;

    /// Ctrl-]: leaves a session whose daemon hangs, as telnet has it.
    const ESCAPE_KEY: u8 = 0x1d;
    /// A session has a prompt within this time.
    const SPEAKS_WITHIN: Duration = Duration::from_secs(10);

    /// A terminal that passes every key on; as it was before, when this is dropped.
    struct Raw(Termios);

    impl Raw {
        fn set() -> nix::Result<Self> {
            let before = tcgetattr(stdin().as_fd())?;
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            tcsetattr(stdin().as_fd(), SetArg::TCSADRAIN, &raw)?;
            Ok(Self(before))
        }
    }

    impl Drop for Raw {
        fn drop(&mut self) {
            // A terminal that is gone need not be set.
            let _ = tcsetattr(stdin().as_fd(), SetArg::TCSADRAIN, &self.0);
        }
    }

    /// A password: typed twice without being shown, or the first line of a pipe.
    pub fn read_password() -> anyhow::Result<Zeroizing<String>> {
        if !stdin().is_terminal() {
            return read_line();
        }
        let before = tcgetattr(stdin().as_fd())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(stdin().as_fd(), SetArg::TCSADRAIN, &silent)?;
        // As it was before, when this is dropped.
        let _silent = Raw(before);
        let ask = |words: &str| {
            eprint!("{words}");
            let line = read_line();
            eprintln!();
            line
        };
        let password = ask("Password: ")?;
        anyhow::ensure!(ask("Again: ")? == password, "the two are not the same");
        Ok(password)
    }

    fn read_line() -> anyhow::Result<Zeroizing<String>> {
        let mut line = Zeroizing::new(String::new());
        stdin().read_line(&mut line)?;
        Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Rows and columns of the terminal; 0 where nobody knows.
    fn size() -> (u16, u16) {
        let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCGWINSZ (ioctl_tty(2)) writes a winsize to where its argument points, which lives through the call.
        let result = unsafe { nix::libc::ioctl(1, nix::libc::TIOCGWINSZ, &raw mut size) };
        if result == 0 { (size.ws_row, size.ws_col) } else { (0, 0) }
    }

    /// What comes from the terminal. A read from it cannot be given up: a thread waits in it, which ends with the process.
    fn type_keys(takes_input: bool) -> io::Result<mpsc::Receiver<Vec<u8>>> {
        let (send, keys) = mpsc::channel(INPUTS);
        if takes_input {
            std::thread::Builder::new().name("keys".into()).spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stdin().read(&mut buffer) {
                    let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                    if send.blocking_send(bytes).is_err() {
                        return;
                    }
                }
            })?;
        }
        Ok(keys)
    }

    /// A session at the daemon's console, or one command of it; its exit status.
    pub async fn run(run_dir: &Path, words: &[String]) -> anyhow::Result<u8> {
        let path = socket(run_dir);
        let stream = UnixStream::connect(&path).await;
        let stream = stream.with_context(|| format!("{}: does `lbd run` run, and are you root?", path.display()))?;
        let (mut read, mut write) = stream.into_split();
        let interactive = words.is_empty() && stdin().is_terminal() && stdout().is_terminal();
        let (rows, columns) = if interactive { size() } else { (0, 0) };
        let line = (!words.is_empty()).then(|| words.join(" "));
        let takes_input = line.is_none();
        let hello = Hello { interactive, rows: rows.into(), columns: columns.into(), line };
        send_frame(&mut write, HELLO, &serde_json::to_vec(&hello)?).await?;
        let mut resized = signal(SignalKind::window_change())?;
        let mut keys = type_keys(takes_input)?;
        let (frames_in, mut frames) = mpsc::channel(INPUTS);
        let leave = frames_in.clone();
        let typist = tokio::spawn(async move {
            loop {
                tokio::select! {
                    // When nothing comes any more the socket's end says so, and the session ends.
                    bytes = keys.recv(), if takes_input => match bytes {
                        None => return Ok::<(), io::Error>(()),
                        Some(bytes) if interactive && bytes.contains(&ESCAPE_KEY) => {
                            _ = leave.send((EXIT, vec![1])).await;
                            return Ok(());
                        }
                        Some(bytes) => send_frame(&mut write, DATA, &bytes).await?,
                    },
                    _ = resized.recv() => {
                        let (rows, columns) = size();
                        let [[a, b], [c, d]] = [rows, columns].map(u16::to_be_bytes);
                        send_frame(&mut write, SIZE, &[a, b, c, d]).await?;
                    }
                }
            }
        });
        let mut screen = stdout();
        // A frame is read to its end, whatever else comes meanwhile.
        let reader = tokio::spawn(async move {
            while let Ok(Some(frame)) = frame(&mut read).await {
                if frames_in.send(frame).await.is_err() {
                    return;
                }
            }
            // The daemon has gone without a word of how it ended.
            _ = frames_in.send((EXIT, vec![1])).await;
        });
        // A session has a prompt at once; a command by itself may take its time.
        let mut next = match timeout(SPEAKS_WITHIN, frames.recv()).await {
            Ok(first) => first,
            Err(_) if interactive => {
                let within = SPEAKS_WITHIN.as_secs();
                anyhow::bail!("the daemon accepts, and says nothing for {within} s: it hangs; its log may say why")
            }
            Err(_) => frames.recv().await,
        };
        // Only now: keys of a raw terminal reach nobody but the daemon.
        let _raw = if interactive { Some(Raw::set()?) } else { None };
        let status = loop {
            match next {
                Some((DATA, bytes)) => {
                    screen.write_all(&bytes)?;
                    screen.flush()?;
                }
                Some((EXIT, status)) => break status.first().copied().unwrap_or(1),
                _ => break 1,
            }
            next = frames.recv().await;
        };
        reader.abort();
        typist.abort();
        Ok(status)
    }
}
