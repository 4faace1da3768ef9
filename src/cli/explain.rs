//! `ccgate policy explain`: what the rules say to a download, why, and what would change it. It downloads nothing and asks
//! nobody but, for a token's signature, the issuers.

use std::fmt;
use std::io::{self, Read as _, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use prometheus::Registry;
use secrecy::{ExposeSecret as _, SecretString};

use super::run::tell;
use super::{Exit, ExplainArgs};
use crate::authn::{self, Authenticator, Caller, KeysError, supposed_caller};
use crate::clock::Clock;
use crate::config::{self, Loaded};
use crate::net;
use crate::policy::{self, Explanation, Policy};
use crate::ready::Ready;
use crate::route::{self, Arrival, Download, RequestId, Source};

/// Longest file of claims that is read, in bytes: what fits into a token.
const CLAIMS_BYTES_MAX: u64 = 8 * 1024;

/// Why there is no decision of the rules.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Config(config::Errors),
    #[error("the verification of tokens cannot be set up (auth)")]
    Auth(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the policy cannot be used")]
    Policy(#[source] policy::Error),
    #[error("the URL cannot be read")]
    Url(#[source] http::uri::InvalidUri),
    #[error("this is no request for a download")]
    Request(#[source] route::Error),
    #[error("{0} holds characters that no header can hold")]
    Header(&'static str),
    #[error("{} cannot be read", .path.display())]
    ClaimsFile { path: PathBuf, source: io::Error },
    #[error("{} is longer than {CLAIMS_BYTES_MAX} bytes", .0.display())]
    ClaimsTooLong(PathBuf),
    #[error("{} does not hold claims", .path.display())]
    Claims { path: PathBuf, source: authn::Malformed },
    #[error("--certificate cannot be used")]
    Certificate(#[source] net::TlsError),
    #[error("nobody can be recognised")]
    Caller(#[source] authn::Error),
    /// Which key sets did not come; one of them is the token's issuer's.
    #[error("the keys to verify the token are not available")]
    Keys(Vec<(String, KeysError)>),
}

/// Prints the decision: exit code 0 where the download is permitted, 1 where it is refused, 2 where the input is bad.
///
/// # Errors
/// Only that `out` or `err` is gone.
pub async fn explain(args: &ExplainArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    match explanation(args).await {
        Ok(explanation) => {
            write!(out, "{explanation}")?;
            Ok(if explanation.permitted() { Exit::Ok } else { Exit::Failed })
        }
        Err(Error::Caller(refused)) => {
            write!(out, "{}", Unrecognised(&refused))?;
            Ok(Exit::Failed)
        }
        Err(Error::Config(errors)) => {
            writeln!(err, "{errors}")?;
            Ok(Exit::Usage)
        }
        Err(Error::Keys(failed)) => {
            for (issuer, error) in &failed {
                writeln!(err, "{issuer}:")?;
                tell(err, error)?;
            }
            Ok(Exit::Failed)
        }
        Err(error) => {
            tell(err, &error)?;
            Ok(Exit::Usage)
        }
    }
}

async fn explanation(args: &ExplainArgs) -> Result<Explanation, Error> {
    let loaded = args.config.load().map_err(Error::Config)?;
    let policy = Policy::load(&loaded.config.policy).map_err(Error::Policy)?;
    let clock = Clock::system();
    let download = download(args)?;
    let shown = args.certificate.as_deref().map(net::client_certificate).transpose().map_err(Error::Certificate)?;
    let caller = match (&args.token, &args.claims) {
        (Some(token), _) => verified(token, shown.as_ref(), &loaded, clock.clone()).await?,
        (None, Some(file)) => supposed(file, &loaded)?,
        // The command line asks for one of the two.
        (None, None) => return Err(Error::Caller(authn::Error::Missing)),
    };
    let arrival = Arrival {
        at: clock.now(),
        source: Source { peer: SocketAddr::new(args.peer, 0), forwarded: None, certificate: shown.map(Arc::new) },
        request_id: RequestId::random(),
        trace: None,
    };
    Ok(policy.explain(&caller, &download, &arrival))
}

/// Reads the download as the data plane would: scheme, host and port of a whole URL don't matter.
fn download(args: &ExplainArgs) -> Result<Download, Error> {
    let url: Uri = args.url.parse().map_err(Error::Url)?;
    let target = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let target: Uri = target.parse().map_err(Error::Url)?;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("localhost"));
    for (option, name, value) in
        [("--purpose", "ccgate-purpose", &args.purpose), ("--ticket", "ccgate-ticket", &args.ticket)]
    {
        if let Some(value) = value {
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Error::Header(option))?;
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    route::parse(Version::HTTP_11, &Method::GET, &target, &headers).map_err(Error::Request)
}

/// The caller of a token, verified as the data plane would; keys that come over the network are fetched once.
async fn verified(
    token: &SecretString,
    shown: Option<&net::ClientCertificate>,
    loaded: &Loaded,
    clock: Clock,
) -> Result<Caller, Error> {
    let setup = |error: Box<dyn std::error::Error + Send + Sync>| Error::Auth(error);
    let metrics = authn::Metrics::register(&Registry::new()).map_err(|error| setup(error.into()))?;
    let authenticator = Authenticator::new(&loaded.config.auth, clock, &Ready::new(), metrics);
    let authenticator = authenticator.map_err(|error| setup(error.into()))?;
    let failed = authenticator.refresh_once().await;
    let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
    let mut bearer = bearer.map_err(|_| Error::Header("--token"))?;
    bearer.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
    match authenticator.authenticate(&headers, shown).await {
        Ok(caller) => Ok(caller),
        Err(authn::Error::KeysUnavailable { .. }) => Err(Error::Keys(failed)),
        Err(error) => Err(Error::Caller(error)),
    }
}

/// The caller that the claims in a file name, as if a token with them had been verified.
fn supposed(file: &Path, loaded: &Loaded) -> Result<Caller, Error> {
    let claims = read(file)?;
    supposed_caller(&loaded.config.auth, &claims).map_err(|error| match error {
        authn::Error::Malformed(source) => Error::Claims { path: file.to_owned(), source },
        other => Error::Caller(other),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let mut claims = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(CLAIMS_BYTES_MAX + 1).read_to_end(&mut claims));
    match read {
        Err(source) => Err(Error::ClaimsFile { path: file.to_owned(), source }),
        Ok(_) if claims.len() as u64 > CLAIMS_BYTES_MAX => Err(Error::ClaimsTooLong(file.to_owned())),
        Ok(_) => Ok(claims),
    }
}

/// A refusal before any rule is asked, in the form of an [`Explanation`].
struct Unrecognised<'e>(&'e authn::Error);

impl fmt::Display for Unrecognised<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<9} refused: {}", "decision", self.0.code())?;
        writeln!(f, "{:<9} none was asked: {}", "rule", self.0)?;
        match std::error::Error::source(self.0) {
            Some(cause) => writeln!(f, "{:<9} {cause}", ""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
