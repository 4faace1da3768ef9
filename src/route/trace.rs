//! The trace that a request belongs to (W3C Trace Context, <https://www.w3.org/TR/trace-context/>), and its own place in it. It
//! holds nothing of who asks for what.

use std::sync::Arc;

use uuid::fmt::Simple;
use uuid::{Builder, Uuid};

use crate::random;

/// A trace as version 00 of `traceparent` has it (section 3.2), and the ids of the spans that this request is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent {
    /// 32 hex digits.
    trace: Arc<str>,
    /// The caller's span; 0 where the trace began here.
    parent: u64,
    /// This request.
    span: u64,
    /// The calls to the gateway that are made for it.
    call: u64,
    sampled: bool,
}

/// The flag by which a caller says that it records the trace, too (section 3.2.2.5.1).
const SAMPLED: u8 = 1;

impl TraceParent {
    /// Reads a header's value; `None` where it is malformed or all zeros. Of a later version it reads what version 00 knows
    /// (section 3.2.4).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, len: usize| {
            part.len() == len && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let some = |part: &str| part.bytes().any(|byte| byte != b'0');
        let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        let fits = known && hex(trace, 32) && some(trace) && hex(parent, 16) && some(parent) && hex(flags, 2);
        if !fits {
            return None;
        }
        let (parent, flags) = (u64::from_str_radix(parent, 16).ok()?, u8::from_str_radix(flags, 16).ok()?);
        Some(Self::here(trace.into(), parent, flags & SAMPLED != 0))
    }

    /// A trace that begins here; `sampled`: whether it is recorded.
    pub fn begin(sampled: bool) -> Self {
        Self::here(simple(random_uuid()), 0, sampled)
    }

    fn here(trace: Arc<str>, parent: u64, sampled: bool) -> Self {
        let (span, call) = random_uuid().as_u64_pair();
        Self { trace, parent, span: span | 1, call: call | 1, sampled }
    }

    /// The trace's id: 32 hex digits.
    pub fn trace_id(&self) -> &str {
        &self.trace
    }

    /// Whether the caller, or the one who began it here, wants it recorded.
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The caller's span; `None` where the trace began here.
    pub const fn parent(&self) -> Option<u64> {
        if self.parent == 0 { None } else { Some(self.parent) }
    }

    /// The span of this request.
    pub const fn span(&self) -> u64 {
        self.span
    }

    /// The span of the calls that are made on behalf of it.
    pub const fn call(&self) -> u64 {
        self.call
    }

    /// The header for a call made on behalf of this request: the same trace, sampled or not, with the call's span as the
    /// parent. Flags that version 00 does not know are not passed on (section 3.2.4).
    pub fn child(&self) -> String {
        format!("00-{}-{:016x}-{:02x}", self.trace, self.call, u8::from(self.sampled))
    }
}

/// A random UUID (RFC 9562, version 4). Where the pool has none the library asks the system itself.
pub(super) fn random_uuid() -> Uuid {
    random::bytes().map_or_else(|_unspecified| Uuid::new_v4(), |bytes| Builder::from_random_bytes(bytes).into_uuid())
}

/// A UUID's 32 hex digits.
pub(super) fn simple(id: Uuid) -> Arc<str> {
    Arc::from(&*id.simple().encode_lower(&mut [0; Simple::LENGTH]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_continued_under_a_new_parent() {
        let trace = TraceParent::parse(TEXT).expect("the example of the specification");
        assert_eq!(
            (trace.trace_id(), trace.parent()),
            ("4bf92f3577b34da6a3ce929d0e0e4736", Some(0x00f0_67aa_0ba9_02b7))
        );
        let child = TraceParent::parse(&trace.child()).expect("well formed");
        assert_eq!((child.trace_id(), child.is_sampled()), (trace.trace_id(), true));
        assert_eq!(child.parent(), Some(trace.call()), "a call stands below its own span");
        assert_ne!(trace.span(), trace.call());
        for bad in [
            "",
            "00-0-0-0",
            &TEXT.replace("00-4", "ff-4"),
            &TEXT.replace("00-4", "0-4"),
            &TEXT.replace("-01", "-01x"),
            &format!("{TEXT}-x").replace("00-4", "01-4").replace("-01-x", "-1-x"),
            &TEXT.to_uppercase(),
            &format!("{TEXT}-x"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn of_a_later_version_and_of_flags_what_version_00_knows_goes_on() {
        let later = TEXT.replace("00-4", "cc-4");
        for (text, sampled) in [
            (later.clone(), true),
            (format!("{later}-what-the-future-will-be-like"), true),
            (later.replace("-01", "-fe"), false),
            (TEXT.replace("-01", "-ff"), true),
        ] {
            let trace = TraceParent::parse(&text).expect(&text);
            assert_eq!((trace.is_sampled(), trace.parent()), (sampled, Some(0x00f0_67aa_0ba9_02b7)), "{text}");
            let child = trace.child();
            assert!(
                child.starts_with("00-4bf92f35") && child.ends_with(if sampled { "-01" } else { "-00" }),
                "{child}"
            );
        }
    }

    #[test]
    fn a_trace_that_begins_here_has_no_parent() {
        for sampled in [true, false] {
            let trace = TraceParent::begin(sampled);
            assert_eq!((trace.parent(), trace.is_sampled()), (None, sampled));
            let child = TraceParent::parse(&trace.child()).expect("well formed");
            assert_eq!((child.trace_id(), child.is_sampled()), (trace.trace_id(), sampled));
        }
        assert_ne!(TraceParent::begin(true).trace_id(), TraceParent::begin(true).trace_id());
    }
}
