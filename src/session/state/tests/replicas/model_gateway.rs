//! One agent's session as the gateway's manual says, without a server: one sign-in, Guids that are replaced, time-outs.
//! It judges nothing: what happens against the rules it notes, for whoever knows who was to blame.

use std::time::Duration;

/// A session's Guid: which sign-in it came from, and how often it was replaced since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Number {
    pub(super) sign_in: u64,
    pub(super) index: u64,
}

/// Names a call.
pub(super) type Token = u64;

const MAXTIME: Duration = Duration::from_mins(2);
const POLL_PAUSE: Duration = Duration::from_millis(200);

/// What is against the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// A sign-in or a sign-out while that call is unanswered.
    Overlap { unanswered: Token },
    /// A sign-in while this session lives.
    SecondSignIn { lives: Number },
    /// A forced sign-in ended it.
    ThrownOut { lived: Number },
    /// While that poll is unanswered.
    PollsOverlap { unanswered: Token },
    /// So soon after the answer of this one.
    PollTooFast { after: Token },
    /// Replaced, and so was its successor; since when.
    Overtaken { current: Number, since: u64 },
    /// Of a session that ended in a way the client knows.
    AfterSignOut,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    SignedOut,
    TimedOut,
    Forced,
    /// Somebody else, or a restart of the gateway.
    Taken,
}

#[derive(Debug, Clone)]
pub(super) struct Lives {
    pub(super) guid: Number,
    issued: u64,
    /// When the Guid before was replaced, while it is still taken.
    previous: Option<u64>,
    /// When the Guid before that was.
    overtaken: u64,
    last_request: u64,
    polling: Option<Token>,
    last_poll_answer: Option<(u64, Token)>,
}

pub(super) struct ModelGateway {
    /// Times in microseconds.
    interval: u64,
    timeout: u64,
    /// Its word for a Guid that it does not know.
    dead_guid: &'static str,
    pub(super) session: Option<Lives>,
    /// Somebody else is signed in.
    pub(super) elsewhere: bool,
    sign_ins: u64,
    unanswered: Vec<Token>,
    pub(super) notes: Vec<Note>,
    deaths: Vec<(Number, Death)>,
    deaths_told: usize,
}

impl ModelGateway {
    pub(super) fn new(interval: Duration, timeout: Duration, dead_guid: &'static str) -> Self {
        Self {
            interval: micros(interval),
            timeout: micros(timeout),
            dead_guid,
            session: None,
            elsewhere: false,
            sign_ins: 0,
            unanswered: Vec::new(),
            notes: Vec::new(),
            deaths: Vec::new(),
            deaths_told: 0,
        }
    }

    /// A sign-in or a sign-out arrives.
    pub(super) fn begin(&mut self, call: Token) -> Result<(), &'static str> {
        self.notes.extend(self.unanswered.iter().map(|unanswered| Note::Overlap { unanswered: *unanswered }));
        if !self.unanswered.is_empty() {
            return Err("000-007");
        }
        self.unanswered.push(call);
        Ok(())
    }

    /// It is answered.
    pub(super) fn end(&mut self, call: Token) {
        self.unanswered.retain(|unanswered| *unanswered != call);
    }

    pub(super) fn sign_in(&mut self, now: u64, forced: bool) -> Result<Number, &'static str> {
        self.expire(now);
        let lives = self.session.as_ref().map(|session| session.guid);
        if forced {
            self.notes.extend(lives.map(|lived| Note::ThrownOut { lived }));
            self.die(Death::Forced);
            self.elsewhere = false;
        } else if let Some(lives) = lives {
            self.notes.push(Note::SecondSignIn { lives });
            return Err("100-002");
        } else if self.elsewhere {
            return Err("100-002");
        }
        self.sign_ins += 1;
        let guid = Number { sign_in: self.sign_ins, index: 0 };
        self.session = Some(Lives {
            guid,
            issued: now,
            previous: None,
            overtaken: now,
            last_request: now,
            polling: None,
            last_poll_answer: None,
        });
        Ok(guid)
    }

    /// Any request with this Guid.
    pub(super) fn check(&mut self, now: u64, guid: Number) -> Result<&mut Lives, &'static str> {
        self.expire(now);
        let dead = self.deaths.iter().find(|(dead, _)| dead.sign_in == guid.sign_in).map(|(_, death)| *death);
        let Some(session) = self.session.as_mut().filter(|session| session.guid.sign_in == guid.sign_in) else {
            if dead == Some(Death::SignedOut) {
                self.notes.push(Note::AfterSignOut);
            }
            return Err(self.dead_guid);
        };
        let current = session.guid;
        let taken = guid.index == current.index || (guid.index + 1 == current.index && session.previous.is_some());
        if !taken {
            let since = if guid.index + 2 == current.index { session.overtaken } else { 0 };
            self.notes.push(Note::Overtaken { current, since });
            return Err(self.dead_guid);
        }
        session.last_request = now;
        Ok(session)
    }

    pub(super) fn sign_out(&mut self, now: u64, guid: Number) -> Result<(), &'static str> {
        self.check(now, guid)?;
        self.die(Death::SignedOut);
        Ok(())
    }

    pub(super) fn begin_poll(&mut self, now: u64, guid: Number, call: Token) -> Result<(), &'static str> {
        let session = self.check(now, guid)?;
        if let Some(unanswered) = session.polling {
            self.notes.push(Note::PollsOverlap { unanswered });
            return Err("000-007");
        }
        session.polling = Some(call);
        if let Some((last, after)) = session.last_poll_answer
            && now - last < micros(POLL_PAUSE)
        {
            self.notes.push(Note::PollTooFast { after });
        }
        Ok(())
    }

    /// Its time is over, or its session is: the new Guid where it was replaced. `None`: its client has gone.
    pub(super) fn end_poll(&mut self, now: u64, guid: Number, call: Token) -> Result<Option<Number>, &'static str> {
        let session = self.session.as_mut().filter(|session| session.guid.sign_in == guid.sign_in);
        let Some(session) = session.filter(|session| session.polling == Some(call)) else { return Err(self.dead_guid) };
        (session.polling, session.last_request, session.last_poll_answer) = (None, now, Some((now, call)));
        Ok(self.rotate_when_due(now))
    }

    pub(super) fn drop_poll(&mut self, now: u64, call: Token) {
        if let Some(session) = self.session.as_mut().filter(|session| session.polling == Some(call)) {
            (session.polling, session.last_request) = (None, now);
        }
    }

    pub(super) fn heartbeat(&mut self, now: u64, guid: Number) -> Result<Option<Number>, &'static str> {
        self.check(now, guid)?;
        Ok(self.rotate_when_due(now))
    }

    fn rotate_when_due(&mut self, now: u64) -> Option<Number> {
        let session = self.session.as_mut()?;
        if now - session.issued < self.interval {
            return None;
        }
        session.guid.index += 1;
        session.issued = now;
        (session.previous, session.overtaken) = (Some(now), now);
        Some(session.guid)
    }

    /// Whether the Guid is taken.
    pub(super) fn takes(&self, guid: Number) -> bool {
        self.session.as_ref().is_some_and(|session| {
            let before = guid.index + 1 == session.guid.index && session.previous.is_some();
            guid == session.guid || (guid.sign_in == session.guid.sign_in && before)
        })
    }

    /// Lets what is over end.
    pub(super) fn expire(&mut self, now: u64) {
        let timeout = self.timeout;
        let Some(session) = &mut self.session else { return };
        session.previous = session.previous.filter(|replaced| now - replaced < timeout);
        if session.polling.is_none() && now - session.last_request >= micros(MAXTIME) {
            self.die(Death::TimedOut);
        }
    }

    /// The sessions that ended since this was last asked.
    pub(super) fn fresh_deaths(&mut self) -> Vec<(Number, Death)> {
        let fresh = self.deaths[self.deaths_told..].to_vec();
        self.deaths_told = self.deaths.len();
        fresh
    }

    pub(super) fn die(&mut self, death: Death) {
        if let Some(session) = self.session.take() {
            self.deaths.push((session.guid, death));
        }
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("a time of a test")
}
