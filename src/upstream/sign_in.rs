//! Signing agents in and out. A password goes in, a Guid comes out; neither is kept here.

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;

use super::answer::{Asked, Success};
use super::metrics::Operation;
use super::{Error, Gateway};
use crate::cc::{AgentId, Call, Guid, SignInForm};

/// What a sign-in needs.
#[derive(Debug, Clone, Copy)]
pub struct SignInRequest<'a> {
    /// Which of the three ways.
    pub form: SignInForm,
    /// The agent's password.
    pub password: &'a SecretString,
    /// The agent's phone number; needed for a full sign-in.
    pub phone_number: Option<&'a str>,
    /// Push mode: where events go. Without it, polling mode.
    pub callback: Option<&'a Callback>,
}

/// Where the gateway sends events in push mode.
#[derive(Debug, Clone)]
pub struct Callback {
    /// The receiver's address.
    pub uri: String,
    /// What the gateway presents there.
    pub service_token: SecretString,
}

/// A sign-in that succeeded.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The session's first Guid.
    pub guid: Guid,
    /// Days until the password expires; `None`: never, or the gateway does not say.
    pub password_days_left: Option<u16>,
    /// Whether the gateway wants the password changed before anything else.
    pub must_change_password: bool,
}

/// The sign-in's body. The agent comes in as busy and stays it: one who is idle is given calls.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "they are the gateway's own fields")]
struct Body<'a> {
    password: &'a str,
    phonenum: &'a str,
    /// 3: busy.
    status: u8,
    autoanswer: bool,
    autoenteridle: bool,
    check_in_webm: bool,
    check_in_mailm: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_back_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_token: Option<&'a str>,
}

impl Gateway {
    /// Signs an agent in, at one URL after the other in turn. Not cancel safe: a call that is dropped may still sign the
    /// agent in.
    pub async fn sign_in(&self, agent: AgentId, request: &SignInRequest<'_>) -> Result<SignedIn, Error> {
        let body = Bytes::from(body(request)?);
        let (operation, call) = (Operation::SignIn, Call::sign_in(agent, request.form));
        self.reach(&Asked { body, ..self.asked(operation, call, None) }).await.and_then(|success| signed_in(&success))
    }

    /// Signs an agent out. Not cancel safe: a call that is dropped may still sign the agent out.
    pub async fn sign_out(&self, agent: AgentId, guid: &Guid) -> Result<(), Error> {
        self.reach(&self.asked(Operation::SignOut, Call::sign_out(agent), Some(guid))).await.map(drop)
    }

    pub(super) const fn asked<'a>(&self, operation: Operation, call: Call, guid: Option<&'a Guid>) -> Asked<'a> {
        Asked { operation, call, guid, body: Bytes::new(), deadline: self.client.deadline() }
    }
}

fn body(request: &SignInRequest<'_>) -> Result<Vec<u8>, Error> {
    let body = Body {
        password: request.password.expose_secret(),
        phonenum: request.phone_number.unwrap_or_default(),
        status: 3,
        autoanswer: false,
        autoenteridle: false,
        check_in_webm: false,
        check_in_mailm: false,
        call_back_uri: request.callback.map(|callback| callback.uri.as_str()),
        service_token: request.callback.map(|callback| callback.service_token.expose_secret()),
    };
    serde_json::to_vec(&body).map_err(|_| Error::Protocol("the sign-in cannot be written as JSON"))
}

fn signed_in(success: &Success) -> Result<SignedIn, Error> {
    let guid = success.guid()?.ok_or(Error::Protocol("the sign-in brought no Guid"))?;
    let result = &success.envelope.result;
    Ok(SignedIn {
        guid,
        password_days_left: result.get("timeRemaining").and_then(number),
        must_change_password: result.get("isForceChange").is_some_and(is_true),
    })
}

/// The gateway writes some numbers as strings.
fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// The gateway writes some booleans as strings.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_comes_in_as_busy() {
        let password = SecretString::from("pa\"ss");
        let request =
            SignInRequest { form: SignInForm::Platform, password: &password, phone_number: None, callback: None };
        let body: Value = serde_json::from_slice(&body(&request).expect("JSON")).expect("JSON");
        let expected = serde_json::json!({
            "password": "pa\"ss", "phonenum": "", "status": 3, "autoanswer": false,
            "autoenteridle": false, "checkInWebm": false, "checkInMailm": false,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn push_mode_names_the_receiver() {
        let password = SecretString::from("");
        let callback =
            Callback { uri: "https://ccgate.example/events".to_owned(), service_token: SecretString::from("t") };
        let request = SignInRequest {
            form: SignInForm::Full,
            password: &password,
            phone_number: Some("+4930"),
            callback: Some(&callback),
        };
        let body: Value = serde_json::from_slice(&body(&request).expect("JSON")).expect("JSON");
        assert_eq!(body["callBackUri"], "https://ccgate.example/events");
        assert_eq!((&body["serviceToken"], &body["phonenum"]), (&Value::from("t"), &Value::from("+4930")));
    }

    #[test]
    fn numbers_and_booleans_come_as_strings_too() {
        assert_eq!(number(&Value::from("30")), Some(30));
        assert_eq!(number(&Value::from(30)), Some(30));
        assert_eq!((number(&Value::from("")), number(&Value::Null)), (None, None));
        assert!(is_true(&Value::from("true")) && is_true(&Value::from(true)) && !is_true(&Value::from("false")));
    }
}
