//! Listeners and connections: TLS for the gateway, plain for the control port. Every task belongs to the simulator's tracker.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;

use super::{
    answer::Answer,
    calls, control,
    http::{Connection, Error},
    respond::{After, respond},
    rules::Rule,
    world::{Open, World, count},
};

/// Connections open at once; further ones are closed at once. Room for the polls of ten thousand agents and downloads beside.
const CONNECTIONS: usize = 20_000;
/// How long a TLS handshake or a farewell may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Which face a listener has.
#[derive(Clone)]
pub(super) enum Face {
    Gateway(TlsAcceptor),
    Control,
}

/// Takes connections until the simulator stops.
pub(super) async fn accept(world: Arc<World>, listener: TcpListener, face: Face, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = world.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, room) = match (accepted, Arc::clone(&room).try_acquire_owned()) {
            (Ok((stream, _)), Ok(room)) => (stream, room),
            (Ok(_), Err(_)) => continue,
            // Out of descriptors: those that are open must end first.
            (Err(_), _) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (world, face) = (Arc::clone(&world), face.clone());
        tasks.spawn(async move {
            let _room = room;
            tokio::select! {
                () = world.stop.cancelled() => {}
                () = connect(&world, stream, face) => {}
            }
        });
    }
}

async fn connect(world: &Arc<World>, stream: TcpStream, face: Face) {
    // Small answers in several writes must not wait for acknowledgements.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match face {
        Face::Control => control::serve(world, stream).await,
        Face::Gateway(acceptor) => {
            let _open = Open::new(&world.counters.open_connections);
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                gateway(world, stream).await;
            }
        }
    }
}

async fn gateway(world: &Arc<World>, stream: TlsStream<TcpStream>) {
    let mut connection = Connection::new(stream);
    match requests(world, &mut connection).await {
        After::Next | After::Cut => {}
        After::Close => farewell(&mut connection.stream).await,
        After::Reset => {
            // Without it TCP ends in order, which a client may tell from a reset; there is nobody to tell here.
            let _ = connection.stream.get_ref().0.set_zero_linger();
        }
    }
}

/// Answers requests until the connection is to end.
async fn requests<S>(world: &Arc<World>, connection: &mut Connection<S>) -> After
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let request = match connection.request().await {
            Ok(request) => request,
            Err(Error::Gone) => return After::Close,
            Err(Error::Malformed(detail)) => {
                count(&world.counters.requests);
                world.rules.broke(Rule::Malformed, None, detail);
                return match respond(connection, world, Answer::page(400), None).await {
                    After::Next => After::Close,
                    other => other,
                };
            }
        };
        count(&world.counters.requests);
        let (answer, fault) = calls::answer(world, connection, &request).await;
        match respond(connection, world, answer, fault.as_ref()).await {
            After::Next if request.keeps_alive() => {}
            After::Next => return After::Close,
            other => return other,
        }
    }
}

async fn farewell<S: AsyncWrite + Unpin>(stream: &mut S) {
    // A client that does not take the farewell is gone either way.
    let _ = tokio::time::timeout(HANDSHAKE, stream.shutdown()).await;
}
