//! A server that ends connections in every way that there is, as it is told by its client.

use std::io;
use std::net::Ipv6Addr;
use std::thread::JoinHandle;
use std::time::Duration;

use lbd::lab::{Host, LabError};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Serves until dropped.
pub struct Peer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), LabError>>>,
}

impl Peer {
    pub fn start(host: &Host, port: u16) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (told, heard) = std::sync::mpsc::channel();
        let name = host.name().to_owned();
        let thread = host.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = listen(port).unwrap();
                told.send(()).unwrap();
                tokio::select! {
                    () = accept(listener, name) => {}
                    _ = stopped => {}
                }
            });
        });
        heard.recv().unwrap();
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(4_096)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, name: String) {
    while let Ok((stream, _)) = listener.accept().await {
        let name = name.clone();
        tokio::spawn(async move {
            // What goes wrong in a conversation ends that conversation.
            let _ = converse(stream, &name).await;
        });
    }
}

async fn converse(stream: TcpStream, name: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "close" => return Ok(()),
            "reset" => return SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO)),
            "half" => stream.shutdown().await?,
            said => stream.write_all(format!("{said}\n").as_bytes()).await?,
        }
    }
}
