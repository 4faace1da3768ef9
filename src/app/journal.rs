//! Sessions' events into the audit log. It translates and keeps nothing.

use crate::audit::{Event, Log, SessionChange};
use crate::cc::{AgentId, Retcode, SignInForm};
use crate::session::{BarCause, Journal, SessionEvent};

/// Writes `session.*` records.
pub(super) struct AuditJournal(pub(super) Log);

impl Journal for AuditJournal {
    fn record(&self, agent: AgentId, event: SessionEvent) {
        let (change, detail, retcode) = translate(event);
        self.0.note(Event::Session { agent, change, guid: None, retcode, detail });
    }
}

fn translate(event: SessionEvent) -> (SessionChange, Option<&'static str>, Option<Retcode>) {
    match event {
        SessionEvent::Forced => (SessionChange::Forced, Some("takeover"), None),
        SessionEvent::SignedIn { form } => (SessionChange::SignedIn, Some(form_name(form)), None),
        SessionEvent::Rotated { .. } => (SessionChange::Rotated, None, None),
        SessionEvent::Lost { cause } => (SessionChange::Lost, Some(cause.as_str()), None),
        SessionEvent::SignedOut { why } => (SessionChange::SignedOut, Some(why.as_str()), None),
        SessionEvent::Barred { cause: BarCause::WrongPassword } => {
            (SessionChange::Barred, Some("wrong_password"), Retcode::parse("100-004"))
        }
        SessionEvent::Barred { cause: BarCause::MustChangePassword } => {
            (SessionChange::Barred, Some("must_change_password"), None)
        }
        SessionEvent::Barred { cause: BarCause::BadParameters(retcode) } => {
            (SessionChange::Barred, Some("bad_parameters"), Some(retcode))
        }
        SessionEvent::RightMissing { form } => {
            (SessionChange::Refused, Some(form_name(form)), Retcode::parse("000-003"))
        }
        SessionEvent::WrongKeepAlive => (SessionChange::Refused, Some("wrong_keep_alive"), Retcode::parse("000-001")),
    }
}

const fn form_name(form: SignInForm) -> &'static str {
    match form {
        SignInForm::Platform => "platform",
        SignInForm::Full => "full",
        SignInForm::Force => "force",
    }
}
