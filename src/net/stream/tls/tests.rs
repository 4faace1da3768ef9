//! The stream over TLS against a server in memory, which is cut, spoilt and held up at will.

use std::io::{Read as _, Write as _};
use std::task::Waker;

use rustls::{AlertDescription, RootCertStore, ServerConnection, SupportedProtocolVersion};

use super::*;

/// A server whose bytes come and go in parts.
struct Peer {
    server: ServerConnection,
    sent: Vec<u8>,
    /// Bytes that a read returns at the most, and that a write takes; 0: it has to wait.
    read_max: usize,
    write_max: usize,
    ended: bool,
    refusal: Option<rustls::Error>,
    got: Vec<u8>,
    reads: usize,
}

impl Peer {
    fn say(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(16 * 1024) {
            self.server.writer().write_all(part).unwrap();
            self.collect();
        }
    }

    fn collect(&mut self) {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.sent).unwrap();
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.server.read_tls(&mut bytes).unwrap();
            match self.server.process_new_packets() {
                Ok(_) => drop(self.server.reader().read_to_end(&mut self.got)),
                Err(error) => self.refusal = Some(error),
            }
        }
    }
}

impl AsyncRead for Peer {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let peer = self.get_mut();
        peer.collect();
        if peer.sent.is_empty() {
            return if peer.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        peer.reads += 1;
        let count = peer.sent.len().min(buf.remaining()).min(peer.read_max);
        buf.put_slice(&peer.sent[..count]);
        peer.sent.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let peer = self.get_mut();
        let count = buf.len().min(peer.write_max);
        if count == 0 {
            return Poll::Pending;
        }
        peer.hear(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

fn pair(version: &'static SupportedProtocolVersion, trusted: bool) -> (Arc<ClientConfig>, Peer) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["gateway.example".into()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    if trusted {
        roots.add(certificate.der().clone()).unwrap();
    }
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let private = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let server = rustls::ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    server.set_buffer_limit(None);
    let peer = Peer {
        server,
        sent: Vec::new(),
        read_max: usize::MAX,
        write_max: usize::MAX,
        ended: false,
        refusal: None,
        got: Vec::new(),
        reads: 0,
    };
    (Arc::new(client), peer)
}

/// The handshake is polled once only, so whatever waits for something that does not come is a failure.
fn shake(config: Arc<ClientConfig>, peer: &mut Peer) -> io::Result<Tls> {
    let handshake = std::pin::pin!(Tls::handshake(config, ServerName::try_from("gateway.example").unwrap(), peer));
    match handshake.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn connected(version: &'static SupportedProtocolVersion) -> (Tls, Peer) {
    let (config, mut peer) = pair(version, true);
    let tls = shake(config, &mut peer).unwrap();
    (tls, peer)
}

fn poll(tls: &mut Tls, peer: &mut Peer, wanted: usize) -> Poll<io::Result<Vec<u8>>> {
    let mut read = Vec::new();
    let wants = Wants { bytes: wanted, ahead: wanted.is_multiple_of(2) };
    let polled = tls.poll_read(peer, &mut Context::from_waker(Waker::noop()), wants, &mut |bytes| read.extend(bytes));
    polled.map_ok(|count| {
        assert_eq!(count, read.len());
        assert!(count <= wanted);
        read
    })
}

/// Reads until it has to wait, or ends.
fn drain(tls: &mut Tls, peer: &mut Peer, wanted: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while let Poll::Ready(read) = poll(tls, peer, wanted) {
        let read = read.unwrap();
        if read.is_empty() {
            break;
        }
        all.extend(read);
        // A record that isn't whole, one that was wanted in part, and the part of another one.
        assert!(tls.in_hand() <= 3 * RECORD_BYTES_MAX, "{}", tls.in_hand());
    }
    all
}

fn write(tls: &mut Tls, peer: &mut Peer, bytes: &[u8]) -> Poll<io::Result<usize>> {
    tls.poll_write(peer, &mut Context::from_waker(Waker::noop()), bytes)
}

fn flush(tls: &mut Tls, peer: &mut Peer) -> Poll<io::Result<()>> {
    tls.poll_flush(peer, &mut Context::from_waker(Waker::noop()))
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect()
}

#[test]
fn what_was_sent_comes_whole_however_it_is_cut_and_asked_for() {
    let all = bytes(200_000);
    for version in BOTH {
        for read_max in [1, 3, 1_000, 16_383, 16_500, usize::MAX] {
            for wanted in [7, 8_192, 16_384, 70_001, 256 * 1024] {
                let (config, mut peer) = pair(version, true);
                peer.read_max = read_max;
                let mut tls = shake(config, &mut peer).unwrap();
                // Byte by byte it's a matter of seconds.
                let body = if read_max < 1_000 { &all[..20_000] } else { &all };
                peer.say(body);
                peer.server.send_close_notify();
                let read = drain(&mut tls, &mut peer, wanted);
                assert!(read == body, "{read_max}, {wanted}");
            }
        }
    }
}

#[test]
fn half_a_record_at_every_place_is_kept() {
    for version in BOTH {
        let (mut tls, mut peer) = connected(version);
        drain(&mut tls, &mut peer, 1024);
        for at in 1.. {
            peer.say(b"first");
            peer.say(b"second");
            if at >= peer.sent.len() {
                break;
            }
            let rest = peer.sent.split_off(at);
            let mut all = drain(&mut tls, &mut peer, 1024);
            peer.sent = rest;
            all.extend(drain(&mut tls, &mut peer, 1024));
            assert_eq!(all, b"firstsecond", "{at}");
        }
    }
}

#[test]
fn bulk_is_read_and_given_in_one_go() {
    let (mut tls, mut peer) = connected(&rustls::version::TLS13);
    drain(&mut tls, &mut peer, 1024);
    peer.say(&bytes(1024 * 1024));
    peer.reads = 0;
    let Poll::Ready(Ok(first)) = poll(&mut tls, &mut peer, 256 * 1024) else { panic!() };
    assert_eq!((first.len(), peer.reads), (256 * 1024, 1));
}

#[test]
fn keys_are_updated_in_the_middle_and_answered() {
    let (mut tls, mut peer) = connected(&rustls::version::TLS13);
    for round in 0..3 {
        peer.say(b"before ");
        peer.server.refresh_traffic_keys().unwrap();
        peer.say(b"after");
        assert_eq!(drain(&mut tls, &mut peer, 9), b"before after", "{round}");
        assert!(matches!(write(&mut tls, &mut peer, b"request"), Poll::Ready(Ok(7))));
        assert_eq!(std::mem::take(&mut peer.got), b"request", "{round}");
        assert_eq!(peer.refusal, None);
    }
}

#[test]
fn a_write_with_half_a_record_in_hand_loses_nothing() {
    for version in BOTH {
        let (mut tls, mut peer) = connected(version);
        let body = bytes(60_000);
        peer.say(&body);
        let rest = peer.sent.split_off(peer.sent.len() - 100);
        let mut all = match poll(&mut tls, &mut peer, 20_000) {
            Poll::Ready(Ok(read)) => read,
            other => panic!("{other:?}"),
        };
        assert!(tls.in_hand() > 0);
        assert!(matches!(write(&mut tls, &mut peer, b"more"), Poll::Ready(Ok(4))));
        assert_eq!(peer.got, b"more");
        peer.sent.extend(rest);
        all.extend(drain(&mut tls, &mut peer, 20_000));
        assert!(all == body);
    }
}

#[test]
fn a_spoilt_record_is_an_error_after_what_came_before_and_the_other_side_hears_why() {
    for version in BOTH {
        let (mut tls, mut peer) = connected(version);
        peer.say(b"good");
        let good = peer.sent.len();
        peer.say(b"spoilt");
        peer.say(b"whole again");
        peer.sent[good + 20] ^= 1;
        assert_eq!(
            match poll(&mut tls, &mut peer, 1024) {
                Poll::Ready(Ok(read)) => read,
                other => panic!("{other:?}"),
            },
            b"good"
        );
        assert_eq!(peer.refusal, Some(rustls::Error::AlertReceived(AlertDescription::BadRecordMac)));
        for _ in 0..2 {
            let Poll::Ready(Err(error)) = poll(&mut tls, &mut peer, 1024) else { panic!() };
            assert_eq!(cause(&error), Some(&rustls::Error::DecryptError));
            let Poll::Ready(Err(error)) = write(&mut tls, &mut peer, b"x") else { panic!() };
            assert_eq!(cause(&error), Some(&rustls::Error::DecryptError));
        }
    }
}

#[test]
fn what_is_no_tls_is_an_error() {
    let (mut tls, mut peer) = connected(&rustls::version::TLS13);
    drain(&mut tls, &mut peer, 1024);
    peer.sent = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let Poll::Ready(Err(error)) = poll(&mut tls, &mut peer, 1024) else { panic!() };
    assert!(matches!(cause(&error), Some(rustls::Error::InvalidMessage(_))), "{error:?}");
}

#[test]
fn an_end_without_close_notify_is_an_error_and_with_it_none() {
    for version in BOTH {
        for proper in [true, false] {
            let (mut tls, mut peer) = connected(version);
            peer.say(b"end");
            if proper {
                peer.server.send_close_notify();
            }
            peer.ended = true;
            assert!(matches!(poll(&mut tls, &mut peer, 1024), Poll::Ready(Ok(read)) if read == b"end"));
            for _ in 0..3 {
                match (poll(&mut tls, &mut peer, 1024), proper) {
                    (Poll::Ready(Ok(read)), true) => assert_eq!(read, b""),
                    (Poll::Ready(Err(error)), false) => assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof),
                    (other, _) => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_sent_at_once_is_sent_later_and_no_more_is_taken_before() {
    let (mut tls, mut peer) = connected(&rustls::version::TLS13);
    let request = bytes(50_000);
    peer.write_max = 0;
    assert!(matches!(write(&mut tls, &mut peer, &request), Poll::Ready(Ok(WRITE_BYTES_MAX))));
    assert!(write(&mut tls, &mut peer, &request).is_pending() && flush(&mut tls, &mut peer).is_pending());
    // It can be read meanwhile.
    peer.say(b"answer");
    assert_eq!(drain(&mut tls, &mut peer, 1024), b"answer");
    assert_eq!(peer.got, b"");
    peer.write_max = 7;
    let mut sent = WRITE_BYTES_MAX;
    while sent < request.len() {
        let Poll::Ready(Ok(count)) = write(&mut tls, &mut peer, &request[sent..]) else { panic!() };
        sent += count;
    }
    assert!(matches!(flush(&mut tls, &mut peer), Poll::Ready(Ok(()))));
    assert!(peer.got == request);
    assert_eq!(tls.session.outgoing.left(), b"");
}

#[test]
fn closing_is_said_once() {
    for version in BOTH {
        let (mut tls, mut peer) = connected(version);
        for _ in 0..2 {
            let closed = tls.poll_shutdown(&mut peer, &mut Context::from_waker(Waker::noop()));
            assert!(matches!(closed, Poll::Ready(Ok(()))));
        }
        assert!(peer.server.process_new_packets().unwrap().peer_has_closed());
        assert_eq!(peer.refusal, None);
        peer.server.send_close_notify();
        assert!(matches!(poll(&mut tls, &mut peer, 1024), Poll::Ready(Ok(read)) if read.is_empty()));
        let Poll::Ready(Err(_)) = write(&mut tls, &mut peer, b"x") else { panic!("written after the end") };
    }
}

#[test]
fn what_comes_with_the_last_flight_of_the_handshake_is_kept() {
    for version in BOTH {
        let (config, mut peer) = pair(version, true);
        // Taken until the handshake is over.
        peer.server.writer().write_all(b"early").unwrap();
        let mut tls = shake(config, &mut peer).unwrap();
        assert_eq!(drain(&mut tls, &mut peer, 1024), b"early");
    }
}

#[test]
fn a_handshake_that_fails_tells_both_sides_why() {
    for version in BOTH {
        let (config, mut peer) = pair(version, false);
        let error = shake(config, &mut peer).err().unwrap();
        assert!(matches!(cause(&error), Some(rustls::Error::InvalidCertificate(_))), "{error:?}");
        assert_eq!(peer.refusal, Some(rustls::Error::AlertReceived(AlertDescription::UnknownCA)));
    }
}

#[test]
fn a_handshake_that_breaks_off_is_no_failure_of_tls() {
    // The second where our answer to a part of the flight can't be sent.
    let broken = [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe];
    for end in [0, 1, 5, 40, 500] {
        let (config, mut peer) = pair(&rustls::version::TLS13, true);
        let (mut one, mut other) = tokio::io::duplex(64 * 1024);
        let handshake =
            std::pin::pin!(Tls::handshake(config, ServerName::try_from("gateway.example").unwrap(), &mut one));
        let cx = &mut Context::from_waker(Waker::noop());
        let mut handshake = handshake;
        assert!(handshake.as_mut().poll(cx).is_pending());
        let mut hello = vec![0; 16 * 1024];
        let mut buf = ReadBuf::new(&mut hello);
        assert!(Pin::new(&mut other).poll_read(cx, &mut buf).is_ready());
        peer.hear(buf.filled());
        peer.collect();
        assert!(Pin::new(&mut other).poll_write(cx, &peer.sent[..end]).is_ready());
        drop(other);
        let Poll::Ready(Err(error)) = handshake.poll(cx) else { panic!() };
        assert!(cause(&error).is_none() && broken.contains(&error.kind()), "{end}: {error:?}");
    }
}
