//! When the writer writes: at once for somebody who waits alone, a little later for a crowd, and for records that nobody
//! waits for when somebody else comes, or soon.
//!
//! A write and its `fdatasync` cost the same for one record and for a hundred, so company is worth a short wait. It is one
//! that costs nothing: the thread sleeps, and what is sent meanwhile wakes nobody.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::message::Message;

/// How long somebody who waits is kept waiting for the others, where there is a crowd. Less than what the `fdatasync` of a
/// busy disk takes.
const COMPANY: Duration = Duration::from_millis(1);

/// How many downloads make a crowd: with fewer, there is little to win.
const CROWD: usize = 4;

/// How short ago the last one must have come: a hundred that run for minutes are no crowd. How many waited together says
/// nothing: on a single core the writer wakes for each.
const RECENT: Duration = Duration::from_millis(5);

/// How long a record that nobody waits for, such as a download's end, stays unwritten at most. A crash in that time leaves the
/// entry to the next start, which gives it the end `unknown`, as one that comes before its end is queued.
const PATIENCE: Duration = Duration::from_millis(5);

/// How many records nobody waits for are kept at most, before they are written.
const KEPT_MAX: usize = 128;

/// What is known of the crowd, and since when something is kept.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// When somebody waited the last time.
    waited: Option<Instant>,
    /// When the oldest record that is kept has to be written.
    due: Option<Instant>,
}

/// What to do with what has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Write it.
    Write,
    /// Sleep so long, take what has come meanwhile, and write all.
    Join(Duration),
    /// Wait for a message, so long at most, and ask again.
    Keep(Duration),
}

impl Gather {
    /// `waiting` wait for their records to be durable; `kept` records have nobody who waits; `running` downloads have an entry
    /// or want one, and have no end in hand. `now` is the time.
    pub(super) fn next(&mut self, waiting: usize, kept: usize, running: usize, now: Instant) -> Next {
        if waiting > 0 {
            let recent = self.waited.is_some_and(|waited| now.saturating_duration_since(waited) <= RECENT);
            return if recent && running >= CROWD { Next::Join(COMPANY) } else { Next::Write };
        }
        let due = *self.due.get_or_insert(now + PATIENCE);
        if kept == 0 || kept >= KEPT_MAX || due <= now { Next::Write } else { Next::Keep(due - now) }
    }

    /// All is written; `waited`: for somebody.
    pub(super) const fn written(&mut self, waited: bool, now: Instant) {
        if waited {
            self.waited = Some(now);
        }
        self.due = None;
    }
}

/// The writer's end of the queue, which can be waited at for a limited time.
pub(super) struct Inbox {
    messages: UnboundedReceiver<Message>,
    waker: Waker,
}

/// Wakes the writer's thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

impl Inbox {
    /// For the thread that calls this, and no other.
    pub(super) fn new(messages: UnboundedReceiver<Message>) -> Self {
        Self { messages, waker: Waker::from(Arc::new(Unpark(std::thread::current()))) }
    }

    /// Takes up to `max` messages as soon as there is one. `None` in `wait`: however long that takes. Returns how many; `None`
    /// when the time is over; 0 when nobody can send any more.
    pub(super) fn receive(&mut self, batch: &mut Vec<Message>, max: usize, wait: Option<Duration>) -> Option<usize> {
        let deadline = wait.map(|wait| Instant::now() + wait);
        loop {
            let mut context = Context::from_waker(&self.waker);
            if let Poll::Ready(count) = self.messages.poll_recv_many(&mut context, batch, max) {
                return Some(count);
            }
            // A wake-up that came since the look leaves a token, so it is not slept through.
            match deadline {
                None => std::thread::park(),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    std::thread::park_timeout(left);
                }
            }
        }
    }

    /// What has come meanwhile, up to `max` messages.
    pub(super) fn rest(&mut self, batch: &mut Vec<Message>, max: usize) {
        while batch.len() < max
            && let Ok(message) = self.messages.try_recv()
        {
            batch.push(message);
        }
    }

    /// The queue itself, for the orderly end.
    pub(super) fn into_inner(self) -> UnboundedReceiver<Message> {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    fn tick() -> Message {
        Message::Tick { at: jiff::Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn who_waits_alone_is_served_at_once_and_a_crowd_together() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert_eq!(gather.next(1, 0, CROWD, now), Next::Write, "nobody came before");
        gather.written(true, now);
        assert_eq!(gather.next(1, 1, 1, now), Next::Write, "one after the other");
        assert_eq!(gather.next(1, 0, CROWD, now + RECENT), Next::Join(COMPANY));
        gather.written(false, now + 2 * RECENT);
        let later = now + RECENT + Duration::from_millis(1);
        assert_eq!(gather.next(1, 0, 100, later), Next::Write, "they run and nobody comes");
    }

    #[test]
    fn what_nobody_waits_for_is_written_in_time_whatever_comes() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert_eq!(gather.next(0, 1, 9, now), Next::Keep(PATIENCE));
        // Later ones do not put it off.
        let later = now + PATIENCE / 2;
        assert_eq!(gather.next(0, 2, 9, later), Next::Keep(PATIENCE / 2));
        assert_eq!(gather.next(0, KEPT_MAX, 9, later), Next::Write, "there is a bound");
        assert_eq!(gather.next(0, 3, 9, now + PATIENCE), Next::Write);
        gather.written(false, now);
        assert_eq!(gather.next(0, 1, 9, now + PATIENCE), Next::Keep(PATIENCE), "the next one has its own time");
    }

    #[test]
    fn the_inbox_wakes_for_a_message_and_for_the_time() {
        let (sender, receiver) = unbounded_channel();
        let mut batch = Vec::new();
        let mut inbox = Inbox::new(receiver);
        assert_eq!(inbox.receive(&mut batch, 8, Some(Duration::from_millis(1))), None);
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            sender.send(tick()).expect("the inbox is there");
            sender.send(tick()).expect("the inbox is there");
        });
        let mut seen = 0;
        while seen < 2 {
            seen += inbox.receive(&mut batch, 8, None).expect("no limit was given");
        }
        other.join().expect("no panic");
        assert_eq!(inbox.receive(&mut batch, 8, None), Some(0), "nobody can send any more");
        assert_eq!(batch.len(), 2);
    }
}
