//! A real `redis-server` for one test: on loopback, in memory only. Its process is killed when this is dropped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Below the range that the kernel gives to outgoing connections, so that nobody takes the port while the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether it has started, and how long after the last time.
const TRIES: u32 = 1_000;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// A running (or killed) server.
pub struct Redis {
    dir: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

impl Redis {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut redis = Self { dir: TempDir::new().unwrap(), address: nowhere, child: None };
        for _ in 0..20 {
            redis.address.set_port(fastrand::u16(PORTS));
            // It does not start where somebody else was quicker.
            if TcpListener::bind(redis.address).is_ok() && redis.run() {
                return redis;
            }
        }
        panic!("no redis-server starts");
    }

    fn run(&mut self) -> bool {
        let port = self.address.port().to_string();
        let spawned = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no", "--dir"])
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("redis-server (Debian package of that name): {error}"));
        for _ in 0..TRIES {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            if Talk::open(self.address).is_some_and(|mut talk| talk.ask(&[b"PING"]) == Reply::Text(b"PONG".to_vec())) {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it with SIGKILL; all that it held is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port, with nothing in it.
    pub fn restart_empty(&mut self) {
        self.kill();
        assert!(self.run(), "redis-server does not start again on {}", self.address);
    }

    /// Asks one thing.
    pub fn ask(&self, words: &[&str]) -> Reply {
        let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        Talk::open(self.address).expect("a server").ask(&words)
    }

    /// Every key with all that is under it, as the bytes that a client gets (so not compressed).
    pub fn dump_all(&self) -> Vec<(String, Vec<u8>)> {
        let mut talk = Talk::open(self.address).expect("a server");
        let keys = talk.ask(&[b"KEYS", b"*"]).pieces();
        let mut all = Vec::new();
        for key in keys {
            let kind = talk.ask(&[b"TYPE", &key]).pieces().concat();
            let value = match kind.as_slice() {
                b"string" => talk.ask(&[b"GET", &key]),
                b"hash" => talk.ask(&[b"HGETALL", &key]),
                b"list" => talk.ask(&[b"LRANGE", &key, b"0", b"-1"]),
                b"set" => talk.ask(&[b"SMEMBERS", &key]),
                b"zset" => talk.ask(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"]),
                b"stream" => talk.ask(&[b"XRANGE", &key, b"-", b"+"]),
                // Expired between the two questions.
                b"none" => continue,
                other => panic!("a {} in Redis", String::from_utf8_lossy(other)),
            };
            all.push((String::from_utf8_lossy(&key).into_owned(), value.pieces().join(&b'\n')));
        }
        all.sort();
        all
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An answer in RESP 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Text(Vec<u8>),
    Number(i64),
    Error(String),
    Nothing,
    Many(Vec<Reply>),
}

impl Reply {
    /// All texts in it.
    pub fn pieces(self) -> Vec<Vec<u8>> {
        match self {
            Self::Text(text) => vec![text],
            Self::Number(number) => vec![number.to_string().into_bytes()],
            Self::Nothing => Vec::new(),
            Self::Many(replies) => replies.into_iter().flat_map(Self::pieces).collect(),
            Self::Error(error) => panic!("Redis: {error}"),
        }
    }
}

/// A connection of a client.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, words: &[&[u8]]) -> Reply {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        match self.0.get_mut().write_all(&request) {
            Ok(()) => self.reply().unwrap_or_else(|error| Reply::Error(error.to_string())),
            Err(error) => Reply::Error(error.to_string()),
        }
    }

    fn reply(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.trim_end();
        let Some((kind, rest)) = line.split_at_checked(1) else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        let number = || rest.parse::<i64>().map_err(std::io::Error::other);
        Ok(match kind {
            "+" => Reply::Text(rest.as_bytes().to_vec()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(number()?),
            "$" => match usize::try_from(number()?) {
                Err(_minus_one) => Reply::Nothing,
                Ok(length) => {
                    let mut text = vec![0; length + 2];
                    self.0.read_exact(&mut text)?;
                    text.truncate(length);
                    Reply::Text(text)
                }
            },
            "*" => Reply::Many((0..number()?).map(|_| self.reply()).collect::<Result<_, _>>()?),
            _ => return Err(std::io::Error::other(line.to_owned())),
        })
    }
}

#[test]
fn what_is_in_it_is_dumped_and_gone_after_a_kill() {
    let mut redis = Redis::start();
    redis.ask(&["SET", "{a}:text", &"planted".repeat(100)]);
    redis.ask(&["HSET", "{a}:hash", "field", "planted"]);
    redis.ask(&["RPUSH", "{a}:list", "one", "two"]);
    let dump = redis.dump_all();
    let shown: Vec<_> = dump.iter().map(|(key, value)| (key.as_str(), value.len())).collect();
    assert_eq!(shown, [("{a}:hash", 13), ("{a}:list", 7), ("{a}:text", 700)]);
    redis.kill();
    assert!(TcpStream::connect(redis.address()).is_err());
    redis.restart_empty();
    assert_eq!(redis.dump_all(), []);
}
