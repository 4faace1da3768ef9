//! One row of the table of statuses: its cause, what the caller is told, what is recorded, and what must not be said.

use serde_json::json;

use super::golden;
use crate::client::{self, Answer};
use crate::issuer::Issuer;
use crate::world::{Builder, CALL, PASSWORD, World, call};

/// Causes each failure of a part of the table and compares what is answered.
pub(super) async fn table(part: &str, rows: impl IntoIterator<Item = Row>) {
    let mut answers = Vec::new();
    for row in rows {
        answers.push(row.check().await);
    }
    golden::compare(part, &answers);
}

/// One way of being refused.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) build: fn(Builder) -> Builder,
    pub(super) prepare: fn(&World),
    pub(super) ready: bool,
    pub(super) method: &'static str,
    pub(super) target: String,
    /// Empty: none is sent.
    pub(super) token: fn(&Issuer) -> String,
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) retcode: Option<&'static str>,
    pub(super) retry_after: bool,
    pub(super) asks_upstream: bool,
    pub(super) recorded: Recorded,
}

/// What the audit log holds of a refusal.
#[derive(Clone, Copy)]
pub(super) enum Recorded {
    /// No token was looked at.
    Nothing,
    /// A `denied`.
    Denied,
    /// An `authorized` and its end, with this reason.
    Failed(&'static str),
}

impl Row {
    /// A refusal of agent 1001, who asks for an own call with a good token.
    pub(super) fn new(name: &'static str, status: u16, code: &'static str) -> Self {
        Self {
            name,
            build: |world| world,
            prepare: |_| {},
            ready: true,
            method: "GET",
            target: call(1001, CALL),
            token: |issuer| issuer.agent(1001),
            headers: &[],
            status,
            code,
            retcode: None,
            retry_after: false,
            asks_upstream: true,
            recorded: Recorded::Denied,
        }
    }

    /// The token is at fault: nothing is asked of the upstream.
    pub(super) fn token(name: &'static str, code: &'static str, token: fn(&Issuer) -> String) -> Self {
        Self { token, asks_upstream: false, ..Self::new(name, 401, code) }
    }

    /// The head is at fault: nothing is looked at behind it.
    pub(super) fn head(name: &'static str, status: u16, code: &'static str, target: &str) -> Self {
        let target = target.to_owned();
        Self { target, asks_upstream: false, recorded: Recorded::Nothing, ..Self::new(name, status, code) }
    }

    /// The policy says no.
    pub(super) fn policy(name: &'static str, code: &'static str, target: String) -> Self {
        Self { target, asks_upstream: false, ..Self::new(name, 403, code) }
    }

    /// The download itself is refused, after an entry was opened.
    pub(super) fn download(
        name: &'static str,
        status: u16,
        code: &'static str,
        reason: &'static str,
        prepare: fn(&World),
    ) -> Self {
        Self { prepare, recorded: Recorded::Failed(reason), ..Self::new(name, status, code) }
    }

    pub(super) fn retcode(self, retcode: &'static str) -> Self {
        Self { retcode: Some(retcode), ..self }
    }

    pub(super) fn retry_after(self) -> Self {
        Self { retry_after: true, ..self }
    }

    pub(super) fn build(self, build: fn(Builder) -> Builder) -> Self {
        Self { build, ..self }
    }

    /// Makes a world for it, sends the request, and looks at the answer, the record and the upstream. Returns the answer
    /// as it is to be compared.
    pub(super) async fn check(self) -> String {
        let mut world = (self.build)(World::new()).without_gateway().await;
        world.run_here().await;
        if self.ready {
            world.until_ready().await;
        }
        (self.prepare)(&world);
        let token = (self.token)(&world.issuer);
        let bearer = (!token.is_empty()).then(|| format!("Bearer {token}"));
        let mut headers = vec![("x-request-id", "row-1")];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        headers.extend_from_slice(self.headers);
        let answer = client::whole(client::request(world.server(), self.method, &self.target, &headers).await).await;
        self.check_answer(&answer);
        self.check_silence(&answer, &world, &token);
        self.check_record(&answer, &world).await;
        if !self.asks_upstream {
            assert_eq!(world.sim.counts().requests, 0, "{}", self.name);
        }
        assert!(world.shut_down().await, "{}: every entry has its end", self.name);
        golden::answer(self.name, &format!("{} {}", self.method, self.target), &answer)
    }

    fn check_answer(&self, answer: &Answer) {
        let name = self.name;
        assert_eq!((answer.status.as_u16(), answer.whole), (self.status, true), "{name}: {answer:?}");
        assert_eq!(answer.header("x-request-id"), "row-1", "{name}");
        assert_eq!(answer.header("cache-control"), "no-store", "{name}");
        let (retry, challenge) = (answer.header("retry-after"), answer.header("www-authenticate"));
        assert_eq!(!retry.is_empty(), self.retry_after, "{name}: Retry-After {retry:?}");
        assert!(!self.retry_after || retry.parse::<u64>().unwrap() >= 1, "{name}: {retry}");
        let expected = match (self.status, self.code) {
            (401, "token_missing") => "Bearer realm=\"ccgate\"",
            (401, _) => "Bearer realm=\"ccgate\", error=\"invalid_token\"",
            _ => "",
        };
        assert_eq!(challenge, expected, "{name}");
        assert_eq!(answer.header("allow"), if self.status == 405 { "GET" } else { "" }, "{name}");
        if self.method != "HEAD" {
            self.check_document(answer);
        }
    }

    fn check_document(&self, answer: &Answer) {
        let (name, document) = (self.name, answer.json());
        assert_eq!(answer.code(), self.code, "{name}: {document}");
        let mut names: Vec<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut expected = vec!["code", "detail", "request_id", "status", "title", "type"];
        if self.retcode.is_some() {
            expected.insert(3, "retcode");
        }
        assert_eq!(names, expected, "{name}");
        assert_eq!(document["retcode"].as_str(), self.retcode, "{name}");
        assert_eq!(document["type"], format!("urn:ccgate:problem:{}", self.code), "{name}");
        assert_eq!((&document["status"], &document["request_id"]), (&json!(self.status), &json!("row-1")), "{name}");
        let filled = |field: &str| !document[field].as_str().unwrap().trim().is_empty();
        assert!(filled("title") && filled("detail"), "{name}: {document}");
    }

    /// Nothing of what the upstream said, of files or secrets is in the answer.
    fn check_silence(&self, answer: &Answer, world: &World, token: &str) {
        let said = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
        let guid = world.sim.guid_of(1001);
        let folder = world.dir().display().to_string();
        let theirs = [
            "secret/path",
            "no right to in",
            "has logged",
            "has not logged",
            "is not enabled",
            "as not defined",
            "message\"",
        ];
        let secrets = [Some(PASSWORD), guid.as_deref(), Some(&folder), Some(token).filter(|token| token.len() > 20)];
        for unsaid in theirs.into_iter().chain(secrets.into_iter().flatten()) {
            assert!(!said.contains(unsaid), "{}: {unsaid} is in {said}", self.name);
        }
    }

    async fn check_record(&self, answer: &Answer, world: &World) {
        let (name, entry) = (self.name, answer.header("ccgate-audit-id"));
        let (denied, authorized) = (world.events("denied"), world.events("authorized"));
        match self.recorded {
            Recorded::Nothing => assert_eq!((denied.len(), authorized.len(), entry), (0, 0, ""), "{name}"),
            Recorded::Denied => {
                assert_eq!((denied.len(), authorized.len(), entry), (1, 0, ""), "{name}");
                let record = &denied[0];
                assert_eq!((&record["code"], &record["request_id"]), (&json!(self.code), &json!("row-1")), "{name}");
                assert_eq!(record["retcode"].as_str(), self.retcode, "{name}: {record}");
            }
            Recorded::Failed(reason) => {
                assert_eq!((denied.len(), authorized.len()), (0, 1), "{name}");
                let end = world.end_of(entry).await;
                assert_eq!((&end["event"], &end["reason"]), (&json!("failed"), &json!(reason)), "{name}: {end}");
                assert_eq!(end["upstream"]["retcode"].as_str(), self.retcode, "{name}: {end}");
                let delivery = &end["delivery"];
                assert_eq!((&delivery["class"], &delivery["client_bytes"]), (&json!("error"), &json!(0)), "{name}");
            }
        }
    }
}
