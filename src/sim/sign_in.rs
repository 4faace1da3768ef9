//! The body of a sign-in: the vendor's fields, their defaults and bounds. Knows no session.

use serde_json::{Map, Value};

/// Fields that the vendor names.
const FIELDS: [&str; 15] = [
    "password",
    "phonenum",
    "autoanswer",
    "autoenteridle",
    "releasephone",
    "agenttype",
    "status",
    "ip",
    "checkInWebm",
    "checkInMailm",
    "phonelinkage",
    "vcPhoneNumber",
    "listenStatus",
    "callBackUri",
    "serviceToken",
];

/// A sign-in body with the vendor's defaults filled in. Numbers and booleans may come as strings.
pub(super) struct SignIn {
    pub(super) password: String,
    pub(super) phone_number: String,
    pub(super) status: u8,
    pub(super) auto_enter_idle: bool,
    pub(super) check_in_webm: bool,
    pub(super) check_in_mailm: bool,
    /// `callBackUri`, when a service token came with it.
    pub(super) callback_uri: Option<String>,
    /// Fields that the vendor does not name.
    pub(super) unknown: Vec<String>,
}

/// The result code that refuses a body.
type Retcode = &'static str;

impl SignIn {
    /// Parses a body. `phone_needed`: the form joins the media servers.
    pub(super) fn parse(body: &[u8], phone_needed: bool) -> Result<Self, Retcode> {
        let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|_| "000-002")?;
        let agent_type = number(&fields, "agenttype", 4)?;
        if ![4, 11].contains(&agent_type) {
            return Err("100-012");
        }
        let status = number(&fields, "status", 4)?;
        if ![3, 4, 5].contains(&status) {
            return Err("100-011");
        }
        if let Some(ip) = text(&fields, "ip", 15)?
            && ip.parse::<std::net::Ipv4Addr>().is_err()
        {
            return Err("100-011");
        }
        for name in ["autoanswer", "releasephone", "phonelinkage"] {
            truth(&fields, name, true)?;
        }
        let phone_number = text(&fields, "phonenum", 24).map_err(|_| "100-013")?.unwrap_or_default();
        if phone_needed && phone_number.is_empty() {
            return Err("100-013");
        }
        let token = text(&fields, "serviceToken", 4_096)?;
        Ok(Self {
            password: text(&fields, "password", 32).map_err(|_| "100-001")?.ok_or("100-001")?.to_owned(),
            phone_number: phone_number.to_owned(),
            status: u8::try_from(status).unwrap_or_default(),
            auto_enter_idle: truth(&fields, "autoenteridle", true)?,
            check_in_webm: truth(&fields, "checkInWebm", true)?,
            check_in_mailm: truth(&fields, "checkInMailm", false)?,
            callback_uri: text(&fields, "callBackUri", 4_096)?
                .filter(|uri| !uri.is_empty() && token.is_some_and(|token| !token.is_empty()))
                .map(str::to_owned),
            unknown: fields.keys().filter(|name| !FIELDS.contains(&name.as_str())).cloned().collect(),
        })
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str, longest: usize) -> Result<Option<&'a str>, Retcode> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= longest => Ok(Some(text)),
        Some(_) => Err("100-011"),
    }
}

fn number(fields: &Map<String, Value>, name: &str, default: u64) -> Result<u64, Retcode> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::String(text)) => text.parse().map_err(|_| "100-011"),
        Some(other) => other.as_u64().ok_or("100-011"),
    }
}

fn truth(fields: &Map<String, Value>, name: &str, default: bool) -> Result<bool, Retcode> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::String(text)) => text.parse().map_err(|_| "100-011"),
        Some(other) => other.as_bool().ok_or("100-011"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str, phone_needed: bool) -> Option<Retcode> {
        SignIn::parse(body.as_bytes(), phone_needed).err()
    }

    #[test]
    fn the_vendors_defaults_are_filled_in() {
        let plain = SignIn::parse(br#"{"password":"","phonenum":"40038"}"#, true).unwrap();
        assert_eq!(
            (plain.status, plain.auto_enter_idle, plain.check_in_webm, plain.check_in_mailm),
            (4, true, true, false)
        );
        assert_eq!((plain.password.as_str(), plain.phone_number.as_str()), ("", "40038"));
        assert_eq!(plain.callback_uri, None);
    }

    #[test]
    fn numbers_and_booleans_may_be_strings() {
        let body = br#"{"password":"a","status":"3","autoenteridle":"false","checkInWebm":false,"agenttype":"11"}"#;
        let parsed = SignIn::parse(body, false).unwrap();
        assert_eq!((parsed.status, parsed.auto_enter_idle, parsed.check_in_webm), (3, false, false));
    }

    #[test]
    fn a_callback_needs_its_token() {
        let with = |body: &str| SignIn::parse(body.as_bytes(), false).unwrap().callback_uri;
        assert_eq!(with(r#"{"password":"","callBackUri":"https://x/"}"#), None);
        assert_eq!(
            with(r#"{"password":"","callBackUri":"https://x/","serviceToken":"t"}"#).as_deref(),
            Some("https://x/")
        );
    }

    #[test]
    fn bounds_are_held() {
        assert_eq!(refused("[]", false), Some("000-002"));
        assert_eq!(refused("{}", false), Some("100-001"));
        assert_eq!(refused(&format!(r#"{{"password":"{}"}}"#, "x".repeat(33)), false), Some("100-001"));
        assert_eq!(refused(r#"{"password":"x"}"#, true), Some("100-013"));
        assert_eq!(refused(&format!(r#"{{"password":"x","phonenum":"{}"}}"#, "1".repeat(25)), true), Some("100-013"));
        assert_eq!(refused(r#"{"password":"x","status":7}"#, false), Some("100-011"));
        assert_eq!(refused(r#"{"password":"x","agenttype":5}"#, false), Some("100-012"));
        assert_eq!(refused(r#"{"password":"x","ip":"::1"}"#, false), Some("100-011"));
        assert_eq!(refused(r#"{"password":"x","checkInWebm":"no"}"#, false), Some("100-011"));
    }

    #[test]
    fn foreign_fields_are_told() {
        assert_eq!(SignIn::parse(br#"{"password":"x","agent":1}"#, false).unwrap().unknown, ["agent"]);
    }
}
