//! A source of keys that a test steers: each fetch takes the next scripted answer, the last one stays.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::authn::KeysError;
use crate::net;

/// What a fetch gives.
#[derive(Clone)]
pub(in crate::authn) enum Answer {
    Set(String),
    Down,
    /// Never ends by itself.
    Hang,
}

/// The scripted source.
pub(in crate::authn) struct Script {
    answers: Mutex<VecDeque<Answer>>,
    delay: Duration,
    fetches: AtomicUsize,
    running: AtomicUsize,
    running_max: AtomicUsize,
}

impl Script {
    pub(in crate::authn) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            answers: Mutex::new(answers.into_iter().collect()),
            delay: Duration::from_millis(100),
            fetches: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
        }
    }

    /// From now on every fetch gives this.
    pub(in crate::authn) fn set(&self, answer: Answer) {
        *self.answers.lock().unwrap() = [answer].into();
    }

    pub(in crate::authn) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Most fetches that ran at once.
    pub(in crate::authn) fn running_max(&self) -> usize {
        self.running_max.load(Ordering::SeqCst)
    }

    pub(in crate::authn) async fn fetch(&self) -> Result<Bytes, KeysError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_max.fetch_max(running, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        };
        if matches!(answer, Some(Answer::Hang)) {
            std::future::pending::<()>().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        match answer {
            Some(Answer::Set(text)) => Ok(Bytes::from(text)),
            _ => Err(KeysError::Get(net::Error::Timeout)),
        }
    }
}
