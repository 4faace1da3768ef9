//! Every fault that the simulator knows, and what a download must come to under it. It makes none happen.

use std::time::Duration;

use ccgate::sim::Kind;

use crate::order::Expects::{self, Broken, File, FileOrRefused, Half, Refused};

/// The answer that a fault is to spoil.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub bytes: u64,
    /// A part of a file is asked for.
    pub in_part: bool,
    pub chunked: bool,
}

/// As many as [`of`] makes.
const KINDS: u32 = 33;

/// Any, and what must come of it.
pub fn any(shape: Shape, random: &mut fastrand::Rng) -> (Kind, Expects) {
    of(random.u32(..KINDS), shape, random)
}

/// The one of this number.
fn of(number: u32, shape: Shape, random: &mut fastrand::Rng) -> (Kind, Expects) {
    const PROTOCOL: Expects = Refused(502, "upstream_protocol");
    let at = random.u64(1..shape.bytes.max(2));
    let text = str::to_owned;
    match number {
        0 => (Kind::Retcode(text("104-005")), Refused(404, "recording_not_found")),
        1 => (Kind::Retcode(text("104-002")), Refused(403, "upstream_forbidden")),
        2 => (Kind::Retcode(text("000-002")), Refused(400, "upstream_bad_request")),
        3 => (Kind::Retcode(text("000-004")), Refused(503, "upstream_switching")),
        4 => (Kind::Retcode(text("108-001")), Refused(502, "upstream_refused")),
        5 => (
            Kind::Message { retcode: text("104-003"), message: text("Y:/secret/name.V3 \u{1b}[31m") },
            Refused(502, "upstream_refused"),
        ),
        6 => (Kind::Http(500), PROTOCOL),
        7 => (Kind::Http(302), PROTOCOL),
        8 => (Kind::HangBeforeHead, Refused(504, "upstream_timeout")),
        9 => (Kind::DelayHead(Duration::from_millis(500)), File),
        10 => (Kind::CutAt(at), Broken),
        11 => (Kind::CutCleanAt(at), Broken),
        12 => (Kind::StallAt(at), Broken),
        13 => (Kind::SlowBody { piece: 16 * 1024, every: Duration::from_millis(20) }, File),
        14 => (Kind::Rate(512 * 1024), File),
        15 => (Kind::ContentType(text("text/html")), PROTOCOL),
        16 => (Kind::ContentType(text("audio/wav")), File),
        17 => (Kind::BothFramings, PROTOCOL),
        18 => (Kind::TwoLengths, PROTOCOL),
        19 => (Kind::TransferEncoding(text("gzip, chunked")), PROTOCOL),
        20 => (Kind::TransferEncoding(text("chunked")), File),
        21 => (Kind::TransferEncoding(text("identity")), PROTOCOL),
        22 => (Kind::CloseDelimited, PROTOCOL),
        23 => (Kind::Switching101, PROTOCOL),
        // Asked for again over another connection, where this one had carried requests before: of a new one nobody can say
        // that it was closed for its age.
        24 => (Kind::Reset, FileOrRefused(502, "upstream_unreachable")),
        25 => (Kind::GarbageHead, PROTOCOL),
        26 => (Kind::JsonAsFile(text("104-005")), Refused(404, "recording_not_found")),
        27 => (Kind::HtmlPage, PROTOCOL),
        28 => (Kind::HugeHead, PROTOCOL),
        29 if shape.in_part => (Kind::ShortLength, PROTOCOL),
        29 => (Kind::ShortLength, Half),
        // What the part promises shows it.
        30 if shape.in_part && shape.chunked => (Kind::HalfBody, Broken),
        30 if shape.in_part => (Kind::HalfBody, PROTOCOL),
        30 => (Kind::HalfBody, Half),
        // Before the first byte nothing has been promised yet.
        31 => (Kind::CutAt(0), PROTOCOL),
        _ => (Kind::CutCleanAt(0), PROTOCOL),
    }
}

/// Any that a call about a session can get, small as its answer is.
pub fn any_short(random: &mut fastrand::Rng) -> Kind {
    // Below are those that are about a recording only.
    let shape = Shape { bytes: 30, in_part: false, chunked: false };
    match any(shape, random).0 {
        Kind::Retcode(_) => Kind::Retcode("000-000".to_owned()),
        Kind::Message { message, .. } => Kind::Message { retcode: "000-000".to_owned(), message },
        Kind::JsonAsFile(_) => Kind::JsonAsFile("000-000".to_owned()),
        Kind::Rate(_) => Kind::Rate(1_000),
        Kind::SlowBody { .. } => Kind::SlowBody { piece: 10, every: Duration::from_millis(50) },
        other => other,
    }
}

/// The name of a kind, as the simulator's control port has it.
pub fn name(kind: &Kind) -> String {
    match serde_json::to_value(kind).unwrap() {
        serde_json::Value::Object(object) => object.keys().next().unwrap().clone(),
        name => name.as_str().unwrap().to_owned(),
    }
}

#[test]
fn every_kind_of_fault_happens() {
    let mut random = fastrand::Rng::with_seed(1);
    let shape = Shape { bytes: 100, in_part: false, chunked: false };
    let happens: std::collections::BTreeSet<_> =
        (0..KINDS).map(|number| name(&of(number, shape, &mut random).0)).collect();
    // Those of `sim::Kind`: it has no list of itself, but its source has.
    let source = include_str!("../../src/sim/faults.rs");
    let (_, variants) = source.split_once("pub enum Kind {").unwrap();
    let variants = variants.split_once("\n}").unwrap().0;
    let first_letters = variants.lines().filter(|line| {
        line.strip_prefix("    ").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()))
    });
    assert_eq!(first_letters.count(), happens.len(), "{happens:?}");
}
