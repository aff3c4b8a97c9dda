//! The yardstick for round trips: a WebSocket echo on the gateway's own stack (smol, tungstenite, no adapter), and nothing else.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{mpsc, Arc};
use std::task::{Context, Poll};

use gatelet::gate::limits;
use gatelet::wire::http::Head;
use smol::{Async, LocalExecutor};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// Starts the echo on a thread of its own, which does `first` before anything else; it runs until the process ends.
pub fn start(first: fn()) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (ready, begun) = mpsc::channel();
    std::thread::spawn(move || {
        first();
        let _ = ready.send(());
        let executor = Rc::new(LocalExecutor::new());
        let result = smol::block_on(executor.run(accept(executor.clone(), listener)));
        eprintln!("the echo ended: {result:?}");
    });
    let _ = begun.recv();
    Ok(address)
}

async fn accept(executor: Rc<LocalExecutor<'static>>, listener: TcpListener) -> io::Result<()> {
    let listener = Async::new(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.get_ref().set_nodelay(true)?;
        executor.spawn(serve(Stream(Arc::new(stream)))).detach();
    }
}

#[derive(Clone)]
struct Stream(Arc<Async<TcpStream>>);

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.get_ref().read(bytes)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_ref().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn serve(stream: Stream) -> Option<()> {
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    let accepted = loop {
        let count = stream.0.read_with(|_| stream.clone().read(&mut part)).await.ok()?;
        head.extend_from_slice(&part[..count]);
        if let Some(whole) = Head::parse(&head).ok()? {
            break whole.accept_websocket().ok()?;
        }
    };
    stream.0.write_with(|_| stream.clone().write(&accepted)).await.ok()?;
    let config = WebSocketConfig::default().read_buffer_size(limits::READ_BUFFER).write_buffer_size(0);
    let mut socket = WebSocket::from_raw_socket(stream.clone(), Role::Server, Some(config));
    loop {
        let message = poll_fn(|context| poll(&stream, context, true, || socket.read())).await.ok()?;
        if matches!(message, Message::Text(_)) {
            socket.write(message).ok()?;
            poll_fn(|context| poll(&stream, context, false, || socket.flush())).await.ok()?;
        }
    }
}

fn poll<T>(
    stream: &Stream,
    context: &mut Context<'_>,
    reading: bool,
    mut work: impl FnMut() -> Result<T, Error>,
) -> Poll<Result<T, Error>> {
    loop {
        match work() {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                let ready = if reading { stream.0.poll_readable(context) } else { stream.0.poll_writable(context) };
                let Poll::Ready(ready) = ready else { return Poll::Pending };
                if let Err(error) = ready {
                    return Poll::Ready(Err(Error::Io(error)));
                }
            }
            done => return Poll::Ready(done),
        }
    }
}
