//! The house rules as tables: who may import whom, what a module must never name, how a file must look. No logic.

/// The line: a module imports only from its left.
pub(crate) const LINE: [&str; 26] = [
    "cc",
    "clock",
    "random",
    "ready",
    "room",
    "series",
    "yaml",
    "net",
    "tlog",
    "trail",
    "route",
    "authn",
    "policy",
    "budget",
    "audit",
    "ship",
    "upstream",
    "session",
    "relay",
    "serve",
    "admin",
    "config",
    "telemetry",
    "app",
    "demo",
    "cli",
];

/// Stands apart from the line: imports nothing of the crate.
pub(crate) const APART: [&str; 1] = ["sim"];

/// Pure vocabulary without a word of the vendor: every module to their right may use it.
pub(crate) const FOR_ALL: [&str; 5] = ["clock", "random", "ready", "room", "series"];

/// What each module may import beside [`FOR_ALL`].
pub(crate) const IMPORTS: [(&str, Allowed); 27] = [
    ("cc", Allowed::These(&[])),
    ("clock", Allowed::These(&[])),
    ("random", Allowed::These(&[])),
    ("ready", Allowed::These(&[])),
    ("room", Allowed::These(&[])),
    ("series", Allowed::These(&[])),
    ("yaml", Allowed::These(&[])),
    ("net", Allowed::These(&[])),
    ("tlog", Allowed::These(&[])),
    // An auditor's tool could be made of these two alone.
    ("trail", Allowed::These(&["tlog"])),
    // A connection's verified client certificate is part of where a request came from.
    ("route", Allowed::These(&["cc", "net"])),
    // The agent claim is parsed into an `AgentId`, so that nobody right of here holds an unchecked one.
    ("authn", Allowed::These(&["cc", "net"])),
    ("policy", Allowed::These(&["cc", "yaml", "route", "authn"])),
    // Who takes what in whose session, from a permission.
    ("budget", Allowed::These(&["cc", "route", "authn", "policy"])),
    // A permission hands out its caller, its download and their circumstances: the record is made of them. An entry is opened
    // with one that has room, and keeps that until its end.
    ("audit", Allowed::These(&["cc", "tlog", "trail", "route", "authn", "policy", "budget"])),
    ("ship", Allowed::These(&["net", "tlog", "trail", "audit"])),
    ("upstream", Allowed::These(&["cc", "net", "route", "audit"])),
    // Replicas tell each other what was taken over the store that they share.
    ("session", Allowed::These(&["cc", "yaml", "budget", "upstream"])),
    // A transfer holds its session, so that it is not signed out while bytes run.
    ("relay", Allowed::These(&["cc", "audit", "upstream", "session"])),
    ("serve", Allowed::AllLeft),
    // Operators name agents, and show certificates.
    ("admin", Allowed::These(&["cc", "net"])),
    ("config", Allowed::AllLeft),
    // Spans are told by `serve`, and sent by the client of `net`.
    ("telemetry", Allowed::These(&["net", "route", "serve", "config"])),
    ("app", Allowed::AllLeft),
    ("demo", Allowed::AllLeft),
    // `route` and `authn`: what `policy explain` asks about is read by the same code as a request. `cc`, `upstream` and
    // `session`: `check --online` signs an agent in as a session does. `net` and `admin`: `sessions` asks the admin plane.
    (
        "cli",
        Allowed::These(&[
            "cc",
            "net",
            "tlog",
            "trail",
            "route",
            "authn",
            "policy",
            "audit",
            "ship",
            "upstream",
            "session",
            "admin",
            "config",
            "telemetry",
            "app",
            "demo",
            "sim",
        ]),
    ),
    ("sim", Allowed::These(&[])),
];

/// A row of [`IMPORTS`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowed {
    AllLeft,
    These(&'static [&'static str]),
}

/// Something that must not be named in some files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ban {
    /// Files whose path under `src` starts so; empty: all.
    pub(crate) within: &'static [&'static str],
    /// Files whose path under `src` starts so are let off.
    pub(crate) but: &'static [&'static str],
    pub(crate) what: What,
    pub(crate) why: &'static str,
}

/// How a path is matched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    StartsWith(&'static [&'static str]),
    EndsWith(&'static [&'static str]),
}

use What::{EndsWith, StartsWith};

const SERVE: &[&str] = &["serve"];
const OFFLINE: &[&str] = &["audit/writer", "audit/recover", "audit/notary", "audit/segment", "tlog", "trail"];
const PURE: &[&str] = &["cc"];
const DECISIONS: &[&str] = &["policy"];
const EVERYWHERE: &[&str] = &[];

/// What must never be named, and where.
pub(crate) const BANS: [Ban; 27] = [
    Ban { within: EVERYWHERE, but: &[], what: EndsWith(&["tokio", "spawn"]), why: "an unowned task" },
    Ban { within: EVERYWHERE, but: &[], what: EndsWith(&["task", "spawn"]), why: "an unowned task" },
    Ban { within: EVERYWHERE, but: &[], what: EndsWith(&["task", "spawn_local"]), why: "an unowned task" },
    Ban { within: EVERYWHERE, but: &["clock"], what: EndsWith(&["SystemTime", "now"]), why: "time from `clock` only" },
    Ban { within: EVERYWHERE, but: &["clock"], what: EndsWith(&["Timestamp", "now"]), why: "time from `clock` only" },
    Ban { within: EVERYWHERE, but: &[], what: StartsWith(&["std", "time", "Instant"]), why: "a test cannot pause it" },
    Ban {
        within: EVERYWHERE,
        but: &[],
        what: StartsWith(&["prometheus", "default_registry"]),
        why: "a global registry",
    },
    Ban { within: EVERYWHERE, but: &[], what: StartsWith(&["prometheus", "register"]), why: "a global registry" },
    Ban {
        within: EVERYWHERE,
        but: &["authn", "cli/explain"],
        what: EndsWith(&["supposed_caller"]),
        why: "a caller without a verified token",
    },
    Ban { within: SERVE, but: &[], what: StartsWith(&["std", "fs"]), why: "file IO in serve" },
    Ban { within: SERVE, but: &[], what: StartsWith(&["tokio", "fs"]), why: "file IO in serve" },
    Ban { within: SERVE, but: &[], what: StartsWith(&["rustix", "fs"]), why: "file IO in serve" },
    Ban { within: OFFLINE, but: &[], what: StartsWith(&["std", "net"]), why: "network in the audit log's own files" },
    Ban { within: OFFLINE, but: &[], what: StartsWith(&["tokio", "net"]), why: "network in the audit log's own files" },
    Ban { within: OFFLINE, but: &[], what: StartsWith(&["hyper"]), why: "network in the audit log's own files" },
    Ban { within: OFFLINE, but: &[], what: StartsWith(&["hyper_util"]), why: "network in the audit log's own files" },
    Ban { within: PURE, but: &[], what: StartsWith(&["tokio"]), why: "a runtime in the vocabulary" },
    Ban { within: PURE, but: &[], what: StartsWith(&["hyper"]), why: "IO in the vocabulary" },
    Ban { within: PURE, but: &[], what: StartsWith(&["std", "fs"]), why: "IO in the vocabulary" },
    Ban { within: PURE, but: &[], what: StartsWith(&["std", "net", "TcpStream"]), why: "IO in the vocabulary" },
    Ban { within: PURE, but: &[], what: StartsWith(&["std", "io", "Read"]), why: "IO in the vocabulary" },
    Ban { within: DECISIONS, but: &[], what: StartsWith(&["tokio"]), why: "same input, same decision" },
    Ban { within: DECISIONS, but: &[], what: StartsWith(&["hyper"]), why: "same input, same decision" },
    Ban {
        within: DECISIONS,
        but: &[],
        what: StartsWith(&["std", "net", "TcpStream"]),
        why: "same input, same decision",
    },
    Ban { within: DECISIONS, but: &[], what: StartsWith(&["uuid"]), why: "randomness in a decision" },
    Ban { within: DECISIONS, but: &[], what: StartsWith(&["crate", "random"]), why: "randomness in a decision" },
    Ban { within: DECISIONS, but: &[], what: StartsWith(&["aws_lc_rs", "rand"]), why: "randomness in a decision" },
];

/// Most lines of a file, tests included.
pub(crate) const MAX_LINES: usize = 500;

/// Names that say nothing of what lives behind them, for files and folders.
pub(crate) const BANNED_NAMES: [&str; 10] =
    ["utils", "util", "common", "helpers", "helper", "misc", "types", "globals", "constants", "prelude"];
