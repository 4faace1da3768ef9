//! Over loopback, read by hyper.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

async fn connected() -> (Stream, TcpStream, Arc<Line>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let line = Arc::new(Line::new(None));
    let theirs = theirs.unwrap().0;
    theirs.set_nodelay(true).unwrap();
    (Stream::new(ours.unwrap(), None, Arc::clone(&line)), theirs, line)
}

async fn request_of(server: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(server.read_buf(&mut request).await.unwrap() > 0);
    }
}

/// Asks for something, and hands the body on piece by piece; so long after each.
async fn get(stream: Stream, rest: Duration, mut piece: impl FnMut(Bytes)) -> Result<(), hyper::Error> {
    let (mut sender, connection) = http1::Builder::new().max_buf_size(PIECE_FAST).handshake(stream).await?;
    let mut task = JoinSet::new();
    task.spawn(connection);
    let request = http::Request::get("/").header("host", "gateway").body(Empty::<Bytes>::new()).unwrap();
    let mut body = sender.send_request(request).await?.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            piece(data);
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
        }
    }
    Ok(())
}

async fn serve(server: &mut TcpStream, head: &str, parts: impl Iterator<Item = Vec<u8>>) {
    request_of(server).await;
    server.write_all(head.as_bytes()).await.unwrap();
    for part in parts {
        server.write_all(&part).await.unwrap();
    }
}

fn with_length(bytes: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n")
}

#[tokio::test]
async fn bulk_comes_in_large_pieces() {
    const BYTES: usize = 16 * 1024 * 1024;
    let (stream, mut server, _) = connected().await;
    let (mut sizes, mut all) = (Vec::new(), 0);
    let parts = (0..BYTES / 65_536).map(|_| vec![7; 65_536]);
    let head = with_length(BYTES);
    let (got, ()) = tokio::join!(
        get(stream, Duration::ZERO, |piece| {
            sizes.push(piece.len());
            all += piece.len();
        }),
        serve(&mut server, &head, parts)
    );
    got.unwrap();
    assert_eq!(all, BYTES);
    assert!(sizes.iter().any(|size| *size > 32 * 1024), "{sizes:?}");
}

#[tokio::test]
async fn whoever_reads_slowly_gets_small_pieces_of_the_same_bytes() {
    const BYTES: usize = 600_001;
    let chunk = |index: usize| {
        let data = vec![u8::try_from(index % 251).unwrap(); 1 + index * 37 % 5_000];
        [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
    };
    for chunked in [false, true] {
        let (stream, mut server, _) = connected().await;
        let (mut sizes, mut all) = (Vec::new(), Vec::new());
        let whole: Vec<u8> = (0..BYTES).map(|index| u8::try_from(index % 253).unwrap()).collect();
        let (head, parts): (_, Vec<_>) = if chunked {
            let parts = (0..200).map(chunk).chain([b"0\r\n\r\n".to_vec()]).collect();
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), parts)
        } else {
            (with_length(BYTES), vec![whole.clone()])
        };
        let (got, ()) = tokio::join!(
            get(stream, Duration::from_millis(25), |piece| {
                sizes.push(piece.len());
                all.extend(piece);
            }),
            serve(&mut server, &head, parts.into_iter())
        );
        got.unwrap();
        let expected = if chunked {
            (0..200).flat_map(|i| vec![u8::try_from(i % 251).unwrap(); 1 + i * 37 % 5_000]).collect()
        } else {
            whole
        };
        assert!(all == expected);
        assert!(sizes.iter().all(|size| *size <= 32 * 1024), "{sizes:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_sends_little_at_a_time_is_not_waited_for() {
    const PART: usize = 300;
    const PARTS: usize = 40;
    let (stream, mut server, _) = connected().await;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let head = with_length(200 * 1024 + PART * PARTS);
    let trickle = async {
        request_of(&mut server).await;
        server.write_all(head.as_bytes()).await.unwrap();
        server.write_all(&vec![1; 200 * 1024]).await.unwrap();
        let mut there = 0;
        for part in 0..PARTS {
            server.write_all(&[2; PART]).await.unwrap();
            // The next part comes only when this one was seen, however much is still to come.
            while there < 200 * 1024 + (part + 1) * PART {
                let waited = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await;
                there += waited.expect("it is given on").unwrap();
            }
        }
    };
    let (got, ()) = tokio::join!(get(stream, Duration::ZERO, |piece| told.send(piece.len()).unwrap()), trickle);
    got.unwrap();
}

#[tokio::test]
async fn bulk_raises_the_mark_and_patience_lowers_it() {
    let (mut stream, mut server, line) = connected().await;
    let wait = async |stream: &mut Stream| {
        let mut space = vec![0; 64 * 1024];
        std::future::poll_fn(|cx| {
            let mut buf = hyper::rt::ReadBuf::new(&mut space);
            let polled = Pin::new(&mut *stream).poll_read(cx, buf.unfilled());
            Poll::Ready(polled.map_ok(|()| buf.filled().len()))
        })
        .await
    };
    let write = async |stream: &mut Stream| {
        std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, b"GET / HTTP/1.1\r\n\r\n")).await.unwrap();
    };
    write(&mut stream).await;
    request_of(&mut server).await;
    assert!((line.begun(), line.is_unanswered()) == (1, true));
    server.write_all(with_length(1024 * 1024).as_bytes()).await.unwrap();
    stream.tcp.readable().await.unwrap();
    assert!(matches!(wait(&mut stream).await, Poll::Ready(Ok(bytes)) if bytes > 0));
    assert!(!line.is_unanswered());
    assert!(wait(&mut stream).await.is_pending() && stream.mark.is_raised());
    tokio::time::sleep(2 * PATIENCE).await;
    assert!(wait(&mut stream).await.is_pending() && !stream.mark.is_raised());
    tokio::time::sleep(Duration::from_millis(101)).await;
    assert!(wait(&mut stream).await.is_pending() && stream.mark.is_raised());
    write(&mut stream).await;
    assert!(!stream.mark.is_raised() && line.begun() == 2);
}

#[tokio::test]
async fn a_head_without_an_end_is_an_error() {
    let (stream, mut server, line) = connected().await;
    let endless = async {
        request_of(&mut server).await;
        let mut head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        head.resize(64 * 1024, b'a');
        let _ = server.write_all(&head).await;
    };
    let (got, ()) = tokio::join!(get(stream, Duration::ZERO, |_| ()), endless);
    let error = got.unwrap_err();
    assert!(format!("{error:?}").contains("TooLong"), "{error:?}");
    assert_eq!(line.begun(), 1);
}
