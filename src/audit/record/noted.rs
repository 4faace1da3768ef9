//! What is no download, as its record tells it.

use std::net::SocketAddr;

use serde::Serialize;

use super::From;
use crate::audit::cut::{Cuts, REASON_CHARS_MAX, WORDS_CHARS_MAX};
use crate::audit::event::{AdminDeed, Event, Person};
use crate::budget::Alert;
use crate::cc::{AgentId, GuidTag};

/// The record of an [`Event`].
#[derive(Serialize)]
#[serde(untagged)]
pub(in crate::audit) enum Noted<'a> {
    Started {
        version: &'static str,
        config_hash: &'a str,
    },
    Session {
        agent: AgentId,
        #[serde(skip_serializing_if = "Option::is_none")]
        guid_tag: Option<GuidTag>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retcode: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'static str>,
    },
    Admin {
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        from: From<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        level: Option<&'static str>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        refused: bool,
    },
    Read {
        command: &'a str,
        arguments: &'a str,
        by: By<'a>,
        #[serde(skip_serializing_if = "Cuts::is_empty")]
        cut: Cuts,
    },
    Budget {
        issuer: &'a str,
        subject: &'a str,
        limit: &'static str,
        used: u64,
        allowed: u64,
    },
    Config {
        config_hash: &'a str,
        generation: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        #[serde(skip_serializing_if = "Cuts::is_empty")]
        cut: Cuts,
    },
}

impl<'a> std::convert::From<&'a Event> for Noted<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Started { version, config_hash } => Self::Started { version, config_hash },
            Event::Session { agent, guid, retcode, detail, .. } => Self::Session {
                agent: *agent,
                guid_tag: *guid,
                retcode: retcode.as_ref().map(crate::cc::Retcode::as_str),
                detail: *detail,
            },
            Event::Admin { deed, agent, peer, certificate } => {
                let (level, refused) = match deed {
                    AdminDeed::LogLevel(level) => (*level, level.is_none()),
                    AdminDeed::SessionsRead | AdminDeed::SessionSignOut => (None, false),
                };
                let certificate = certificate.as_deref();
                Self::Admin { agent: *agent, from: From::peer(*peer), certificate, level, refused }
            }
            Event::Read { command, arguments, by } => {
                let mut cut = Cuts::default();
                let command = cut.words("command", command, WORDS_CHARS_MAX);
                let arguments = cut.words("arguments", arguments, REASON_CHARS_MAX);
                Self::Read { command, arguments, by: By::new(by, &mut cut), cut }
            }
            // Named as in the records of entries, so cut already.
            Event::Budget(Alert { issuer, subject, budget, used, limit }) => {
                Self::Budget { issuer, subject, limit: budget.as_str(), used: *used, allowed: *limit }
            }
            Event::Config { hash, generation, reason, .. } => {
                let mut cut = Cuts::default();
                let reason = reason.as_deref().map(|reason| cut.words("reason", reason, REASON_CHARS_MAX));
                Self::Config { config_hash: hash, generation: *generation, reason, cut }
            }
        }
    }
}

/// Who does something to the log.
#[derive(Serialize)]
pub(in crate::audit) struct By<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<&'a str>,
}

impl<'a> By<'a> {
    pub(in crate::audit) fn new(person: &'a Person, cut: &mut Cuts) -> Self {
        let Person { name, uid, peer, certificate } = person;
        let name = name.as_deref().map(|name| cut.words("by.name", name, WORDS_CHARS_MAX));
        Self { name, uid: *uid, peer: *peer, certificate: certificate.as_deref() }
    }
}

/// The record `stopped`.
#[derive(Serialize)]
pub(in crate::audit) struct Stopped {
    /// Entries that have no end; the next start gives them one.
    pub(in crate::audit) entries_open: u64,
}
