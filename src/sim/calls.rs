//! Brings every request to its call and the call to its answer. Writes nothing to a connection.

use std::sync::Arc;

use tokio::io::AsyncRead;

use super::{
    agents::Running,
    answer::{Answer, Asked, FILE, Welcome},
    config::SignInForm,
    downloads::{self, Download},
    faults::{Kind, Scope},
    http::{Connection, Request},
    hygiene,
    rules::Rule,
    sign_in::SignIn,
    world::{Unanswered, Waiting, World, count},
};

/// The base path of all calls.
const BASE: &str = "/agentgateway/resource/";

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    SignIn(SignInForm),
    SignOut,
    UpdateGuid,
    Heartbeat,
    Poll,
    Download(Download),
}

impl Call {
    const fn scope(self) -> Scope {
        match self {
            Self::SignIn(_) => Scope::SignIn,
            Self::SignOut => Scope::SignOut,
            Self::UpdateGuid => Scope::UpdateGuid,
            Self::Heartbeat => Scope::Heartbeat,
            Self::Poll => Scope::Poll,
            Self::Download(_) => Scope::Download,
        }
    }

    fn of(method: &str, path: &str) -> Option<(Self, u32)> {
        let mut parts = path.strip_prefix(BASE)?.splitn(3, '/');
        let (family, agent, rest) = (parts.next()?, agent_id(parts.next()?)?, parts.next());
        let call = match (method, family, rest) {
            ("PUT", "onlineagent", None) => Self::SignIn(SignInForm::Full),
            ("PUT", "onlineagent", Some("loginex")) => Self::SignIn(SignInForm::Platform),
            ("PUT", "onlineagent", Some("forcelogin")) => Self::SignIn(SignInForm::Forced),
            ("PUT", "onlineagent", Some("updateGuid")) => Self::UpdateGuid,
            ("POST", "onlineagent", Some("handshake")) => Self::Heartbeat,
            ("DELETE", "onlineagent", Some("logout" | "forcelogout")) => Self::SignOut,
            ("GET", "agentevent", None) => Self::Poll,
            ("GET", "recordfile", Some("recordfiledownloadEx")) => Self::Download(Download::Extended),
            ("GET", "recordfile", None) => Self::Download(Download::Mounted),
            ("GET", "recordfile", Some("videofiledownload")) => Self::Download(Download::Conference),
            ("GET", "recordfile", Some("videofiledownloadEx")) => Self::Download(Download::VideoExtended),
            ("GET", "filedownload", Some("webmsgrecordfiledownloadex")) => Self::Download(Download::Chat),
            _ => return None,
        };
        Some((call, agent))
    }
}

fn agent_id(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|id| plain && (101..=999_999).contains(id))
}

/// Answers one request; the fault, if any, is for the writer.
pub(super) async fn answer<S: AsyncRead + Unpin>(
    world: &Arc<World>,
    connection: &mut Connection<S>,
    request: &Request,
) -> (Answer, Option<Kind>) {
    world.see(request);
    let (path, _) = request.path_and_query();
    let called = Call::of(&request.method, path);
    let agent = called.map(|(_, agent)| agent);
    hygiene::inspect(&world.rules, request, agent, matches!(called, Some((Call::SignIn(_), _))));
    let fault = world.faults.take(called.map(|(call, _)| call.scope()), agent);
    if let Some((call, _)) = called {
        count_call(world, call);
    }
    let mut answer = match (fault.as_ref().and_then(instead), called) {
        (Some(answer), _) => answer,
        (None, Some((call, agent))) => perform(world, connection, request, call, agent).await,
        (None, None) => {
            let detail: String = format!("{} {path}", request.method).chars().take(200).collect();
            world.rules.broke(Rule::UnknownCall, None, detail);
            if path.starts_with(BASE) { Answer::refused("000-002") } else { Answer::page(404) }
        }
    };
    answer.chunked = agent.is_some_and(|agent| world.config.chunked.contains(&agent));
    if let Some((Call::Download(_), _)) = called {
        let counters = &world.counters;
        count(if answer.is_download() { &counters.downloads } else { &counters.download_refusals });
    }
    (answer, fault)
}

/// The answer of a fault that comes instead of the call.
fn instead(fault: &Kind) -> Option<Answer> {
    match fault {
        Kind::Retcode(retcode) => Some(Answer::refused(retcode)),
        Kind::Message { retcode, message } => Some(Answer::refused_with(retcode, message)),
        Kind::Http(status) => Some(Answer::page(*status)),
        Kind::HtmlPage => Some(Answer::portal()),
        Kind::JsonAsFile(retcode) => {
            let mut answer = Answer::refused(retcode);
            answer.headers = vec![("Content-Type", FILE.to_owned())];
            Some(answer)
        }
        // The writer puts its own bytes in the answer's place.
        _ if fault.replaces_call() => Some(Answer::page(200)),
        _ => None,
    }
}

fn count_call(world: &World, call: Call) {
    let counters = &world.counters;
    match call {
        Call::SignIn(form) => {
            count(&counters.sign_in_calls);
            if form == SignInForm::Forced {
                count(&counters.forced);
            }
        }
        Call::Poll => count(&counters.polls),
        Call::Heartbeat => count(&counters.heartbeats),
        Call::SignOut | Call::UpdateGuid | Call::Download(_) => {}
    }
}

async fn perform<S: AsyncRead + Unpin>(
    world: &Arc<World>,
    connection: &mut Connection<S>,
    request: &Request,
    call: Call,
    agent: u32,
) -> Answer {
    let guid = request.header("Guid").unwrap_or_default();
    let answered = match call {
        Call::SignIn(form) => sign_in(world, agent, form, &request.body).await,
        Call::SignOut => sign_out(world, agent, guid),
        Call::Poll => poll(world, connection, agent, guid).await,
        Call::UpdateGuid => world.agents().update_guid(world.now(), agent, guid).map(|fresh| {
            count(&world.counters.guid_refreshes);
            Answer::success(&"".into()).with_guid(Some(&fresh))
        }),
        Call::Heartbeat => world.agents().heartbeat(world.now(), agent, guid).map(|fresh| {
            if fresh.is_some() {
                count(&world.counters.rotations);
            }
            Answer::success(&"".into()).with_guid(fresh.as_ref())
        }),
        Call::Download(download) => download_for(world, request, download, agent, guid),
    };
    answered.unwrap_or_else(|retcode| Answer::refused(&retcode))
}

async fn sign_in(world: &Arc<World>, agent: u32, form: SignInForm, body: &[u8]) -> Result<Answer, String> {
    let unanswered = Unanswered::begin(world, agent, Running::SignIn)?;
    // As in the real gateway, a client that goes away meanwhile is signed in all the same.
    tokio::time::sleep(world.config.sign_in_delay).await;
    let asked = match SignIn::parse(body, form != SignInForm::Platform) {
        Ok(asked) => asked,
        Err(retcode) => return Ok(Answer::refused(retcode).answering(unanswered)),
    };
    let now = world.now();
    let welcome = Welcome {
        agent,
        check_in_webm: asked.check_in_webm,
        check_in_mailm: asked.check_in_mailm,
        login_time: login_time(now.as_secs()),
        must_change: world.config.must_change,
        password_days: world.config.password_days,
    };
    let signed_in = world.agents().sign_in(now, agent, form, asked);
    // A forcible sign-in ends the other session's poll.
    world.ring(agent);
    Ok(match signed_in {
        Ok(guid) => {
            count(&world.counters.sign_ins);
            Answer::success(&welcome.result()).with_guid(Some(&guid)).answering(unanswered)
        }
        Err(retcode) => Answer::refused(&retcode).answering(unanswered),
    })
}

/// The simulated site's clock starts with the year 2026.
fn login_time(uptime_seconds: u64) -> String {
    let seconds = 1_767_225_600 + i64::try_from(uptime_seconds).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

fn sign_out(world: &Arc<World>, agent: u32, guid: &str) -> Result<Answer, String> {
    let unanswered = Unanswered::begin(world, agent, Running::SignOut)?;
    let signed_out = world.agents().sign_out(world.now(), agent, guid);
    world.ring(agent);
    Ok(match signed_out {
        Ok(()) => {
            count(&world.counters.sign_outs);
            Answer::success(&"".into()).answering(unanswered)
        }
        Err(retcode) => Answer::refused(&retcode).answering(unanswered),
    })
}

async fn poll<S: AsyncRead + Unpin>(
    world: &Arc<World>,
    connection: &mut Connection<S>,
    agent: u32,
    guid: &str,
) -> Result<Answer, String> {
    let poll = world.agents().begin_poll(world.now(), agent, guid)?;
    let waiting = Waiting { world, poll };
    let mut end = std::pin::pin!(tokio::time::sleep(world.config.poll_wait));
    let bell = world.bell(agent);
    let event = loop {
        let changed = bell.notified();
        if !world.agents().is_polling(poll) {
            break None;
        }
        if let Some(event) = world.take_event(agent) {
            break Some(event);
        }
        tokio::select! {
            () = changed => {}
            () = &mut end => break None,
            // Nobody waits for the answer: the poll ends as dropped, what is answered reaches nobody.
            () = connection.closed() => return Err("000-000".to_owned()),
        }
    };
    let fresh = world.agents().end_poll(world.now(), poll)?;
    drop(waiting);
    if fresh.is_some() {
        count(&world.counters.rotations);
    }
    Ok(Answer::event(&event.unwrap_or_default()).with_guid(fresh.as_ref()))
}

fn download_for(
    world: &World,
    request: &Request,
    download: Download,
    agent: u32,
    guid: &str,
) -> Result<Answer, String> {
    let signed_in = world.agents().check(world.now(), agent, guid)?;
    if world.config.full_sign_in_only && signed_in.form == SignInForm::Platform {
        return Err("000-003".to_owned());
    }
    let (_, query) = request.path_and_query();
    let asked = Asked { range: request.header("Range"), if_range: request.header("If-Range") };
    Ok(downloads::answer(world, agent, download, query, asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_vendor_is_known() {
        for (method, path, call) in [
            ("PUT", "onlineagent/101", Call::SignIn(SignInForm::Full)),
            ("PUT", "onlineagent/101/loginex", Call::SignIn(SignInForm::Platform)),
            ("PUT", "onlineagent/101/forcelogin", Call::SignIn(SignInForm::Forced)),
            ("PUT", "onlineagent/101/updateGuid", Call::UpdateGuid),
            ("POST", "onlineagent/101/handshake", Call::Heartbeat),
            ("GET", "agentevent/101", Call::Poll),
            ("DELETE", "onlineagent/101/logout", Call::SignOut),
            ("DELETE", "onlineagent/101/forcelogout", Call::SignOut),
            ("GET", "recordfile/101/recordfiledownloadEx", Call::Download(Download::Extended)),
            ("GET", "recordfile/101", Call::Download(Download::Mounted)),
            ("GET", "recordfile/101/videofiledownload", Call::Download(Download::Conference)),
            ("GET", "recordfile/101/videofiledownloadEx", Call::Download(Download::VideoExtended)),
            ("GET", "filedownload/101/webmsgrecordfiledownloadex", Call::Download(Download::Chat)),
        ] {
            assert_eq!(Call::of(method, &format!("{BASE}{path}")), Some((call, 101)), "{method} {path}");
        }
    }

    #[test]
    fn other_calls_and_agents_are_not() {
        for (method, path) in [
            ("GET", "onlineagent/101"),
            ("PUT", "onlineagent/100"),
            ("PUT", "onlineagent/0101"),
            ("PUT", "onlineagent/+101"),
            ("PUT", "onlineagent/1000000"),
            ("PUT", "onlineagent/101/"),
            ("PUT", "onlineagent/101/LOGINEX"),
            ("GET", "recordfile/101/recordfiledownloadEx/"),
            ("GET", "recordfile"),
        ] {
            assert_eq!(Call::of(method, &format!("{BASE}{path}")), None, "{method} {path}");
        }
        assert_eq!(Call::of("PUT", "/onlineagent/101"), None);
    }

    #[test]
    fn login_times_look_like_the_vendors() {
        assert_eq!(login_time(61), "2026-01-01 00:01:01");
    }
}
