//! Who takes part: agents by what happens to them, so that whatever goes wrong is somebody's whom it may happen to.

use std::ops::Range;

/// Nothing happens to these but what happens to the processes: each of their downloads must succeed.
pub const CALM: Range<u32> = 1001..1011;
/// The same, and their bodies come chunked.
pub const CHUNKED: Range<u32> = 1011..1014;
/// Their downloads get faults, one at a time, so that each answer can be held against its fault.
pub const FAULTY: Range<u32> = 1021..1025;
/// The second half of [`FAULTY`].
pub const FAULTY_CHUNKED: Range<u32> = 1023..1025;
/// Their sign-ins, keep-alives and sign-outs get faults, and others throw them out.
pub const TROUBLED: Range<u32> = 1031..1037;
/// The policy opens and closes itself to this one.
pub const CLOSED_AT_TIMES: u32 = 1041;
/// Somebody is signed in as this one all the time, and must stay so.
pub const HUMAN: u32 = 1051;
/// Listens to others' calls.
pub const INSPECTOR: u32 = 1061;

/// All of them.
pub fn everybody() -> Vec<u32> {
    let ranges = [CALM, CHUNKED, FAULTY, TROUBLED];
    ranges.into_iter().flatten().chain([CLOSED_AT_TIMES, HUMAN, INSPECTOR]).collect()
}

/// Those with nothing to lose their session by.
pub fn is_steady(agent: u32) -> bool {
    !TROUBLED.contains(&agent) && agent != HUMAN
}

/// Those whose bodies come chunked.
pub fn chunked() -> Vec<u32> {
    CHUNKED.chain(FAULTY_CHUNKED).collect()
}

pub fn is_chunked(agent: u32) -> bool {
    CHUNKED.contains(&agent) || FAULTY_CHUNKED.contains(&agent)
}
