//! One TLS connection between buffers: records in, plaintext out, and the other way round. It reads and writes no socket.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};

/// The longest record with its header, in bytes: 2^14 of plaintext and what a cipher may add (RFC 5246 section 6.2.3).
pub(super) const RECORD_BYTES_MAX: usize = 5 + (1 << 14) + 2048;

/// A TLS connection of a client.
pub(super) struct Session {
    connection: UnbufferedClientConnection,
    /// Records to be sent.
    pub(super) outgoing: Outgoing,
    /// Why it's over for good.
    failed: Option<rustls::Error>,
    /// The other side has said that it sends no more.
    closed: bool,
}

/// Where a turn has led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something was done; there may be more to do with the same bytes.
    Again,
    /// The handshake needs more bytes.
    Handshake,
    /// Data can flow; more bytes are needed to read any.
    Traffic,
    /// The other side has closed its direction properly; said once.
    Closed,
    /// Both sides have.
    Over,
}

/// What is to be sent when data can flow.
#[derive(Debug, Clone, Copy)]
pub(super) enum Say<'a> {
    /// Nothing: this is for reading.
    Nothing,
    /// Some data.
    Data(&'a [u8]),
    /// That no more comes (`close_notify`).
    Close,
}

impl Session {
    pub(super) fn new(connection: UnbufferedClientConnection) -> Self {
        Self { connection, outgoing: Outgoing::default(), failed: None, closed: false }
    }

    /// Whether the other side has said that it sends no more.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Does the next thing that is to be done: at most one record is read, and given to `out`. `incoming` begins with what was
    /// left of it the time before; the number returned is of the bytes at its front that are done with.
    ///
    /// After an error there is nothing but that error; the alert that tells the other side is in `outgoing`.
    pub(super) fn turn(
        &mut self,
        incoming: &mut [u8],
        say: Say<'_>,
        out: &mut dyn FnMut(&[u8]),
    ) -> (usize, Result<Turn, rustls::Error>) {
        if let Some(error) = &self.failed {
            return (0, Err(error.clone()));
        }
        let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(incoming);
        let turn = match state {
            Ok(state) => handle(state, say, &mut self.outgoing, &mut discard, out),
            Err(error) => Err(error),
        };
        self.closed |= matches!(turn, Ok(Turn::Closed | Turn::Over));
        if let Err(error) = &turn {
            self.failed = Some(error.clone());
            self.take_alert(incoming.get_mut(discard..).unwrap_or_default());
        }
        (discard, turn)
    }

    /// The alert waits inside the connection, which has to be asked for it. With what was left of the bytes: it may hold
    /// places in them.
    fn take_alert(&mut self, incoming: &mut [u8]) {
        if let Ok(ConnectionState::EncodeTlsData(data)) = self.connection.process_tls_records(incoming).state {
            // There is an error to tell already.
            let _ = encode(data, &mut self.outgoing);
        }
    }
}

fn handle(
    state: ConnectionState<'_, '_, ClientConnectionData>,
    say: Say<'_>,
    outgoing: &mut Outgoing,
    discard: &mut usize,
    out: &mut dyn FnMut(&[u8]),
) -> Result<Turn, rustls::Error> {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                *discard = discard.saturating_add(record.discard);
                out(record.payload);
            }
            Ok(Turn::Again)
        }
        ConnectionState::EncodeTlsData(data) => encode(data, outgoing).map(|()| Turn::Again),
        ConnectionState::TransmitTlsData(data) => {
            // It is in `outgoing`, in front of whatever comes later.
            data.done();
            Ok(Turn::Again)
        }
        ConnectionState::BlockedHandshake => Ok(Turn::Handshake),
        ConnectionState::PeerClosed => Ok(Turn::Closed),
        ConnectionState::Closed => Ok(Turn::Over),
        ConnectionState::WriteTraffic(traffic) => write(traffic, say, outgoing).map(|()| Turn::Traffic),
        // Early data is for servers; nothing else exists.
        _ => Err(rustls::Error::General("an unknown state of the connection".to_owned())),
    }
}

fn encode(mut data: EncodeTlsData<'_, ClientConnectionData>, outgoing: &mut Outgoing) -> Result<(), rustls::Error> {
    outgoing.append(0, |into| match data.encode(into) {
        Ok(written) => Ok(Ok(written)),
        Err(EncodeError::InsufficientSize(more)) => Err(more),
        Err(EncodeError::AlreadyEncoded) => Ok(Ok(0)),
    })
}

fn write(
    mut traffic: WriteTraffic<'_, ClientConnectionData>,
    say: Say<'_>,
    outgoing: &mut Outgoing,
) -> Result<(), rustls::Error> {
    let outcome = |result| match result {
        Ok(written) => Ok(Ok(written)),
        Err(EncryptError::InsufficientSize(more)) => Err(more),
        Err(EncryptError::EncryptExhausted) => Ok(Err(rustls::Error::EncryptError)),
    };
    match say {
        Say::Nothing => Ok(()),
        Say::Data(data) => outgoing.append(data.len() + 64, |into| outcome(traffic.encrypt(data, into))),
        Say::Close => outgoing.append(64, |into| outcome(traffic.queue_close_notify(into))),
    }
}

/// Records on their way out. Bounded by who fills it: nothing is encrypted while something is left.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// What is left to send.
    pub(super) fn left(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// So many of them were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
        if self.left().is_empty() {
            // A request is over; its memory isn't kept for the length of a download.
            *self = Self::default();
        }
    }

    /// Adds what `fill` writes; it says how much it needs where `room` isn't enough.
    fn append(
        &mut self,
        room: usize,
        mut fill: impl FnMut(&mut [u8]) -> Result<Result<usize, rustls::Error>, InsufficientSizeError>,
    ) -> Result<(), rustls::Error> {
        let (before, mut room) = (self.bytes.len(), room);
        // It says once what it needs. A second time it would be wrong.
        for _ in 0..3 {
            self.bytes.resize(before.saturating_add(room), 0);
            match fill(self.bytes.get_mut(before..).unwrap_or_default()) {
                Ok(written) => {
                    let written = written.inspect_err(|_| self.bytes.truncate(before))?;
                    self.bytes.truncate(before.saturating_add(written));
                    return Ok(());
                }
                Err(InsufficientSizeError { required_size }) => room = required_size,
            }
        }
        self.bytes.truncate(before);
        Err(rustls::Error::General("no room for a record".to_owned()))
    }
}
