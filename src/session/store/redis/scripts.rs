//! The scripts that run inside Redis, and the shape of what they answer. They alone touch its keys.

use ::redis::{Script, Value};

/// The scripts of the store, each with the common beginning.
pub(super) struct Scripts {
    pub(super) beat: Script,
    pub(super) leave: Script,
    pub(super) seek: Script,
    pub(super) take: Script,
    pub(super) write: Script,
    pub(super) retire: Script,
    pub(super) release: Script,
    pub(super) reject: Script,
    pub(super) admit: Script,
    pub(super) probe: Script,
}

macro_rules! script {
    ($($file:literal),+) => { Script::new(concat!(include_str!("common.lua"), $(include_str!($file)),+)) };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            beat: script!("beat.lua"),
            leave: script!("leave.lua"),
            seek: Script::new(concat!(include_str!("common.lua"), "local taken = false\n", include_str!("seek.lua"))),
            take: script!("take.lua", "seek.lua"),
            write: script!("owned.lua", "write.lua"),
            retire: script!("owned.lua", "retire.lua"),
            release: script!("owned.lua", "release.lua"),
            reject: script!("reject.lua"),
            admit: script!("admit.lua"),
            // Without the common beginning, which writes.
            probe: Script::new(include_str!("probe.lua")),
        }
    }
}

/// What a script answers: a word and what belongs to it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) word: String,
    fields: std::vec::IntoIter<String>,
}

/// What was answered is not what a script of ours answers.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it answered with something else than was asked for")]
pub(super) struct Garbled;

impl Answer {
    /// Takes an array of texts.
    pub(super) fn read(value: Value) -> Result<Self, Garbled> {
        let Value::Array(values) = value else { return Err(Garbled) };
        let texts: Result<Vec<String>, Garbled> = values.into_iter().map(text).collect();
        let mut fields = texts?.into_iter();
        let word = fields.next().ok_or(Garbled)?;
        Ok(Self { word, fields })
    }

    pub(super) fn text(&mut self) -> Result<String, Garbled> {
        self.fields.next().ok_or(Garbled)
    }

    pub(super) fn number(&mut self) -> Result<u64, Garbled> {
        self.text()?.parse().map_err(|_| Garbled)
    }

    /// What is left.
    pub(super) fn rest(self) -> impl Iterator<Item = String> {
        self.fields
    }
}

fn text(value: Value) -> Result<String, Garbled> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| Garbled),
        Value::SimpleString(text) => Ok(text),
        _ => Err(Garbled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_an_array_of_texts_is_garbled() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let mut good = Answer::read(Value::Array(vec![bulk("ok"), bulk("7"), bulk("x")])).expect("an answer");
        assert_eq!(good.word, "ok");
        assert_eq!(good.number().expect("a number"), 7);
        assert!(good.number().is_err() && good.text().is_err());
        let bad = [
            Value::Nil,
            Value::Okay,
            Value::Int(1),
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![bulk("ok"), Value::Nil]),
            Value::Array(vec![Value::BulkString(vec![0xff])]),
        ];
        for value in bad {
            assert!(Answer::read(value).is_err());
        }
    }
}
