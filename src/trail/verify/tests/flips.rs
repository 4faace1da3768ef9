//! A log of 2,000 lines, changed by a single bit or cut at a single byte, again and again.

use super::*;
use crate::trail::SignedLine;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("small")
    }
}

/// Line feeds.
fn feeds(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').count() as u64 - 1
}

/// A flipped bit in a line is a damage of that line, and of no line farther than one away: a bit can make or break a line feed.
fn names_line(report: &Report, line: u64, first: u64) {
    assert!(!report.is_sound(), "line {line} is not found");
    for damage in &report.damages {
        let of_line = matches!(damage.kind, Kind::Edited | Kind::Inserted | Kind::Reordered);
        assert!(of_line, "line {line}: {damage:?}");
        assert!(
            damage.lines.is_some_and(|lines| lines.first >= line && lines.last <= line + 1),
            "line {line}: {damage:?}"
        );
        let seq = first + line - 1;
        let near = damage.seqs.is_none_or(|seqs| seqs.first <= seq + 1 && seqs.last + 1 >= seq);
        assert!(near, "line {line}: {damage:?}");
    }
}

#[test]
fn a_bit_in_every_byte_of_some_lines_is_found_at_its_line() {
    // Where it stands in the log is of no matter for one line's bytes: a short log is read quickly.
    let log = Log::of(600);
    let sound = fs::read(log.path(&segment_name(513))).expect("a segment");
    let mut dice = Dice(11);
    for line in [1_u64, 44, 80] {
        let lines: Vec<_> = sound.split_inclusive(|byte| *byte == b'\n').collect();
        let before = usize::try_from(line - 1).expect("small");
        let start: usize = lines[..before].iter().map(|line| line.len()).sum();
        for place in start..start + lines[before].len() {
            let bit = dice.below(8);
            log.with(&segment_name(513), |bytes| bytes[place] ^= 1 << bit, |report| names_line(&report, line, 513));
        }
    }
}

#[test]
fn random_bits_of_2000_lines_are_found_at_their_line() {
    let log = Log::of(2_000);
    let mut dice = Dice(5);
    for _ in 0..150 {
        let first = [1, 513, 1_025, 1_537][dice.below(4)];
        let name = segment_name(first);
        let sound = fs::read(log.path(&name)).expect("a segment");
        let (place, bit) = (dice.below(sound.len()), dice.below(8));
        let line = 1 + feeds(&sound[..place]);
        if place + 1 == sound.len() {
            continue;
        }
        log.with(&name, |bytes| bytes[place] ^= 1 << bit, |report| names_line(&report, line, first));
    }
}

#[test]
fn bits_of_checkpoints_tiles_and_keys_are_found_in_their_file() {
    let log = Log::of(600);
    let mut dice = Dice(3);
    for name in
        [CHECKPOINT_FILE, CHECKPOINTS_FILE, "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2", KEYS_FILE]
    {
        let sound = fs::read(log.path(name)).expect("a file");
        for _ in 0..60 {
            let (place, bit) = (dice.below(sound.len()), dice.below(8));
            let mut changed = sound.clone();
            changed[place] ^= 1 << bit;
            if says_the_same(name, &sound, &changed) {
                continue;
            }
            log.with(
                name,
                |bytes| *bytes = changed,
                |report| {
                    assert!(!report.is_sound(), "{name}: byte {place}, bit {bit}");
                    let fits = |damage: &Damage| match name {
                        KEYS_FILE => damage.kind == Kind::KeyUnknown,
                        CHECKPOINT_FILE | CHECKPOINTS_FILE => {
                            matches!(damage.kind, Kind::Checkpoint | Kind::KeyUnknown)
                                && damage.file.as_deref() == Some(name)
                        }
                        _ => damage.kind == Kind::Tile && damage.file.as_deref() == Some(name),
                    };
                    assert!(report.damages.iter().all(fits), "{name}: byte {place}, bit {bit}: {:#?}", report.damages);
                },
            );
        }
    }
}

/// A time is not signed, nor is where a start begins to read; and a key's comment is one.
fn says_the_same(name: &str, sound: &[u8], changed: &[u8]) -> bool {
    let lines = |bytes: &[u8]| -> Vec<Option<(u64, String)>> {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| serde_json::from_slice::<SignedLine>(line).ok().map(|line| (line.size, line.note))).collect()
    };
    let keys = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| crate::trail::parse_keys(text).ok());
    match name {
        CHECKPOINTS_FILE => lines(sound) == lines(changed),
        KEYS_FILE => keys(sound) == keys(changed),
        _ => false,
    }
}

#[test]
fn a_cut_at_every_byte_of_the_tail_is_found() {
    let log = Log::of(600);
    let name = segment_name(513);
    let sound = fs::read(log.path(&name)).expect("a segment");
    let mut dice = Dice(9);
    let near = sound.len() - 2_500..sound.len();
    let places: Vec<_> = near.chain((0..60).map(|_| dice.below(sound.len()))).collect();
    for place in places {
        let whole = feeds(&sound[..place]);
        log.with(
            &name,
            |bytes| bytes.truncate(place),
            |report| {
                assert_eq!(
                    (one(&report).kind, super::place(one(&report)).2),
                    (Kind::Truncated, Some((513 + whole, 600)))
                );
                let torn = place > 0 && sound[place - 1] != b'\n';
                assert_eq!(report.notes.iter().any(|note| note.about == About::TornTail), torn, "{place}");
            },
        );
    }
}

#[test]
fn a_cut_elsewhere_is_found() {
    let log = Log::of(2_000);
    let mut dice = Dice(21);
    for (first, next) in [(1, 513), (513, 1_025), (1_025, 1_537)] {
        let name = segment_name(first);
        let sound = fs::read(log.path(&name)).expect("a segment");
        for _ in 0..20 {
            let place = dice.below(sound.len());
            let whole = feeds(&sound[..place]);
            log.with(
                &name,
                |bytes| bytes.truncate(place),
                |report| {
                    // Without its first line the log begins later.
                    let wanted = (Kind::Removed, Some((first + whole, next - 1)));
                    assert_eq!((one(&report).kind, super::place(one(&report)).2), wanted);
                },
            );
        }
    }
    for name in [CHECKPOINTS_FILE, CHECKPOINT_FILE, "tile/0/000", "tile/1/000.p/7"] {
        let sound = fs::read(log.path(name)).expect("a file");
        for _ in 0..20 {
            let place = dice.below(sound.len());
            log.with(
                name,
                |bytes| bytes.truncate(place),
                |report| {
                    // Fewer checkpoints prove as much, but the list must not be older than the newest one by more than it.
                    let harmless = name == CHECKPOINTS_FILE;
                    assert!(harmless || !report.is_sound(), "{name}, {place}");
                },
            );
        }
    }
}
