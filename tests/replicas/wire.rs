//! The network between one process and Redis, which can be cut and mended.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They pass.
    Whole,
    /// Connections are closed, and new ones as soon as they come.
    Refusing,
    /// Connections stay and new ones are taken, but nothing passes; all end when the wire changes again.
    Silent,
}

/// A proxy of bytes. Its connections end when it is dropped.
pub struct Wire {
    address: SocketAddr,
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

impl Wire {
    /// One that leads there.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, changes) = watch::channel(State::Whole);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(pass(near, server, changes.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, state, _tasks: tasks }
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes it, from now on.
    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn pass(mut near: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let at_first = *state.borrow_and_update();
    match at_first {
        State::Refusing => {}
        State::Silent => drop(state.changed().await),
        State::Whole => {
            let Ok(mut far) = TcpStream::connect(server).await else { return };
            let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => return,
                _ = state.changed() => {}
            }
            let now = *state.borrow_and_update();
            if now == State::Silent {
                let _ = state.changed().await;
            }
        }
    }
}

#[tokio::test]
async fn a_wire_is_cut_goes_silent_and_is_mended() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::to(server.local_addr().unwrap()).await;
    let mut echoes = JoinSet::new();
    echoes.spawn(async move {
        let mut all = JoinSet::new();
        while let Ok((mut stream, _)) = server.accept().await {
            all.spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let open = || TcpStream::connect(wire.address());
    let mut first = open().await.unwrap();
    assert_eq!(answered(&mut first).await, Some(1));
    wire.set(State::Refusing);
    assert_eq!(answered(&mut first).await, Some(0));
    assert_eq!(answered(&mut open().await.unwrap()).await, Some(0));
    wire.set(State::Whole);
    let mut second = open().await.unwrap();
    assert_eq!(answered(&mut second).await, Some(1));
    wire.set(State::Silent);
    assert_eq!(answered(&mut second).await, None);
    let mut third = open().await.unwrap();
    assert_eq!(answered(&mut third).await, None);
    wire.set(State::Whole);
    for old in [&mut second, &mut third] {
        assert_eq!(answered(old).await, Some(0));
    }
    assert_eq!(answered(&mut open().await.unwrap()).await, Some(1));
}

/// What an answer to one byte is: `Some(1)` the byte, `Some(0)` an end, `None` nothing in time.
async fn answered(stream: &mut TcpStream) -> Option<usize> {
    let mut byte = [0];
    let _ = stream.write_all(b"x").await;
    let read = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte)).await;
    read.ok().map(|read| read.unwrap_or(0))
}
