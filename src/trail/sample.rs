//! Makes sound logs for tests, step by step, with segments, tiles, checkpoints and keys as in the module's doc. It is
//! compiled for tests alone, and knows nothing of the writer, so that each can be held against the other.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::Ed25519KeyPair;

use crate::tlog::{Checkpoint, Hash, Signer, Tile, Tree, leaf_hash};
use crate::trail::{CHECKPOINT_FILE, CHECKPOINTS_FILE, KEYS_FILE, SignedLine, segment_name, tombstone_line, void_leaf};

/// The origin of logs that are made here.
pub(crate) const ORIGIN: &str = "ccgate.example/audit";

/// A second of this log: 2026-11-22T12:00:00Z.
const BEGUN: i64 = 1_795_348_800;

/// A log that grows.
pub(crate) struct Sample {
    dir: PathBuf,
    signer: Signer,
    tree: Tree,
    /// The lines of the segment that is written, not yet in its file.
    lines: Vec<u8>,
    segment: u64,
    entries: u128,
    random: u64,
}

impl Sample {
    /// Begins a log in an empty directory. The same `seed` gives the same records; keys are always new.
    pub(crate) fn begin(dir: &Path, seed: u64) -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        Self::signed_by(dir, seed, Signer::from_pkcs8(ORIGIN, key.as_ref()).expect("a signer"))
    }

    /// As [`Sample::begin`], signed as this one was, which has to be signed by then.
    pub(crate) fn anew(self, dir: &Path, seed: u64) -> Self {
        Self::signed_by(dir, seed, self.signer)
    }

    fn signed_by(dir: &Path, seed: u64, signer: Signer) -> Self {
        fs::write(dir.join(KEYS_FILE), format!("# the log's own keys\n{}\n", signer.verifier())).expect("written");
        let mut sample = Self {
            dir: dir.to_path_buf(),
            signer,
            tree: Tree::new(),
            lines: Vec::new(),
            segment: 1,
            entries: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        sample.record("audit.opened", &format!(r#""segment":"{}","origin":"{ORIGIN}""#, segment_name(1)));
        sample
    }

    /// A log with so many records, in segments and checkpoints of so many; all of it is signed.
    pub(crate) fn write(dir: &Path, records: u64, per_segment: u64, per_checkpoint: u64) -> Self {
        let mut sample = Self::begin(dir, records);
        while sample.size() < records {
            // Listenings are two records each: an even number before them keeps the sizes even.
            if sample.size() % 2 == 1 || records - sample.size() == 1 {
                sample.record("session.signed_in", r#""agent":"4977","retcode":"0""#);
            } else {
                sample.listening();
            }
            if sample.size().is_multiple_of(per_checkpoint) {
                sample.sign();
            }
            if sample.size().is_multiple_of(per_segment) && sample.size() < records {
                sample.rotate();
            }
        }
        if !records.is_multiple_of(per_checkpoint) {
            sample.sign();
        }
        sample
    }

    /// The key that verifies it.
    pub(crate) fn verifier(&self) -> String {
        self.signer.verifier().to_string()
    }

    /// Numbers so far.
    pub(crate) const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// An `authorized` and its end, of about 800 bytes each as real ones are. Returns the first one's number.
    pub(crate) fn listening(&mut self) -> u64 {
        let entry = self.authorized();
        let first = self.size();
        self.ended(entry);
        first
    }

    /// An `authorized`; returns its entry.
    pub(crate) fn authorized(&mut self) -> u128 {
        self.entries += 1;
        let entry = 0x0198_0000_0000_0000_0000_0000_0000_0000 + self.entries;
        let fields = format!(
            r#""entry":"{entry:032x}","request_id":"req-{n}","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","arrived_at":"2026-11-22T12:00:00.000000Z","from":{{"peer":"10.1.2.3:40000"}},"who":{{"issuer":"https://idp.example","subject":"alice","client_id":"web","agent":"4977","roles":["agent"],"token_tag":"00000000000000000000000000000000"}},"what":{{"operation":"recordfiledownloadEx","kind":"video","agent":"4977","reference":"file:Y:/90/0/20210519/4977/{n}.mp4","call_id":"1621413752-{n}","owner":"4977","vdn":90,"recorded_on":"2021-05-19"}},"why":{{"purpose":"Beschwerde 4711 über „Äpfel“"}},"decision":{{"effect":"allow","rule":"own","policy_hash":"{hash}"}},"session":{{"agent":"4977","guid_tag":"0123456789abcdef","kind":"own"}}"#,
            n = self.entries,
            hash = "ab".repeat(32),
        );
        self.record("authorized", &fields);
        entry
    }

    /// The end of an entry.
    pub(crate) fn ended(&mut self, entry: u128) -> u64 {
        let hash = leaf_hash(&entry.to_be_bytes());
        let fields = format!(
            r#""entry":"{entry:032x}","request_id":"req","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","issuer":"https://idp.example","subject":"alice","agent":"4977","reference":"file:Y:/90/0/20210519/4977/1.mp4","session":{{"agent":"4977","guid_tag":"0123456789abcdef","kind":"own"}},"attempts":1,"outcome":"finished","upstream":{{"status":200,"retcode":"0"}},"delivery":{{"class":"media","upstream_bytes":1642329,"client_bytes":1642329,"complete":true,"sha256":"{hash}","first_byte_us":12000,"duration_us":345000}}"#,
        );
        self.record("finished", &fields)
    }

    /// A record with these fields behind the first ones. Returns its number.
    pub(crate) fn record(&mut self, event: &str, fields: &str) -> u64 {
        let seq = self.size() + 1;
        let line = self.line(seq, event, fields);
        self.lines.extend_from_slice(line.as_bytes());
        self.lines.push(b'\n');
        self.leaf(leaf_hash(line.as_bytes()));
        seq
    }

    fn line(&mut self, seq: u64, event: &str, fields: &str) -> String {
        let ts = jiff::Timestamp::new(BEGUN + i64::try_from(seq / 1_000).expect("small"), 0).expect("a time");
        let salt = u128::from(self.next()) << 64 | u128::from(self.next());
        format!(r#"{{"v":1,"seq":{seq},"ts":"{ts:.6}","salt":"{salt:032x}","event":"{event}",{fields}}}"#)
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn leaf(&mut self, leaf: Hash) {
        let mut full = Vec::new();
        self.tree.push(leaf, &mut full);
        for tile in &full {
            self.tile(tile);
        }
    }

    fn tile(&self, tile: &Tile) {
        let path = self.dir.join(tile.id.path());
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, tile.encode()).expect("written");
    }

    /// Writes what there is, with the partial tiles, and signs it.
    pub(crate) fn sign(&mut self) {
        let size = self.size();
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: self.tree.root() };
        self.flush();
        for tile in self.tree.partial_tiles() {
            self.tile(&tile);
        }
        self.add_note(&checkpoint);
    }

    /// Signs whatever is given.
    pub(crate) fn add_note(&self, checkpoint: &Checkpoint) {
        let note = checkpoint.sign(&self.signer).to_string();
        let ts = jiff::Timestamp::new(BEGUN + 60, 0).expect("a time");
        let line = SignedLine { ts, size: checkpoint.size, scan_from: 1, note: note.clone() };
        let line = serde_json::to_string(&line).expect("JSON") + "\n";
        let list = self.dir.join(CHECKPOINTS_FILE);
        let mut list = OpenOptions::new().create(true).append(true).open(list).expect("opened");
        list.write_all(line.as_bytes()).expect("written");
        fs::write(self.dir.join(CHECKPOINT_FILE), note).expect("written");
    }

    /// Writes what there is.
    pub(crate) fn flush(&mut self) {
        let path = self.path();
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("opened");
        file.write_all(&self.lines).expect("written");
        self.lines.clear();
    }

    /// The segment that is written.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join(segment_name(self.segment))
    }

    /// Begins another segment.
    pub(crate) fn rotate(&mut self) {
        self.flush();
        self.segment = self.size() + 1;
    }

    /// A batch of so many numbers fails: their lines stand at the segment's end, and the next one begins with a gap record.
    pub(crate) fn fail(&mut self, count: u64) {
        let first = self.size() + 1;
        let last = self.size() + count;
        for seq in first..=last {
            let line = self.line(seq, "denied", r#""code":"token_expired""#);
            self.lines.extend_from_slice(line.as_bytes());
            self.lines.push(b'\n');
        }
        self.lines.extend_from_slice(br#"{"v":1,"se"#);
        self.void(count);
    }

    /// So many numbers never count, and none of their lines is there.
    pub(crate) fn void(&mut self, count: u64) {
        let (first, last) = (self.size() + 1, self.size() + count);
        self.flush();
        (first..=last).for_each(|seq| self.leaf(void_leaf(seq)));
        self.rotate();
        self.record("audit.gap", &format!(r#""reason":"write_failed","void":{{"first":{first},"last":{last}}}"#));
        self.flush();
    }

    /// The segment that is written is lost, and the next one begins with a gap record.
    pub(crate) fn lose(&mut self) {
        let (first, last) = (self.segment, self.size());
        self.flush();
        fs::remove_file(self.path()).expect("removed");
        self.rotate();
        let fields = format!(r#""reason":"segment_deleted","missing":{{"first":{first},"last":{last}}}"#);
        self.record("audit.gap", &fields);
    }

    /// Somebody answers for a loss.
    pub(crate) fn accept_missing(&mut self, first: u64, last: u64) {
        let fields = format!(
            r#""missing":{{"first":{first},"last":{last}}},"reason":"the disk broke","by":{{"uid":1000,"name":"anna"}}"#
        );
        self.record("audit.loss_accepted", &fields);
    }

    /// Somebody answers for records that are gone or were changed.
    pub(crate) fn accept_altered(&mut self, first: u64, last: u64) {
        let fields =
            format!(r#""altered":[{{"first":{first},"last":{last}}}],"reason":"restored","by":{{"uid":1000}}"#);
        self.record("audit.loss_accepted", &fields);
    }

    /// A process starts, in a segment of its own.
    pub(crate) fn open(&mut self) {
        self.rotate();
        let segment = segment_name(self.size() + 1);
        self.record("audit.opened", &format!(r#""segment":"{segment}","origin":"{ORIGIN}""#));
    }

    /// Orders an erasure and carries it out, in the order of a writer that can be killed between the two.
    pub(crate) fn erase(&mut self, seq: u64) {
        let (path, text) = self.segment_of(seq);
        let line =
            text.lines().find(|line| line.contains(&format!(r#","seq":{seq},"#))).expect("the record").to_owned();
        let leaf = leaf_hash(line.as_bytes());
        let fields = format!(
            r#""erased":[{{"seq":{seq},"leaf":"{leaf}"}}],"reason":"Art. 17","by":{{"uid":1000,"name":"anna"}}"#
        );
        self.record("audit.erased", &fields);
        self.sign();
        let text = fs::read_to_string(&path).unwrap_or(text);
        fs::write(path, text.replace(&line, &tombstone_line(seq, leaf))).expect("written");
    }

    /// Replaces a line without an order.
    pub(crate) fn erase_silently(&mut self, seq: u64) {
        let (path, text) = self.segment_of(seq);
        let line = text.lines().find(|line| line.contains(&format!(r#","seq":{seq},"#))).expect("the record");
        let line = line.to_owned();
        fs::write(path, text.replace(&line, &tombstone_line(seq, leaf_hash(line.as_bytes())))).expect("written");
    }

    /// Retention: orders that the records before a segment's first are removed, and removes them.
    pub(crate) fn prune(&mut self, before: u64) {
        self.record("audit.pruned", &format!(r#""first":1,"last":{},"segments":1"#, before - 1));
        self.sign();
        for segment in crate::trail::segments(&self.dir).expect("a directory") {
            if segment.first < before {
                fs::remove_file(segment.path).expect("removed");
            }
        }
    }

    fn segment_of(&mut self, seq: u64) -> (PathBuf, String) {
        self.flush();
        let all = crate::trail::segments(&self.dir).expect("a directory");
        let segment = all.iter().rev().find(|segment| segment.first <= seq).expect("a segment");
        (segment.path.clone(), fs::read_to_string(&segment.path).expect("text"))
    }
}
