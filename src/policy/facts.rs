//! What a decision looks at, and how the policy engine gets to see it. It decides nothing.
//!
//! [`Facts`] has one field for each word of the schema. Its types leave no room for a value that the schema does not
//! allow, so that no request is held against the schema again; a property test holds the two together.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression as Value};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

use super::authorized::Request;
use super::known::{Principal, is_plain};
use super::reads::{Reads, Word};
use super::teams::Teams;
use crate::authn::Caller;
use crate::cc::{AgentId, CallId, FileRef, Kind, Operation, Owner};
use crate::route::{Arrival, Download, Purpose, Ticket};

/// Who, what and under which circumstances.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    pub(super) who: Who<'a>,
    pub(super) what: What<'a>,
    pub(super) when: Circumstances<'a>,
}

/// The principal.
#[derive(Debug, Clone)]
pub(super) struct Who<'a> {
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
    pub(super) client_id: Option<&'a str>,
    pub(super) agent: Option<AgentId>,
    pub(super) roles: Cow<'a, BTreeSet<String>>,
    pub(super) inspects: Cow<'a, BTreeSet<AgentId>>,
    pub(super) inspects_everyone: bool,
    pub(super) teams: Cow<'a, BTreeSet<String>>,
}

/// The resource.
#[derive(Debug, Clone)]
pub(super) struct What<'a> {
    /// For the reference, which is written only where somebody reads it.
    file: &'a FileRef,
    pub(super) kind: Kind,
    pub(super) operation: Operation,
    pub(super) owner: Owner,
    /// A team that the owner is thought to be in, beside those of the entities file; for explanations only.
    pub(super) owner_also_in: Option<String>,
    pub(super) session_agent: AgentId,
    pub(super) vdn: Option<u32>,
    pub(super) recorded_on: Option<Date>,
    pub(super) call_id: Option<&'a str>,
}

/// The context.
#[derive(Debug, Clone)]
pub(super) struct Circumstances<'a> {
    pub(super) purpose: Option<&'a str>,
    pub(super) ticket: Option<&'a str>,
    pub(super) now: Timestamp,
    pub(super) peer: IpAddr,
}

/// What the engine could not be told.
#[derive(Debug, thiserror::Error)]
#[error("the facts cannot be put to the policy")]
pub(super) struct Unspeakable(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A request as the engine takes it.
pub(super) struct Question {
    pub(super) request: cedar_policy::Request,
    pub(super) entities: Entities,
}

/// The schema's names, parsed once: a decision parses none.
#[derive(Debug)]
pub(super) struct Vocabulary {
    download: EntityUid,
    agent: EntityTypeName,
    caller: EntityTypeName,
    kind: EntityTypeName,
    operation: EntityTypeName,
    recording: EntityTypeName,
    team: EntityTypeName,
}

impl<'a> Facts<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        Self {
            who: Who::of(&request.caller),
            what: What::of(&request.download),
            when: Circumstances::of(request, &request.arrival),
        }
    }
}

impl<'a> Who<'a> {
    pub(super) fn of(caller: &'a Caller) -> Self {
        Self {
            issuer: caller.issuer(),
            subject: caller.subject(),
            client_id: caller.client_id(),
            agent: caller.agent(),
            roles: Cow::Borrowed(caller.roles()),
            inspects: Cow::Borrowed(&caller.inspects().agents),
            inspects_everyone: caller.inspects().all,
            teams: Cow::Borrowed(caller.teams()),
        }
    }
}

impl<'a> What<'a> {
    fn of(download: &'a Download) -> Self {
        let file = download.file();
        Self {
            file,
            kind: file.kind(),
            operation: file.operation(),
            owner: file.owner(),
            owner_also_in: None,
            session_agent: download.agent(),
            vdn: file.vdn(),
            recorded_on: file.recorded_on(),
            call_id: file.call_id().map(CallId::as_str),
        }
    }

    /// The canonical reference.
    pub(super) fn reference(&self) -> String {
        self.file.reference()
    }

    /// The owner, where it is an agent.
    pub(super) const fn owner_agent(&self) -> Option<AgentId> {
        match self.owner {
            Owner::Agent(agent) => Some(agent),
            Owner::Nobody | Owner::Unknown => None,
        }
    }

    /// Days from the recording to `now`, both in UTC; less than 0 for a day to come.
    pub(super) fn age_days(&self, now: Timestamp) -> Option<i64> {
        let today = Offset::UTC.to_datetime(now).date();
        let age = self.recorded_on?.until(today).ok()?;
        Some(i64::from(age.get_days()))
    }
}

impl<'a> Circumstances<'a> {
    fn of(request: &'a Request, arrival: &Arrival) -> Self {
        Self {
            purpose: request.purpose.as_ref().map(Purpose::as_str),
            ticket: request.ticket.as_ref().map(Ticket::as_str),
            now: arrival.at,
            // A listener on `::` sees IPv4 clients as `::ffff:10.0.0.7`, which the engine refuses to read as an address
            // and no rule about `10.0.0.0/8` would match.
            peer: arrival.source.address().to_canonical(),
        }
    }
}

impl Vocabulary {
    /// Parses the schema's names.
    pub(super) fn new() -> Result<Self, Box<cedar_policy::ParseErrors>> {
        let kind = |name: &str| name.parse::<EntityTypeName>().map_err(Box::new);
        Ok(Self {
            download: uid(&kind("Action")?, "download"),
            agent: kind("Agent")?,
            caller: kind("Caller")?,
            kind: kind("Kind")?,
            operation: kind("Operation")?,
            recording: kind("Recording")?,
            team: kind("Team")?,
        })
    }

    /// Puts the facts as a request and the entities that it names.
    pub(super) fn question(&self, facts: &Facts<'_>, teams: &Teams) -> Result<Question, Unspeakable> {
        self.question_by(&self.principal(&facts.who)?, facts, teams, Reads::ALL)
    }

    /// The same, of a caller who was put before and without the costly facts that no rule looks at.
    pub(super) fn question_by(
        &self,
        principal: &Principal,
        facts: &Facts<'_>,
        teams: &Teams,
        reads: Reads,
    ) -> Result<Question, Unspeakable> {
        let resource = self.resource(&facts.what, facts.when.now, reads)?;
        let context = Context::from_pairs(context(&facts.when, reads)).map_err(unspeakable)?;
        let (who, what) = (principal.uid.clone(), resource.uid());
        let request = cedar_policy::Request::new(who, self.download.clone(), what, context, None);
        // A clone of them shares the caller.
        let mut entities = principal.entities.clone();
        let others = std::iter::once(resource).chain(self.agents(facts, teams));
        entities = entities.add_entities(others, None).map_err(unspeakable)?;
        Ok(Question { request: request.map_err(unspeakable)?, entities })
    }

    /// The caller. It depends on the person alone, not on what is asked for.
    pub(super) fn principal(&self, who: &Who<'_>) -> Result<Principal, Unspeakable> {
        let mut attributes = Attributes::default();
        attributes.put("issuer", Value::new_string(who.issuer.to_owned()));
        attributes.put("subject", Value::new_string(who.subject.to_owned()));
        attributes.put_some("client_id", who.client_id.map(|id| Value::new_string(id.to_owned())));
        attributes.put_some("agent", who.agent.map(|agent| self.agent(agent)));
        attributes.put("roles", Value::new_set(who.roles.iter().map(|role| Value::new_string(role.clone()))));
        attributes.put("inspects", Value::new_set(who.inspects.iter().map(|agent| self.agent(*agent))));
        attributes.put("inspects_everyone", Value::new_bool(who.inspects_everyone));
        let teams = who.teams.iter().map(|team| Value::new_entity_uid(uid(&self.team, team)));
        attributes.put("teams", Value::new_set(teams));
        // An issuer is a URL, which holds no space: no two callers have one id.
        let uid = uid(&self.caller, &format!("{} {}", who.issuer, who.subject));
        let entity = attributes.entity(uid.clone())?;
        Ok(Principal { uid, entities: Entities::from_entities([entity], None).map_err(unspeakable)? })
    }

    fn resource(&self, what: &What<'_>, now: Timestamp, reads: Reads) -> Result<Entity, Unspeakable> {
        let reference = what.reference();
        let (day, age) = (reads.has(Word::RecordedOn), reads.has(Word::AgeDays));
        let mut attributes = Attributes::default();
        attributes.put("kind", Value::new_entity_uid(uid(&self.kind, what.kind.as_str())));
        attributes.put("operation", Value::new_entity_uid(uid(&self.operation, what.operation.as_str())));
        attributes.put("reference", Value::new_string(reference.clone()));
        attributes.put_some("owner", what.owner_agent().map(|agent| self.agent(agent)));
        attributes.put("belongs_to_nobody", Value::new_bool(what.owner == Owner::Nobody));
        attributes.put("owner_unknown", Value::new_bool(what.owner == Owner::Unknown));
        attributes.put("session_agent", self.agent(what.session_agent));
        attributes.put_some("vdn", what.vdn.map(|vdn| Value::new_long(i64::from(vdn))));
        attributes
            .put_some("recorded_on", what.recorded_on.filter(|_| day).map(|day| Value::new_datetime(day.to_string())));
        attributes.put_some("age_days", age.then(|| what.age_days(now)).flatten().map(Value::new_long));
        attributes.put_some("call_id", what.call_id.map(|id| Value::new_string(id.to_owned())));
        attributes.entity(uid(&self.recording, &reference))
    }

    /// The agents whose teams a rule can ask for, each once. An agent in no team need not be told: it has no parents.
    fn agents(&self, facts: &Facts<'_>, teams: &Teams) -> Vec<Entity> {
        let owner = facts.what.owner_agent();
        let named: BTreeSet<_> =
            [owner, facts.who.agent, Some(facts.what.session_agent)].into_iter().flatten().collect();
        let in_teams = named.into_iter().filter_map(|agent| {
            let mut parents: HashSet<_> = teams.of(agent).map(|team| uid(&self.team, team)).collect();
            let also = facts.what.owner_also_in.as_deref().filter(|_| owner == Some(agent));
            parents.extend(also.map(|team| uid(&self.team, team)));
            (!parents.is_empty()).then(|| Entity::new_no_attrs(uid(&self.agent, &agent.to_string()), parents))
        });
        in_teams.collect()
    }

    fn agent(&self, agent: AgentId) -> Value {
        Value::new_entity_uid(uid(&self.agent, &agent.to_string()))
    }
}

/// Time and place are texts to the engine, which it parses: they are left out where no rule can miss them.
fn context(when: &Circumstances<'_>, reads: Reads) -> Vec<(String, Value)> {
    let mut attributes = Attributes::default();
    attributes.put_some("purpose", when.purpose.map(|text| Value::new_string(text.to_owned())));
    attributes.put_some("ticket", when.ticket.map(|text| Value::new_string(text.to_owned())));
    // A time that the engine refuses stands there for every policy, so that it refuses.
    let now = reads.has(Word::Now) || !is_plain(when.now);
    attributes.put_some("now", now.then(|| Value::new_datetime(format!("{:.3}", when.now))));
    attributes.put_some("peer", reads.has(Word::Peer).then(|| Value::new_ip(when.peer.to_string())));
    attributes.0
}

#[derive(Default)]
struct Attributes(Vec<(String, Value)>);

impl Attributes {
    fn put(&mut self, name: &'static str, value: Value) {
        self.0.push((name.to_owned(), value));
    }

    fn put_some(&mut self, name: &'static str, value: Option<Value>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn entity(self, uid: EntityUid) -> Result<Entity, Unspeakable> {
        Entity::new_with_tags(uid, self.0, [], []).map_err(unspeakable)
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn unspeakable(error: impl std::error::Error + Send + Sync + 'static) -> Unspeakable {
    Unspeakable(Box::new(error))
}
