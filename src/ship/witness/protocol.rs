//! The words of C2SP `tlog-witness`, add-checkpoint: what is sent to a witness, and what its answer means. It sends nothing.

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;

use crate::net;
use crate::tlog::{CosignatureError, Hash, Note, Signature, WitnessKey};

/// Longest answer that is read, in bytes: some hundred signatures.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// Why a checkpoint is not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The witness can't be reached, or what it says is no HTTP.
    #[error("the witness cannot be asked")]
    Net(#[source] net::Error),
    /// No whole answer in time.
    #[error("the witness has not answered within {0:?}")]
    Timeout(Duration),
    /// The witness has another log in mind under this name: the one that it has cosigned is not continued by ours.
    #[error("the witness refuses: this is not the log whose first {0} records it has cosigned")]
    Rewritten(u64),
    /// The witness has cosigned more than there is.
    #[error("the log has {size} records, but the witness has cosigned {cosigned}: it was put back")]
    PutBack {
        /// Records that the checkpoint is over.
        size: u64,
        /// Records that the witness has cosigned.
        cosigned: u64,
    },
    /// 404.
    #[error("the witness does not know the log: its operator has to add the log's name and key (audit.pub)")]
    LogUnknown,
    /// 403.
    #[error("the witness does not know the log's key: its operator has to add it (audit.pub)")]
    KeyUnknown,
    /// 409 for the size that it has just asked for.
    #[error("the witness does not agree with itself on the size that it has cosigned")]
    Disagrees,
    /// Any other status.
    #[error("the witness answers {0}")]
    Status(StatusCode),
    /// 200 without a signature that verifies.
    #[error("the witness's answer is not taken")]
    Cosignature(#[source] CosignatureError),
    /// 200, and what follows are no signatures.
    #[error("the witness's answer is not made of signatures")]
    Answer,
    /// The log's own tiles do not make the root that it has signed: no proof can be made of them.
    #[error("the log's tiles do not fit its checkpoint: there is no proof for the witness")]
    Tiles,
    /// The log's directory can't be read or written.
    #[error("the log's directory cannot be used")]
    Disk(#[source] std::io::Error),
}

impl Error {
    /// Whether it says that this is another log than the one that was cosigned.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Rewritten(_) | Self::PutBack { .. })
    }
}

/// What a witness says to a checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its signature, verified.
    Cosigned(Signature),
    /// It wants a proof from this size on.
    From(u64),
}

/// The body of a request. A proof has at most 63 hashes, since no log has 2^62 records.
pub(super) fn request(old: u64, proof: &[Hash], note: &str) -> String {
    let mut body = format!("old {old}\n");
    for hash in proof {
        // Writing to a string does not fail.
        let _ = writeln!(body, "{}", hash.to_base64());
    }
    body.push('\n');
    body.push_str(note);
    body
}

/// Reads the answer to a request that proved the way from `old` to `size`, the size of `note`.
pub(super) fn answer(
    status: StatusCode,
    body: &[u8],
    (old, size): (u64, u64),
    note: &Note,
    key: &WitnessKey,
) -> Result<Answer, Error> {
    match status {
        StatusCode::OK => cosignature(body, note, key).map(Answer::Cosigned),
        StatusCode::CONFLICT => match tree_size(body) {
            Some(cosigned) if cosigned > size => Err(Error::PutBack { size, cosigned }),
            Some(cosigned) if cosigned != old => Ok(Answer::From(cosigned)),
            // The size is the same and the root is not. No body is promised for that.
            _ if old == size => Err(Error::Rewritten(size)),
            _ => Err(Error::Disagrees),
        },
        // The proof was verified here: it begins at another root than the one that the witness knows.
        StatusCode::UNPROCESSABLE_ENTITY => Err(Error::Rewritten(old)),
        StatusCode::NOT_FOUND => Err(Error::LogUnknown),
        StatusCode::FORBIDDEN => Err(Error::KeyUnknown),
        status => Err(Error::Status(status)),
    }
}

/// The witness's signature among those in an answer. Those of other keys are left alone.
fn cosignature(body: &[u8], note: &Note, key: &WitnessKey) -> Result<Signature, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::Answer)?;
    let lines = text.strip_suffix('\n').ok_or(Error::Answer)?.split('\n');
    let signatures = lines.map(Signature::parse).collect::<Option<Vec<_>>>().ok_or(Error::Answer)?;
    let own = signatures.into_iter().find(|signature| key.made(signature));
    let own = own.ok_or(Error::Cosignature(CosignatureError::Missing))?;
    key.verify(note.unverified_text(), &own).map_err(Error::Cosignature)?;
    Ok(own)
}

/// A size in decimal, without leading zeroes, and a line feed.
fn tree_size(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    text.parse::<u64>().ok().filter(|size| size.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by another implementation of Ed25519.
    const KEY: &str = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const NOTE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} \
                        example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGk\
                        u9nTo+zyWE+xeMcTOAYQ8=\n";
    const GOOD: &str = "\u{2014} witness.example/w1 519lMgAAAABkGFDLBuRDazBLVac2NE+Y+IjbjQOcXLfF9CSDZVUIoS83rE1nFZsVE8YiWV6\
                        Ngr7lV8H6bdoBQGP/l73euDMQ9k+bBQ==\n";
    const OTHER: &str = "\u{2014} witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC\
                         3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==\n";

    fn judged(status: u16, body: &str, old: u64) -> Result<Answer, String> {
        let (note, key) = (Note::parse(NOTE).expect("a note"), KEY.parse().expect("a key"));
        let status = StatusCode::from_u16(status).expect("a status");
        answer(status, body.as_bytes(), (old, 20_852_163), &note, &key).map_err(|error| super::super::causes(&error))
    }

    #[test]
    fn a_request_is_the_one_of_the_specification() {
        let hash = |text| Hash::from_base64(text).expect("a hash");
        let proof = [
            hash("PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw="),
            hash("jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk="),
        ];
        let wanted = format!(
            "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\n{NOTE}"
        );
        assert_eq!(request(20_852_014, &proof, NOTE), wanted);
        assert_eq!(request(0, &[], NOTE), format!("old 0\n\n{NOTE}"));
    }

    #[test]
    fn a_cosignature_is_found_among_those_of_others_and_verified() {
        for body in [GOOD.to_owned(), format!("{OTHER}{GOOD}"), format!("{GOOD}{OTHER}")] {
            let Ok(Answer::Cosigned(found)) = judged(200, &body, 7) else { panic!("{body}") };
            assert_eq!(format!("{found}\n"), GOOD);
        }
        let unsigned = "the witness's answer is not taken: it is not cosigned by this witness";
        let wrong = "the witness's answer is not taken: the witness's cosignature is wrong";
        let none = "the witness's answer is not made of signatures";
        let (unsigned, wrong, none) = (Err(unsigned.to_owned()), Err(wrong.to_owned()), Err(none.to_owned()));
        assert_eq!(judged(200, OTHER, 7), unsigned);
        assert_eq!(judged(200, &GOOD.replace("kGFDL", "kGFDM"), 7), wrong);
        for body in ["", "\n", GOOD.trim_end(), "<html>\n", &format!("{GOOD}\n")] {
            assert_eq!(judged(200, body, 7), none, "{body:?}");
        }
    }

    #[test]
    fn a_conflict_asks_for_another_proof_or_is_a_refusal() {
        let size = 20_852_163;
        assert_eq!(judged(409, "20852014\n", 7), Ok(Answer::From(20_852_014)));
        assert_eq!(judged(409, "0\n", 7), Ok(Answer::From(0)));
        assert_eq!(judged(409, "20852163\n", 7), Ok(Answer::From(size)));
        let put_back = "the log has 20852163 records, but the witness has cosigned 20852164: it was put back";
        assert_eq!(judged(409, "20852164\n", 7), Err(put_back.to_owned()));
        let rewritten = "the witness refuses: this is not the log whose first 20852163 records it has cosigned";
        for body in ["20852163\n", "", "conflict\n"] {
            assert_eq!(judged(409, body, size), Err(rewritten.to_owned()), "{body}");
        }
        let disagrees = "the witness does not agree with itself on the size that it has cosigned";
        for body in ["7\n", "", "8", "08\n", "+8\n", "-8\n", " 8\n", "8\n\n", "99999999999999999999\n"] {
            assert_eq!(judged(409, body, 7), Err(disagrees.to_owned()), "{body:?}");
        }
    }

    #[test]
    fn each_status_has_its_meaning() {
        for (status, wanted) in [
            (422, "the witness refuses: this is not the log whose first 7 records it has cosigned"),
            (404, "the witness does not know the log: its operator has to add the log's name and key (audit.pub)"),
            (403, "the witness does not know the log's key: its operator has to add it (audit.pub)"),
            (400, "the witness answers 400 Bad Request"),
            (301, "the witness answers 301 Moved Permanently"),
            (500, "the witness answers 500 Internal Server Error"),
        ] {
            assert_eq!(judged(status, GOOD, 7), Err(wanted.to_owned()));
        }
    }
}
