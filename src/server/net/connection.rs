//! One connection from accept to close: HTTP head, then a response, or a WebSocket
//! (`client_session.rs`).

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::client_session::{ClientSession, ConnectionGuard, HandshakeOutcome, SocketEvent};
use super::frame_stream::Transport;
use super::websocket::{drain, Socket};
use crate::gate::ids::ConnId;
use crate::gate::limits;
use crate::gate::net::Via;
use crate::server::gateway::attempt::ClientInfo;
use crate::server::gateway::parse;
use crate::server::gateway::{Event, InvalidRequest};
use crate::server::http::static_files::FileResponse;
use crate::server::http::{self, HttpResponse};
use crate::server::runtime::{within, Offload};
use crate::server::shared::Shared;
use crate::wire::http::{Head, ResponseHead};

/// Serves one accepted stream until it ends. `peer` is the remote address, `reached` the local one.
pub fn serve(
    shared: Rc<Shared>,
    conn: ConnId,
    stream: impl Transport,
    peer: IpAddr,
    reached: Option<IpAddr>,
) -> impl Future<Output = ()> {
    let guard = ConnectionGuard { shared, conn };
    // boxed, like other rare steps, so that the future of an idle connection stays small
    let opening = Box::pin(open(guard, stream, peer, reached));
    async {
        if let Some((session, outcome)) = opening.await {
            session.run(outcome).await;
        }
    }
}

/// Reads a request and answers it, or performs the handshake of a WebSocket.
async fn open<T: Transport>(
    guard: ConnectionGuard,
    stream: T,
    peer: IpAddr,
    reached: Option<IpAddr>,
) -> Option<(Box<ClientSession<T>>, HandshakeOutcome)> {
    let (mut session, mut response) = (None, None);
    let handshake = async {
        match guard.read_request(stream, peer, reached).await {
            Some(FirstRequest::Upgrade { stream, read_ahead, client_info, accept }) => {
                let socket = Socket::new(stream, read_ahead).await;
                let session = session.insert(ClientSession::new(guard, socket, client_info));
                session.handshake(&accept).await
            }
            Some(FirstRequest::Plain(stream, answer)) => {
                response = Some(guard.send_response(stream, answer));
                HandshakeOutcome::Ended(SocketEvent::Gone)
            }
            None => HandshakeOutcome::Ended(SocketEvent::Gone),
        }
    };
    let outcome = within(limits::HANDSHAKE_MS, handshake).await;
    if let Some(sending) = response {
        if let Err(error) = sending.await {
            log::debug!("peer={peer} the response was not sent completely: {error}");
        }
    }
    session.map(|session| (session, outcome.unwrap_or(HandshakeOutcome::TimedOut)))
}

/// First request on a connection.
enum FirstRequest<T> {
    /// Upgrade to a WebSocket.
    Upgrade {
        stream: T,
        /// Bytes that were received after the request.
        read_ahead: Vec<u8>,
        client_info: ClientInfo,
        /// Response to the upgrade.
        accept: Vec<u8>,
    },
    /// Plain request, with its response.
    Plain(T, HttpResponse),
}

impl ConnectionGuard {
    /// Reads a request. Returns `None` if the connection ended or the request was invalid.
    async fn read_request<T: Transport>(
        &self,
        mut stream: T,
        peer: IpAddr,
        reached: Option<IpAddr>,
    ) -> Option<FirstRequest<T>> {
        let mut bytes = Vec::with_capacity(limits::READ_BUFFER);
        let (reason, client_info) = loop {
            let before = bytes.len();
            bytes.extend_from_slice(&[0; limits::READ_BUFFER]);
            let count = stream.read(&mut bytes[before..]).await.ok().filter(|count| *count > 0)?;
            bytes.truncate(before + count);
            let head = match Head::parse(&bytes) {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(bad) => break (bad, None),
            };
            let client_info =
                parse::client_info(&head, peer, reached, &self.shared.runtime_config());
            if client_info.via != Via::Direct {
                self.shared.pre_auth.set_client(self.conn, client_info.client);
            }
            if !head.wants_websocket() {
                let response = http::respond(&head, &client_info, &self.shared);
                return Some(FirstRequest::Plain(stream, response));
            }
            let accept = match head.accept_websocket() {
                Ok(accept) => accept,
                Err(bad) => break (bad, Some(client_info)),
            };
            if client_info.via == Via::UntrustedProxy {
                self.shared.warn_of_proxy(client_info.peer);
            }
            let read_ahead = bytes[head.len..].to_vec();
            return Some(FirstRequest::Upgrade { stream, read_ahead, client_info, accept });
        };
        let conn = self.conn;
        if client_info.is_some() || reason.is_meant_to_connect(&bytes) {
            let request = Box::new(InvalidRequest { reason, peer, client_info });
            self.shared.dispatch(Event::InvalidRequest { conn, request });
        } else {
            log::debug!("conn={conn} peer={peer} sent an invalid request: {reason}");
        }
        let _ = Box::pin(finish(&mut stream, &ResponseHead::refusal(reason))).await;
        None
    }

    /// Sends a response, in pieces if it is a file, and ends the connection. The timeout of a
    /// handshake applies to each piece, because a large file takes longer on a slow network.
    async fn send_response(
        self,
        mut stream: impl Transport,
        response: HttpResponse,
    ) -> io::Result<()> {
        let bytes = match response {
            HttpResponse::Complete(bytes) => bytes,
            HttpResponse::File(file) => {
                send_file(&mut stream, file, &self.shared.file_offload).await?;
                Vec::new()
            }
        };
        let finished = within(limits::HANDSHAKE_MS, finish(&mut stream, &bytes)).await;
        finished.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Sends a file in pieces, until its end or until too many other reads wait.
async fn send_file(
    stream: &mut impl Transport,
    mut file: Box<FileResponse>,
    offload: &Offload,
) -> io::Result<()> {
    loop {
        let send_piece = async {
            let Some((rest, piece)) = file.read(offload).await else { return Ok(None) };
            stream.write_all(&piece).await?;
            Ok(Some(rest))
        };
        let sent: Option<io::Result<_>> = within(limits::HANDSHAKE_MS, send_piece).await;
        match sent.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))? {
            Some(rest) => file = rest,
            None => return Ok(()),
        }
    }
}

/// Sends a complete response, and gives the client [`limits::CLOSE_GRACE_MS`] to read it before the
/// connection is closed.
async fn finish(stream: &mut impl Transport, response: &[u8]) -> io::Result<()> {
    stream.write_all(response).await?;
    let _ = within(limits::CLOSE_GRACE_MS, drain(stream)).await;
    Ok(())
}
