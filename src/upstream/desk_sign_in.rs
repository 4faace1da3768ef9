//! What an agent's own app signs in with: the manual's fields and no others, read strictly and printed again. The
//! password is never printed anywhere else.

use std::fmt;
use std::net::Ipv4Addr;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use super::Error;
use crate::cc::SignInForm;

/// The fields that are taken, for a person.
const FIELDS: &str = "password, phonenum, autoanswer, autoenteridle, releasephone, agenttype, status, ip, checkInWebm, \
                      checkInMailm, phonelinkage, vcPhoneNumber, listenStatus";

/// An app's sign-in. Only [`DeskSignIn::parse`] makes one; `Debug` hides the password.
#[derive(Debug, Clone)]
pub struct DeskSignIn {
    form: SignInForm,
    body: Body,
}

/// Why a body is no sign-in. It repeats nothing of the body but names that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeskSignInError {
    /// Not one JSON object.
    #[error("the sign-in is not one JSON object")]
    NotJson,
    /// A field that the manual does not name.
    #[error("there is a field that a sign-in does not have; it has: {}", FIELDS)]
    Unknown,
    /// A field stands twice.
    #[error("the field {0} is given more than once")]
    Repeated(&'static str),
    /// A field that must be there is not.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A value that the manual does not allow.
    #[error("the field {name} is not valid: {expected}")]
    Value {
        /// The field.
        name: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// `callBackUri` or `serviceToken`: events would go past the app to an address of its choice.
    #[error("the gateway's push mode is not passed through: leave callBackUri and serviceToken out and poll")]
    Push,
}

/// In the manual's order. What was left out stays out, so that the gateway's own defaults hold.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(serialize_with = "exposed")]
    password: SecretString,
    #[serde(skip_serializing_if = "Option::is_none")]
    phonenum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    autoanswer: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    autoenteridle: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    releasephone: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agenttype: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_in_webm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_in_mailm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phonelinkage: Option<Switch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vc_phone_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen_status: Option<Switch>,
}

/// A field whose type the manual's editions do not agree on: sent on as the kind that it came as.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum Switch {
    Truth(bool),
    Number(u8),
}

impl DeskSignIn {
    /// Longest body that is taken, in bytes. All fields at their longest, every character escaped, stay far below.
    pub const BYTES_MAX: usize = 16 * 1024;

    /// Reads a body for one of the three ways of signing in. Numbers and booleans can come as strings.
    pub fn parse(form: SignInForm, body: &[u8]) -> Result<Self, DeskSignInError> {
        if body.len() > Self::BYTES_MAX {
            return Err(DeskSignInError::NotJson);
        }
        // The parser's own error could quote the password.
        let Fields(fields) = serde_json::from_slice(body).map_err(|_| DeskSignInError::NotJson)?;
        let mut taken: Vec<&'static str> = Vec::with_capacity(fields.len());
        let mut read = Body::default();
        for (name, value) in &fields {
            let name = read.set(name, value)?;
            if taken.contains(&name) {
                return Err(DeskSignInError::Repeated(name));
            }
            taken.push(name);
        }
        if taken.contains(&"password") {
            Ok(Self { form, body: read })
        } else {
            Err(DeskSignInError::Missing("password"))
        }
    }

    /// Which of the three ways.
    pub const fn form(&self) -> SignInForm {
        self.form
    }

    /// The body for the gateway.
    pub(super) fn print(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(&self.body).map_err(|_| Error::Protocol("the sign-in cannot be written as JSON"))
    }
}

impl Body {
    /// Takes one field; its name as we know it.
    fn set(&mut self, name: &str, value: &Scalar) -> Result<&'static str, DeskSignInError> {
        Ok(match name {
            "password" => {
                self.password = value.secret("password")?;
                "password"
            }
            "phonenum" => put(&mut self.phonenum, "phonenum", Scalar::number_to_call, value)?,
            "autoanswer" => put(&mut self.autoanswer, "autoanswer", Scalar::truth, value)?,
            "autoenteridle" => put(&mut self.autoenteridle, "autoenteridle", Scalar::truth, value)?,
            "releasephone" => put(&mut self.releasephone, "releasephone", Scalar::truth, value)?,
            "agenttype" => {
                put(&mut self.agenttype, "agenttype", |value, name| value.one_of(name, &[4, 11], "4 or 11"), value)?
            }
            "status" => {
                put(&mut self.status, "status", |value, name| value.one_of(name, &[3, 4, 5], "3, 4 or 5"), value)?
            }
            "ip" => put(&mut self.ip, "ip", Scalar::address, value)?,
            "checkInWebm" => put(&mut self.check_in_webm, "checkInWebm", Scalar::truth, value)?,
            "checkInMailm" => put(&mut self.check_in_mailm, "checkInMailm", Scalar::truth, value)?,
            "phonelinkage" => put(&mut self.phonelinkage, "phonelinkage", Scalar::switch, value)?,
            "vcPhoneNumber" => put(&mut self.vc_phone_number, "vcPhoneNumber", Scalar::number_to_call, value)?,
            "listenStatus" => put(&mut self.listen_status, "listenStatus", Scalar::switch, value)?,
            "callBackUri" | "serviceToken" => return Err(DeskSignInError::Push),
            _ => return Err(DeskSignInError::Unknown),
        })
    }
}

fn put<T>(
    field: &mut Option<T>,
    name: &'static str,
    read: impl FnOnce(&Scalar, &'static str) -> Result<T, DeskSignInError>,
    value: &Scalar,
) -> Result<&'static str, DeskSignInError> {
    *field = Some(read(value, name)?);
    Ok(name)
}

fn exposed<S: Serializer>(password: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(password.expose_secret())
}

/// A value as JSON has it. Every text may be the password.
enum Scalar {
    Text(SecretString),
    Number(u64),
    Truth(bool),
    Other,
}

impl Scalar {
    /// Longest password, in characters (manual, "Signing In").
    const PASSWORD_CHARS_MAX: usize = 32;
    /// Longest phone number, in characters (the same).
    const PHONE_CHARS_MAX: usize = 24;

    fn secret(&self, name: &'static str) -> Result<SecretString, DeskSignInError> {
        match self {
            Self::Text(text) if text.expose_secret().chars().count() <= Self::PASSWORD_CHARS_MAX => Ok(text.clone()),
            _ => Err(DeskSignInError::Value { name, expected: "a text of at most 32 characters" }),
        }
    }

    fn number_to_call(&self, name: &'static str) -> Result<String, DeskSignInError> {
        let fits = |text: &str| text.len() <= Self::PHONE_CHARS_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        match self {
            Self::Text(text) if fits(text.expose_secret()) => Ok(text.expose_secret().to_owned()),
            Self::Number(number) => Ok(number.to_string()),
            _ => Err(DeskSignInError::Value { name, expected: "at most 24 visible ASCII characters" }),
        }
    }

    fn truth(&self, name: &'static str) -> Result<bool, DeskSignInError> {
        self.as_truth().ok_or(DeskSignInError::Value { name, expected: "true or false" })
    }

    fn one_of(&self, name: &'static str, known: &[u8], expected: &'static str) -> Result<u8, DeskSignInError> {
        self.as_number().filter(|number| known.contains(number)).ok_or(DeskSignInError::Value { name, expected })
    }

    fn address(&self, name: &'static str) -> Result<Ipv4Addr, DeskSignInError> {
        let Self::Text(text) = self else { return Err(DeskSignInError::Value { name, expected: "an IPv4 address" }) };
        text.expose_secret().parse().map_err(|_| DeskSignInError::Value { name, expected: "an IPv4 address" })
    }

    fn switch(&self, name: &'static str) -> Result<Switch, DeskSignInError> {
        let number = || self.as_number().filter(|number| *number <= 9).map(Switch::Number);
        let expected = "true, false or a number from 0 to 9";
        self.as_truth().map(Switch::Truth).or_else(number).ok_or(DeskSignInError::Value { name, expected })
    }

    fn as_truth(&self) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(*truth),
            Self::Text(text) => text.expose_secret().parse().ok(),
            Self::Number(_) | Self::Other => None,
        }
    }

    fn as_number(&self) -> Option<u8> {
        match self {
            Self::Number(number) => u8::try_from(*number).ok(),
            Self::Text(text) => {
                let text = text.expose_secret();
                text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
            }
            Self::Truth(_) | Self::Other => None,
        }
    }
}

/// All fields as they stand, repeated ones too. There are at most as many as bytes in the body.
struct Fields(Vec<(String, Scalar)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Read)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(SecretString::from(text)))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number))
            }

            fn visit_bool<E>(self, truth: bool) -> Result<Scalar, E> {
                Ok(Scalar::Truth(truth))
            }

            fn visit_i64<E>(self, _below_zero: i64) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_f64<E>(self, _fraction: f64) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
        }

        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn printed(body: &str) -> Result<Value, DeskSignInError> {
        let sign_in = DeskSignIn::parse(SignInForm::Full, body.as_bytes())?;
        Ok(serde_json::from_slice(&sign_in.print().expect("JSON")).expect("JSON"))
    }

    fn refused(body: &str) -> DeskSignInError {
        printed(body).expect_err(body)
    }

    #[test]
    fn every_field_of_the_manual_is_read_and_printed_again() {
        let all = json!({
            "password": "pa\"ss\u{e9}", "phonenum": "40038", "autoanswer": true, "autoenteridle": false,
            "releasephone": true, "agenttype": 11, "status": 5, "ip": "10.1.2.3", "checkInWebm": false,
            "checkInMailm": true, "phonelinkage": 1, "vcPhoneNumber": "+4930", "listenStatus": true,
        });
        assert_eq!(printed(&all.to_string()), Ok(all));
        assert_eq!(printed(r#"{"password":""}"#), Ok(json!({ "password": "" })), "what is left out stays out");
    }

    #[test]
    fn numbers_and_booleans_come_as_strings_too() {
        let body =
            r#"{"password":"a","phonenum":40038,"autoanswer":"false","status":"3","agenttype":"4","phonelinkage":"0"}"#;
        let expected = json!({ "password": "a", "phonenum": "40038", "autoanswer": false, "status": 3, "agenttype": 4, "phonelinkage": 0 });
        assert_eq!(printed(body), Ok(expected));
    }

    #[test]
    fn fields_are_known_single_and_there() {
        assert_eq!(refused(r#"{"password":"a","agent":1}"#), DeskSignInError::Unknown);
        assert_eq!(refused(r#"{"password":"a","Status":3}"#), DeskSignInError::Unknown);
        assert_eq!(refused(r#"{"password":"a","password":"a"}"#), DeskSignInError::Repeated("password"));
        assert_eq!(refused(r#"{"password":"a","status":3,"st\u0061tus":4}"#), DeskSignInError::Repeated("status"));
        assert_eq!(refused(r#"{"status":3}"#), DeskSignInError::Missing("password"));
        assert_eq!(refused("{}"), DeskSignInError::Missing("password"));
        for push in [r#"{"password":"a","callBackUri":"https://x/"}"#, r#"{"serviceToken":"t"}"#] {
            assert_eq!(refused(push), DeskSignInError::Push);
        }
    }

    #[test]
    fn values_are_the_manuals() {
        let long = format!("\"{}\"", "x".repeat(33));
        let table: [(&str, &[&str]); 8] = [
            ("password", &[&long, "1", "null", "[]", "{}", "true"]),
            ("phonenum", &[r#""1234567890123456789012345""#, r#""12 34""#, r#""é""#, "-1", "null", "1.5"]),
            ("autoanswer", &["1", r#""yes""#, r#""True""#, "null"]),
            ("agenttype", &["5", "4.0", r#""+4""#, r#""""#, "260", "-4"]),
            ("status", &["0", "6", r#"" 3""#, "null"]),
            ("ip", &[r#""::1""#, r#""10.0.0""#, "1"]),
            ("phonelinkage", &["10", r#""no""#, "[1]"]),
            ("listenStatus", &["-1", "{}"]),
        ];
        for (name, values) in table {
            for value in values {
                let body = if name == "password" {
                    format!(r#"{{"password":{value}}}"#)
                } else {
                    format!(r#"{{"password":"","{name}":{value}}}"#)
                };
                assert!(matches!(refused(&body), DeskSignInError::Value { name: told, .. } if told == name), "{body}");
            }
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        let long = format!(r#"{{"password":"{}"}}"#, " ".repeat(DeskSignIn::BYTES_MAX));
        let deep = format!(r#"{{"password":{}"#, "[".repeat(10_000));
        for body in
            ["", "[]", "null", r#""password""#, r#"{"password":"a"}{}"#, r#"{"password":"a""#, "\u{0}", &long, &deep]
        {
            assert_eq!(refused(body), DeskSignInError::NotJson, "{body:.40}");
        }
        assert!(matches!(
            DeskSignIn::parse(SignInForm::Full, b"{\"password\":\"\xff\"}"),
            Err(DeskSignInError::NotJson)
        ));
    }

    #[test]
    fn r17_a_password_is_not_printed() {
        let sign_in = DeskSignIn::parse(SignInForm::Full, br#"{"password":"Planted-Passw0rd"}"#).expect("a sign-in");
        assert!(!format!("{sign_in:?}").contains("Planted"), "{sign_in:?}");
        let error = refused(r#"{"password":"a","ip":"Planted-Passw0rd","x":1}"#);
        assert!(!format!("{error:?} {error}").contains("Planted"), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_body_panics_and_what_is_printed_is_read_again(body in "[ -~]{0,80}", password in ".{0,32}") {
            let _ = DeskSignIn::parse(SignInForm::Full, body.as_bytes());
            let body = json!({ "password": password });
            prop_assert_eq!(printed(&body.to_string()), Ok(body));
        }
    }
}
