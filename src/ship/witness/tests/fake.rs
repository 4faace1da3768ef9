//! A witness written from the words of C2SP `tlog-witness`, `tlog-cosignature`, `signed-note` and RFC 6962 alone: it uses
//! nothing of this program's trees, notes and proofs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

type Root = [u8; 32];

/// How it behaves beside the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// By the rules.
    Good,
    /// It closes each connection.
    Down,
    /// It takes requests and says nothing.
    Silent,
    /// It signs with another key.
    Forging,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    /// Keys by origin.
    logs: BTreeMap<String, Vec<[u8; 32]>>,
    /// What it has cosigned last, by origin.
    latest: BTreeMap<String, (u64, Root)>,
    requests: Vec<(Instant, u16, u64)>,
}

/// The witness; clones are the same one.
#[derive(Clone)]
pub(super) struct Fake {
    pub(super) url: String,
    pub(super) timeout: Duration,
    name: String,
    pair: Arc<Ed25519KeyPair>,
    state: Arc<Mutex<State>>,
    _server: Arc<JoinSet<()>>,
}

impl Fake {
    pub(super) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/a/prefix/", listener.local_addr().expect("an address"));
        let mood = Mood::Good;
        let state = State { mood, logs: BTreeMap::new(), latest: BTreeMap::new(), requests: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let pair = Arc::new(Ed25519KeyPair::generate().expect("a key"));
        let mut server = JoinSet::new();
        let (served, signer, own) = (Arc::clone(&state), Arc::clone(&pair), name.to_owned());
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&served), Arc::clone(&signer), own.clone()));
            }
        });
        let (name, timeout) = (name.to_owned(), super::TIMEOUT);
        Self { url, timeout, name, pair, state, _server: Arc::new(server) }
    }

    /// `<name>+<hash>+<base64(0x04 || key)>`.
    pub(super) fn key(&self) -> String {
        let key = [&[4], self.pair.public_key().as_ref()].concat();
        let id = u32::from_be_bytes(key_id(&self.name, &self.pair));
        format!("{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// Its operator adds a log by its verifier key.
    pub(super) fn know(&self, key: &str) {
        let mut parts = key.splitn(3, '+');
        let (origin, _, key) = (parts.next().expect("a name"), parts.next(), parts.next().expect("a key"));
        let key = STANDARD.decode(key).expect("base64");
        assert_eq!((key[0], key.len()), (1, 33));
        let key = key[1..].try_into().expect("32 bytes");
        self.state().logs.entry(origin.to_owned()).or_default().push(key);
    }

    /// Its operator takes all logs away, or replaces their keys.
    pub(super) fn change_logs(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<[u8; 32]>>)) {
        change(&mut self.state().logs);
    }

    pub(super) fn is(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// What it has cosigned of the only log.
    pub(super) fn latest(&self) -> Option<(u64, Root)> {
        self.state().latest.values().next().copied()
    }

    /// It is put back, or a new one.
    pub(super) fn put_back(&self, to: Option<(u64, Root)>) {
        let mut state = self.state();
        match to {
            Some(to) => state.latest.values_mut().for_each(|latest| *latest = to),
            None => state.latest.clear(),
        }
    }

    /// When it was asked, what it answered, and which old size was named.
    pub(super) fn requests(&self) -> Vec<(Instant, u16, u64)> {
        self.state().requests.clone()
    }

    pub(super) fn answers(&self, status: u16) -> usize {
        self.requests().iter().filter(|(_, answered, _)| *answered == status).count()
    }
}

fn key_id(name: &str, pair: &Ed25519KeyPair) -> [u8; 4] {
    let hash = digest(&SHA256, &[name.as_bytes(), b"\n\x04", pair.public_key().as_ref()].concat());
    hash.as_ref()[..4].try_into().expect("4 bytes")
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, pair: Arc<Ed25519KeyPair>, name: String) {
    loop {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8(bytes[..head].to_vec()).expect("text").to_lowercase();
        assert!(text.starts_with("post /a/prefix/add-checkpoint http/1.1\r\n"), "{text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let length: usize = length.parse().expect("a number");
        while bytes.len() < head + length {
            assert!(stream.read_buf(&mut bytes).await.expect("the body") > 0);
        }
        let body = String::from_utf8(bytes[head..].to_vec()).expect("text");
        let mood = state.lock().expect("not poisoned").mood;
        match mood {
            Mood::Good | Mood::Forging => {}
            Mood::Down => return,
            Mood::Silent => std::future::pending().await,
        }
        let (status, kind, answer) = {
            let mut state = state.lock().expect("not poisoned");
            let (old, judged) = judge(&body, &mut state);
            let (status, kind, answer) = match judged {
                Ok(text) => {
                    let forger = Ed25519KeyPair::generate().expect("a key");
                    let signer = if mood == Mood::Forging { &forger } else { &*pair };
                    (200, "text/plain", cosign(&text, &name, key_id(&name, &pair), signer))
                }
                Err((409, size)) => (409, "text/x.tlog.size", format!("{size}\n")),
                Err((status, _)) => (status, "text/plain", "no\n".to_owned()),
            };
            state.requests.push((Instant::now(), status, old));
            (status, kind, answer)
        };
        let length = answer.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        if stream.write_all(format!("{head}{answer}").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// `cosignature/v1`, with somebody else's signature before it, which a client has to ignore.
fn cosign(text: &str, name: &str, id: [u8; 4], pair: &Ed25519KeyPair) -> String {
    let time = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let signature = pair.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
    let bytes = [&id[..], &time.to_be_bytes(), signature.as_ref()].concat();
    let other = STANDARD.encode([7_u8; 76]);
    format!("\u{2014} other.example/w {other}\n\u{2014} {name} {}\n", STANDARD.encode(bytes))
}

/// The text that is to be cosigned, which has been recorded by then; or a status, and for 409 a size. With the old size.
fn judge(body: &str, state: &mut State) -> (u64, Result<String, (u16, u64)>) {
    let Some((old, proof, note)) = request(body) else { return (0, Err((400, 0))) };
    let Some((text, signatures)) = note.split_once("\n\n") else { return (old, Err((400, 0))) };
    let text = format!("{text}\n");
    let lines: Vec<&str> = text.lines().collect();
    let [origin, size, root, ..] = lines.as_slice() else { return (old, Err((400, 0))) };
    let Some(keys) = state.logs.get(*origin) else { return (old, Err((404, 0))) };
    let is_signed = signatures.lines().any(|line| {
        let bytes = line.strip_prefix(&format!("\u{2014} {origin} ")).and_then(|bytes| STANDARD.decode(bytes).ok());
        bytes.is_some_and(|bytes| {
            let id = |key: &[u8; 32]| digest(&SHA256, &[origin.as_bytes(), b"\n\x01", key].concat());
            let is_by = |key: &&[u8; 32]| id(key).as_ref()[..4] == bytes[..4];
            keys.iter()
                .filter(is_by)
                .any(|key| UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &bytes[4..]).is_ok())
        })
    });
    if !is_signed {
        return (old, Err((403, 0)));
    }
    let size: u64 = size.parse().expect("a size");
    let root: Root = STANDARD.decode(root).expect("base64").try_into().expect("32 bytes");
    if old > size {
        return (old, Err((400, 0)));
    }
    let empty = (0, digest(&SHA256, b"").as_ref().try_into().expect("32 bytes"));
    let (known, known_root) = state.latest.get(*origin).copied().unwrap_or(empty);
    if old != known || (old == size && known_root != root) {
        return (old, Err((409, known)));
    }
    if !is_consistent((old, known_root), (size, root), proof) {
        return (old, Err((422, 0)));
    }
    state.latest.insert((*origin).to_owned(), (size, root));
    (old, Ok(text))
}

fn request(body: &str) -> Option<(u64, Vec<Root>, &str)> {
    let (head, note) = body.split_once("\n\n")?;
    let mut lines = head.split('\n');
    let old = lines.next()?.strip_prefix("old ")?;
    let number: u64 = old.parse().ok().filter(|number: &u64| number.to_string() == old)?;
    let proof = lines.map(|line| STANDARD.decode(line).ok()?.try_into().ok()).collect::<Option<Vec<Root>>>()?;
    (proof.len() <= 63).then_some((number, proof, note))
}

/// RFC 6962 section 2.1.2, PROOF and SUBPROOF read backwards: the last hash is that of the outermost split.
fn is_consistent((old, old_root): (u64, Root), (new, new_root): (u64, Root), mut proof: Vec<Root>) -> bool {
    if old == 0 || old == new {
        return proof.is_empty();
    }
    let roots = subproof(old, new, true, old_root, &mut proof);
    proof.is_empty() && roots == Some((old_root, new_root))
}

fn subproof(old: u64, new: u64, whole: bool, old_root: Root, proof: &mut Vec<Root>) -> Option<(Root, Root)> {
    if old == new {
        let root = if whole { old_root } else { proof.pop()? };
        return Some((root, root));
    }
    let mut left_size = 1;
    while left_size * 2 < new {
        left_size *= 2;
    }
    let beside = proof.pop()?;
    if old <= left_size {
        let (before, after) = subproof(old, left_size, whole, old_root, proof)?;
        Some((before, node(after, beside)))
    } else {
        let (before, after) = subproof(old - left_size, new - left_size, false, old_root, proof)?;
        Some((node(beside, before), node(beside, after)))
    }
}

fn node(left: Root, right: Root) -> Root {
    digest(&SHA256, &[&[1], &left[..], &right[..]].concat()).as_ref().try_into().expect("32 bytes")
}
