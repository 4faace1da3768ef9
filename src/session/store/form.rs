//! An entry as it is written inside a seal: JSON with durations in milliseconds. It is never written anywhere else, as it
//! holds the Guid.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::{Cooling, Entry, Kind, Live, Trouble};
use crate::cc::{Guid, Retcode, SignInForm};
use crate::session::accounts::Fingerprint;
use crate::session::journal::BarCause;

/// Longest duration that is taken, in milliseconds: a year. More would be an error, and might overflow a moment.
const MILLIS_MAX: u64 = 366 * 24 * 60 * 60 * 1_000;
/// Room for any entry, so that the buffer is not moved while it grows and leaves no copy behind.
const TEXT_BYTES: usize = 1_024;

/// What was unsealed is no entry of this version. It does not say what stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it holds no entry of a known form")]
pub(super) struct FormError;

/// The entry's text, wiped when it is dropped.
pub(super) fn write(entry: &Entry) -> Result<Zeroizing<Vec<u8>>, FormError> {
    let mut text = Zeroizing::new(Vec::with_capacity(TEXT_BYTES));
    serde_json::to_writer(&mut *text, &Form::of(entry)?).map_err(|_| FormError)?;
    Ok(text)
}

/// Reads what [`write`] has written. Anything unknown is an error.
pub(super) fn read(text: &[u8]) -> Result<Entry, FormError> {
    // The parser's own message is dropped: it could quote what stands there.
    let form: Form = serde_json::from_slice(text).map_err(|_| FormError)?;
    form.entry()
}

/// Tagged from outside: other ways of tagging would make the parser copy the Guid.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Form {
    SigningIn,
    Live(LiveForm),
    Cooling(CoolingForm),
    Barred(BarredForm),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveForm {
    guid: SecretText,
    rotation: u64,
    form: FormWord,
    kind: KindWord,
    decides: bool,
    alive_ago: u64,
    issued_ago: u64,
    rotates_every: Option<u64>,
    poll_takes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoolingForm {
    trouble: TroubleForm,
    lasts: u64,
    doubt_lasts: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BarredForm {
    cause: CauseForm,
    /// Base64 of its 32 bytes.
    fingerprint: SecretText,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FormWord {
    Platform,
    Full,
    Force,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindWord {
    Own,
    Desk,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TroubleForm {
    AgentBusy,
    Switching(String),
    Refused(String),
    Unreachable,
    Untrusted,
    Timeout,
    Protocol,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CauseForm {
    WrongPassword,
    MustChangePassword,
    BadParameters(String),
}

/// The one secret text that is serialised: into a buffer that is sealed and wiped.
#[derive(Deserialize)]
#[serde(transparent)]
struct SecretText(SecretString);

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl Form {
    fn of(entry: &Entry) -> Result<Self, FormError> {
        Ok(match entry {
            Entry::SigningIn => Self::SigningIn,
            Entry::Live(live) => Self::Live(LiveForm::of(live)?),
            Entry::Cooling(Cooling { trouble, lasts, doubt_lasts }) => Self::Cooling(CoolingForm {
                trouble: TroubleForm::of(trouble),
                lasts: millis(*lasts)?,
                doubt_lasts: millis(*doubt_lasts)?,
            }),
            Entry::Barred { cause, fingerprint } => Self::Barred(BarredForm {
                cause: CauseForm::of(cause),
                fingerprint: SecretText(SecretString::from(URL_SAFE_NO_PAD.encode(fingerprint.as_bytes()))),
            }),
        })
    }

    fn entry(self) -> Result<Entry, FormError> {
        Ok(match self {
            Self::SigningIn => Entry::SigningIn,
            Self::Live(live) => Entry::Live(live.live()?),
            Self::Cooling(cooling) => Entry::Cooling(Cooling {
                trouble: cooling.trouble.trouble()?,
                lasts: duration(cooling.lasts)?,
                doubt_lasts: duration(cooling.doubt_lasts)?,
            }),
            Self::Barred(barred) => {
                let bytes = URL_SAFE_NO_PAD
                    .decode(barred.fingerprint.0.expose_secret())
                    .map(Zeroizing::new)
                    .map_err(|_| FormError)?;
                let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| FormError)?;
                Entry::Barred { cause: barred.cause.cause()?, fingerprint: Fingerprint::from_bytes(bytes) }
            }
        })
    }
}

impl LiveForm {
    fn of(live: &Live) -> Result<Self, FormError> {
        Ok(Self {
            guid: SecretText(live.guid.as_secret().clone()),
            rotation: live.rotation,
            form: match live.form {
                SignInForm::Platform => FormWord::Platform,
                SignInForm::Full => FormWord::Full,
                SignInForm::Force => FormWord::Force,
            },
            kind: match live.kind {
                Kind::Own => KindWord::Own,
                Kind::Desk => KindWord::Desk,
            },
            decides: live.decides,
            alive_ago: millis(live.alive_ago)?,
            issued_ago: millis(live.issued_ago)?,
            rotates_every: live.rotates_every.map(millis).transpose()?,
            poll_takes: millis(live.poll_takes)?,
        })
    }

    fn live(self) -> Result<Live, FormError> {
        Ok(Live {
            guid: Guid::from_text(self.guid.0.expose_secret()).map_err(|_| FormError)?,
            rotation: self.rotation,
            form: match self.form {
                FormWord::Platform => SignInForm::Platform,
                FormWord::Full => SignInForm::Full,
                FormWord::Force => SignInForm::Force,
            },
            kind: match self.kind {
                KindWord::Own => Kind::Own,
                KindWord::Desk => Kind::Desk,
            },
            decides: self.decides,
            alive_ago: duration(self.alive_ago)?,
            issued_ago: duration(self.issued_ago)?,
            rotates_every: self.rotates_every.map(duration).transpose()?,
            poll_takes: duration(self.poll_takes)?,
        })
    }
}

impl TroubleForm {
    fn of(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::AgentBusy => Self::AgentBusy,
            Trouble::Switching(retcode) => Self::Switching(retcode.as_str().to_owned()),
            Trouble::Refused(retcode) => Self::Refused(retcode.as_str().to_owned()),
            Trouble::Unreachable => Self::Unreachable,
            Trouble::Untrusted => Self::Untrusted,
            Trouble::Timeout => Self::Timeout,
            Trouble::Protocol => Self::Protocol,
        }
    }

    fn trouble(self) -> Result<Trouble, FormError> {
        Ok(match self {
            Self::AgentBusy => Trouble::AgentBusy,
            Self::Switching(code) => Trouble::Switching(retcode(&code)?),
            Self::Refused(code) => Trouble::Refused(retcode(&code)?),
            Self::Unreachable => Trouble::Unreachable,
            Self::Untrusted => Trouble::Untrusted,
            Self::Timeout => Trouble::Timeout,
            Self::Protocol => Trouble::Protocol,
        })
    }
}

impl CauseForm {
    fn of(cause: &BarCause) -> Self {
        match cause {
            BarCause::WrongPassword => Self::WrongPassword,
            BarCause::MustChangePassword => Self::MustChangePassword,
            BarCause::BadParameters(retcode) => Self::BadParameters(retcode.as_str().to_owned()),
        }
    }

    fn cause(self) -> Result<BarCause, FormError> {
        Ok(match self {
            Self::WrongPassword => BarCause::WrongPassword,
            Self::MustChangePassword => BarCause::MustChangePassword,
            Self::BadParameters(code) => BarCause::BadParameters(retcode(&code)?),
        })
    }
}

fn retcode(text: &str) -> Result<Retcode, FormError> {
    Retcode::parse(text).ok_or(FormError)
}

fn millis(duration: Duration) -> Result<u64, FormError> {
    u64::try_from(duration.as_millis()).ok().filter(|millis| *millis <= MILLIS_MAX).ok_or(FormError)
}

fn duration(millis: u64) -> Result<Duration, FormError> {
    if millis <= MILLIS_MAX { Ok(Duration::from_millis(millis)) } else { Err(FormError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_or_out_of_bounds_is_an_error() {
        let live = r#"{"live":{"guid":"279fe21d-2caa-4437-84c3-ab9e9dae20f5.Node","rotation":1,"form":"full","kind":"own",
            "decides":false,"alive_ago":1,"issued_ago":2,"rotates_every":null,"poll_takes":0}}"#;
        assert!(read(live.as_bytes()).is_ok());
        for (from, to) in [
            ("\"own\"", "\"other\""),
            ("\"full\"", "\"Full\""),
            ("\"decides\":false", "\"decides\":0"),
            ("\"rotation\":1", "\"rotation\":-1"),
            ("\"rotation\":1", "\"rotation\":1,\"more\":1"),
            ("\"alive_ago\":1", "\"alive_ago\":99999999999999"),
            ("279fe21d-2caa-4437-84c3-ab9e9dae20f5", "short"),
            ("live", "dead"),
        ] {
            assert!(live.contains(from), "{from}");
            assert_eq!(read(live.replace(from, to).as_bytes()).err(), Some(FormError), "{from} -> {to}");
        }
        for bad in ["", "{}", "null", r#"{"cooling":{"trouble":{"refused":"0 0"},"lasts":1,"doubt_lasts":1}}"#] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_beyond_a_year_is_not_written() {
        let cooling =
            Cooling { trouble: Trouble::Timeout, lasts: Duration::from_hours(9_600), doubt_lasts: Duration::ZERO };
        assert!(write(&Entry::Cooling(cooling)).is_err());
    }
}
