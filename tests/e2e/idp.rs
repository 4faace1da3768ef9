//! An identity provider on loopback: what it answers is said by the test, and every request is counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A small server of documents; one that is taken away answers 503.
pub struct Idp {
    pub origin: String,
    state: Arc<Mutex<State>>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct State {
    documents: HashMap<String, Document>,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Document {
    status: StatusCode,
    location: Option<String>,
    text: String,
}

impl Idp {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (state, mut accepting) = (Arc::<Mutex<State>>::default(), JoinSet::new());
        let shared = Arc::clone(&state);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _peer)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        std::future::ready(Ok::<_, std::convert::Infallible>(answer(&shared, &request)))
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { origin, state, _accepting: accepting }
    }

    /// From now on this is there.
    pub fn put(&self, path: &str, text: &str) {
        self.answer(path, StatusCode::OK, None, text);
    }

    /// From now on this path leads elsewhere.
    pub fn redirect(&self, path: &str, to: &str) {
        self.answer(path, StatusCode::FOUND, Some(format!("{}{to}", self.origin)), "");
    }

    /// From now on nothing is there.
    pub fn take_away(&self, path: &str) {
        self.state.lock().unwrap().documents.remove(path);
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| *asked == path).count()
    }

    fn answer(&self, path: &str, status: StatusCode, location: Option<String>, text: &str) {
        let document = Document { status, location, text: text.to_owned() };
        self.state.lock().unwrap().documents.insert(path.to_owned(), document);
    }
}

fn answer(state: &Mutex<State>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut state = state.lock().unwrap();
    let path = request.uri().path().to_owned();
    let document = state.documents.get(&path).cloned();
    state.asked.push(path);
    let missing = Document { status: StatusCode::SERVICE_UNAVAILABLE, location: None, text: String::new() };
    let document = document.unwrap_or(missing);
    let mut response = Response::builder().status(document.status);
    if let Some(location) = document.location {
        response = response.header("location", location);
    }
    response.body(Full::from(document.text)).unwrap()
}
