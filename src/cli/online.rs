//! `ccgate check --online`: after the check of the text, asks everybody whom the configuration names. It signs nobody in but
//! the agent of `--agent`, never by force and once, and signs that one out again.

mod agent;
mod judge;
mod report;
mod ship;
mod store;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use prometheus::Registry;

use super::{CheckArgs, Exit, check};
use crate::authn::{self, Authenticator, KeySource};
use crate::cc::{AgentId, Guid};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::net;
use crate::ready::Ready;
use crate::upstream::{self, Gateway};
use report::{Finding, Report, causes};

/// Longest time that an agent is watched: it is not free for anybody else meanwhile.
const WATCH_MAX: Duration = Duration::from_hours(1);

/// Prints what [`check`] does, and where that is good one line for each question. Exit code 1 where an answer is a problem, 2
/// where the configuration itself is.
///
/// # Errors
/// Only that `out` is gone.
pub(super) async fn online(args: &CheckArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let text = check(args, out)?;
    if text != Exit::Ok {
        return Ok(text);
    }
    let config = match args.config.load() {
        Ok(loaded) => loaded.config,
        Err(errors) => {
            writeln!(out, "{errors}")?;
            return Ok(Exit::Usage);
        }
    };
    if args.watch.get() > WATCH_MAX {
        writeln!(out, "--watch: {} is longer than 1h: nobody else can use the agent meanwhile", args.watch)?;
        return Ok(Exit::Usage);
    }
    let mut report = Report::new(out);
    issuers(&config, &mut report).await?;
    for finding in store::store(&config).await {
        report.tell(&finding)?;
    }
    for finding in ship::ship(&config).await {
        report.tell(&finding)?;
    }
    let gateway = upstream(&config, args.agent, &mut report).await?;
    match (args.agent, gateway) {
        (Some(agent), Some(gateway)) => agent::agent(&config, agent, args.watch.get(), &gateway, &mut report).await?,
        (Some(agent), None) => {
            let what = format!("agent {agent} was not signed in: the gateway did not answer");
            report.tell(&Finding::warning("--agent", what, ""))?;
        }
        (None, _) => {
            let what = "whether keep-alives and Guids fit was not asked";
            report.tell(&Finding::ok("--agent", format!("{what}: name an agent that nobody uses now")))?;
        }
    }
    report.end()
}

/// Every issuer's keys, once.
async fn issuers(config: &Config, report: &mut Report<'_>) -> io::Result<()> {
    let key = |index: usize, source: &KeySource| match source {
        KeySource::File(_) => format!("auth.issuers[{index}].jwks_file"),
        KeySource::Url(_) => format!("auth.issuers[{index}].jwks_url"),
        KeySource::Discovery => format!("auth.issuers[{index}].issuer"),
    };
    let registry = Registry::new();
    let built = authn::Metrics::register(&registry).map_err(io::Error::other)?;
    let authenticator = match Authenticator::new(&config.auth, Clock::system(), &Ready::new(), built) {
        Ok(authenticator) => authenticator,
        Err(error) => return report.tell(&Finding::problem("auth.issuers", causes(&error), "")),
    };
    let failed = authenticator.refresh_once().await;
    for (index, issuer) in config.auth.issuers.iter().enumerate() {
        let key = key(index, &issuer.keys);
        let finding = match failed.iter().find(|(name, _)| *name == issuer.issuer) {
            None => Finding::ok(key, format!("the keys of {} are there", issuer.issuer)),
            Some((_, error)) => {
                let next =
                    "until its keys come its tokens get 503 keys_unavailable; look at the address and at ca_file";
                Finding::problem(key, causes(error), next)
            }
        };
        report.tell(&finding)?;
    }
    Ok(())
}

/// Every URL, one after the other. The gateway that is asked further is made of all of them; there is one where a URL of
/// `urls` answers, so that an agent could be signed in.
async fn upstream(config: &Config, agent: Option<AgentId>, report: &mut Report<'_>) -> io::Result<Option<Gateway>> {
    let section = &config.upstream;
    let whole = match gateway(section.gateway())? {
        Ok(gateway) => gateway,
        Err(error) => {
            report.tell(&Finding::problem("upstream", causes(&error), ""))?;
            return Ok(None);
        }
    };
    let anybody = agent.or_else(|| AgentId::try_from(AgentId::MIN).ok());
    let Some(agent) = anybody else { return Ok(None) };
    let mut answers = false;
    for (key, at) in keys(config) {
        let alone = upstream::Config { urls: vec![at.clone()], nodes: BTreeMap::new(), ..section.gateway() };
        let Ok(gateway) = gateway(alone)? else { continue };
        let answer = ask(config, agent, &gateway).await;
        let finding = reached(config, &key, &at, &answer);
        answers |= finding.is_ok() && section.urls.contains(&at);
        report.tell(&finding)?;
        if matches!(answer, Err(upstream::Error::Untrusted { .. })) {
            for finding in shown(config, &at).await {
                report.tell(&finding)?;
            }
        }
    }
    Ok(answers.then_some(whole))
}

fn gateway(upstream: upstream::Config) -> io::Result<Result<Gateway, net::TlsError>> {
    let metrics = upstream::Metrics::register(&Registry::new()).map_err(io::Error::other)?;
    Ok(Gateway::new(&upstream, metrics))
}

/// Each URL once, and the key under which it stands.
fn keys(config: &Config) -> Vec<(String, Authority)> {
    let section = &config.upstream;
    let mut keys: Vec<_> = match section.urls.as_slice() {
        [one] => vec![("upstream.url".to_owned(), one.clone())],
        urls => {
            let urls = urls.iter().enumerate();
            urls.map(|(index, at)| (format!("upstream.urls[{index}]"), at.clone())).collect()
        }
    };
    for (name, at) in &section.nodes {
        if !section.urls.contains(at) {
            keys.push((format!("upstream.nodes.{}", name.as_str()), at.clone()));
        }
    }
    keys
}

/// TLS, and a call with a made-up Guid, which changes nothing: the gateway refuses it in its own words.
async fn ask(config: &Config, agent: AgentId, gateway: &Gateway) -> Result<Option<Guid>, upstream::Error> {
    let section = &config.upstream;
    let patience = section.client.connect_timeout.saturating_add(section.client.response_timeout);
    let made_up = Guid::from_text(&format!("{}.none", uuid::Uuid::new_v4()));
    let guid = made_up.map_err(|_| upstream::Error::Protocol("no Guid could be made up"))?;
    tokio::time::timeout(patience, gateway.poll(agent, &guid)).await.unwrap_or(Err(upstream::Error::Timeout))
}

/// The certificates that the gateway shows, so that a person can compare them with the gateway's own, and pin.
async fn shown(config: &Config, at: &Authority) -> Vec<Finding> {
    let client = &config.upstream.client;
    let url = Uri::builder().scheme("https").authority(at.clone()).path_and_query("/").build();
    let Ok(url) = url else { return Vec::new() };
    let seen = net::seen_certificates(&client.tls, &url, client.connect_timeout).await;
    let told = |(index, seen): (usize, &net::SeenCertificate)| {
        let net::SeenCertificate { subject, issuer, not_after, pin, authority } = seen;
        let kind = if *authority { ", an authority's" } else { "" };
        let what = format!("subject {subject:?}, issuer {issuer:?}, ends {not_after}, pin {pin}{kind}");
        Finding::ok(format!("certificate {}", index + 1), what)
    };
    seen.unwrap_or_default().iter().enumerate().map(told).collect()
}

/// Which key to look at where the gateway is not trusted, and what to do.
fn mend(error: &upstream::Error) -> (&'static str, &'static str) {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let mut causes = causes.filter_map(|cause| cause.downcast_ref::<net::Untrusted>());
    match causes.next() {
        Some(net::Untrusted::Expired(_) | net::Untrusted::NotYetValid(_)) => {
            ("upstream.url", "the gateway needs a new certificate, or a clock is wrong")
        }
        Some(net::Untrusted::Name { .. }) => {
            ("upstream.server_name", "set it to the name in the certificate, where that is the gateway's")
        }
        Some(net::Untrusted::NotPinned) => {
            ("upstream.pin_sha256", "compare the pin below with the gateway's own, by another way than this network")
        }
        Some(net::Untrusted::Authority) => {
            ("upstream.trust", "set it to pin, and upstream.pin_sha256 to the pin below once you have compared it")
        }
        Some(net::Untrusted::Refused(_)) => {
            ("upstream.client_cert_file", "name a certificate that the gateway takes, with its key")
        }
        Some(net::Untrusted::UnknownIssuer | net::Untrusted::Other(_)) | None => (
            "upstream.ca_file",
            "name the CA of the gateway's certificate in upstream.ca_file, or compare and pin it (upstream.trust: pin)",
        ),
    }
}

fn reached(config: &Config, key: &str, at: &Authority, answer: &Result<Option<Guid>, upstream::Error>) -> Finding {
    let section = &config.upstream;
    let seconds = |time: Duration| config::Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    match answer {
        Ok(_) | Err(upstream::Error::Refused { .. }) => {
            Finding::ok(key, format!("{at} is trusted and answers as CC-Gateway does"))
        }
        Err(error @ upstream::Error::Untrusted { .. }) => {
            let (key, next) = mend(error);
            Finding::problem(key, format!("{at}: {}", causes(error)), next)
        }
        Err(upstream::Error::Timeout) => {
            let key = "upstream.response_timeout";
            let wait = seconds(section.client.connect_timeout.saturating_add(section.client.response_timeout));
            Finding::problem(key, format!("{at}: no answer within {wait}"), "")
        }
        Err(error @ (upstream::Error::Unreachable { .. } | upstream::Error::Closed { .. })) => {
            let next = "look at the address, at the network between, and at upstream.connect_timeout";
            Finding::problem(key, format!("{at}: {}", causes(error)), next)
        }
        Err(error) => {
            let next = "is that CC-Gateway, or something in between?";
            Finding::problem(key, format!("{at}: {}", causes(error)), next)
        }
    }
}
