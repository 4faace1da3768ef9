//! Sessions' events into the audit log. It translates and keeps nothing.

use crate::audit::{Event, Log, SessionChange};
use crate::cc::{AgentId, Retcode, SignInForm};
use crate::session::store::Kind;
use crate::session::{BarCause, Journal, SessionEvent};

/// Writes `session.*` records.
pub(super) struct AuditJournal(pub(super) Log);

impl Journal for AuditJournal {
    fn record(&self, agent: AgentId, event: SessionEvent) {
        if let Some(event) = translate(agent, event) {
            self.0.note(event);
        }
    }
}

/// The event's record; `None`: it gets none.
fn translate(agent: AgentId, event: SessionEvent) -> Option<Event> {
    let noted = |change, detail, guid, retcode| Event::Session { agent, change, guid, retcode, detail: Some(detail) };
    Some(match event {
        SessionEvent::Forced { by: Kind::Own } => noted(SessionChange::Forced, "takeover", None, None),
        SessionEvent::Forced { by: Kind::Desk } => noted(SessionChange::Forced, "desk", None, None),
        SessionEvent::SignedIn { form, guid } => noted(SessionChange::SignedIn, form_name(form), Some(guid), None),
        SessionEvent::Resumed { kind, guid } => noted(SessionChange::Resumed, kind.as_str(), Some(guid), None),
        SessionEvent::HandedOver { guid } => {
            Event::Session { agent, change: SessionChange::HandedOver, guid: Some(guid), retcode: None, detail: None }
        }
        SessionEvent::DeskSignedIn { form, guid } => {
            noted(SessionChange::DeskSignedIn, form_name(form), Some(guid), None)
        }
        SessionEvent::DeskSignedOut { guid } => {
            let change = SessionChange::DeskSignedOut;
            Event::Session { agent, change, guid: Some(guid), retcode: None, detail: None }
        }
        SessionEvent::SignInFailed { code, retcode } => noted(SessionChange::Refused, code, None, retcode),
        SessionEvent::Rotated { count, guid } => noted(SessionChange::Rotated, count_word(count)?, Some(guid), None),
        SessionEvent::Lost { cause, guid } => noted(SessionChange::Lost, cause.as_str(), Some(guid), None),
        SessionEvent::SignedOut { why, guid } => noted(SessionChange::SignedOut, why.as_str(), Some(guid), None),
        SessionEvent::SignOutFailed { retcode, guid } => noted(SessionChange::Refused, "sign_out", Some(guid), retcode),
        SessionEvent::Barred { cause: BarCause::WrongPassword } => {
            noted(SessionChange::Barred, "wrong_password", None, Retcode::parse("100-004"))
        }
        SessionEvent::Barred { cause: BarCause::MustChangePassword } => {
            noted(SessionChange::Barred, "must_change_password", None, None)
        }
        SessionEvent::Barred { cause: BarCause::BadParameters(retcode) } => {
            noted(SessionChange::Barred, "bad_parameters", None, Some(retcode))
        }
        SessionEvent::RightMissing { form } => {
            noted(SessionChange::Refused, form_name(form), None, Retcode::parse("000-003"))
        }
        SessionEvent::WrongKeepAlive => {
            noted(SessionChange::Refused, "wrong_keep_alive", None, Retcode::parse("000-001"))
        }
    })
}

/// Which replacement of a Guid gets a record. Ten thousand sessions make fourteen million a day; that they happen, and how
/// often, is what a record can tell. All are counted in `ccgate_session_guid_rotations_total`.
const fn count_word(count: u64) -> Option<&'static str> {
    match count {
        1 => Some("1"),
        10 => Some("10"),
        100 => Some("100"),
        1_000 => Some("1000"),
        10_000 => Some("10000"),
        100_000 => Some("100000"),
        _ => None,
    }
}

const fn form_name(form: SignInForm) -> &'static str {
    match form {
        SignInForm::Platform => "platform",
        SignInForm::Full => "full",
        SignInForm::Force => "force",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cc::{Guid, GuidTagKey};
    use crate::session::{LossCause, SignOutCause};

    /// Each line: the event; change, detail and retcode of its record, and whether the record names a session.
    #[test]
    fn each_event_has_its_record() {
        let of = Guid::from_text("00112233445566778899.AgentGateway0").expect("a Guid");
        let guid = GuidTagKey::random().tag(&of);
        let (busy, talks) = (Retcode::parse("100-002"), Retcode::parse("100-010"));
        let form = SignInForm::Platform;
        let table = [
            (SessionEvent::SignedIn { form, guid }, "session.signed_in platform", None, true),
            (SessionEvent::DeskSignedIn { form, guid }, "session.desk_signed_in platform", None, true),
            (SessionEvent::DeskSignedOut { guid }, "session.desk_signed_out ", None, true),
            (SessionEvent::Rotated { count: 1, guid }, "session.rotated 1", None, true),
            (SessionEvent::Resumed { kind: Kind::Own, guid }, "session.resumed own", None, true),
            (SessionEvent::HandedOver { guid }, "session.handed_over ", None, true),
            (SessionEvent::Lost { cause: LossCause::Silent, guid }, "session.lost silent", None, true),
            (SessionEvent::SignedOut { why: SignOutCause::Idle, guid }, "session.signed_out idle", None, true),
            (SessionEvent::SignOutFailed { retcode: talks, guid }, "session.refused sign_out", Some("100-010"), true),
            (
                SessionEvent::SignInFailed { code: "agent_busy", retcode: busy },
                "session.refused agent_busy",
                Some("100-002"),
                false,
            ),
            (
                SessionEvent::SignInFailed { code: "upstream_timeout", retcode: None },
                "session.refused upstream_timeout",
                None,
                false,
            ),
            (SessionEvent::Forced { by: Kind::Own }, "session.forced takeover", None, false),
            (SessionEvent::Forced { by: Kind::Desk }, "session.forced desk", None, false),
            (
                SessionEvent::Barred { cause: BarCause::WrongPassword },
                "session.barred wrong_password",
                Some("100-004"),
                false,
            ),
            (SessionEvent::RightMissing { form }, "session.refused platform", Some("000-003"), false),
            (SessionEvent::WrongKeepAlive, "session.refused wrong_keep_alive", Some("000-001"), false),
        ];
        let agent = AgentId::try_from(4977).expect("an agent");
        for (event, told, code, named) in table {
            let record = translate(agent, event).expect("a record");
            let name = record.name();
            let Event::Session { agent: of, guid: tag, retcode, detail, .. } = record else { panic!("{told}") };
            assert_eq!(format!("{name} {}", detail.unwrap_or_default()), told);
            assert_eq!((of, retcode.as_ref().map(Retcode::as_str)), (agent, code), "{told}");
            assert_eq!(tag, named.then_some(guid), "{told}");
        }
    }

    #[test]
    fn few_replacements_get_a_record() {
        let of = Guid::from_text("00112233445566778899.AgentGateway0").expect("a Guid");
        let guid = GuidTagKey::random().tag(&of);
        let agent = AgentId::try_from(4977).expect("an agent");
        let told: Vec<u64> = (1..=1_500)
            .filter(|count| translate(agent, SessionEvent::Rotated { count: *count, guid }).is_some())
            .collect();
        assert_eq!(told, [1, 10, 100, 1_000]);
    }
}
