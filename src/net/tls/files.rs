//! What the TLS configurations are made of, out of PEM files of bounded length. It never shows what a file holds.

use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::TlsError;
use crate::net::certificate::{ClientCertificate, not_after, parse};

/// Longest PEM file, in bytes: the system's own bundle of all authorities is about 220 KiB.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// When the first of a PEM file's certificates ends.
pub fn certificate_expiry(path: &Path) -> Result<Timestamp, TlsError> {
    let certificates = certificates(path)?;
    let ends = certificates.iter().map(|der| parse(der).map(|certificate| not_after(&certificate)));
    let ends = ends.collect::<Result<Vec<_>, _>>();
    let ends = ends.map_err(|error| unusable(path, "certificate", Some(Box::new(error))))?;
    ends.into_iter().min().ok_or_else(|| unusable(path, "certificate", None))
}

/// When the first of a PEM file's revocation lists is out of date; `None`: none of them ever is.
pub fn revocation_expiry(path: &Path) -> Result<Option<Timestamp>, TlsError> {
    let what = "revocation list";
    let mut first: Option<Timestamp> = None;
    for list in revocation_lists(path)? {
        let (_rest, list) =
            x509_parser::parse_x509_crl(&list).map_err(|error| unusable(path, what, Some(Box::new(error))))?;
        let next = list.next_update().map(|next| Timestamp::from_second(next.timestamp())).transpose();
        let next = next.map_err(|error| unusable(path, what, Some(Box::new(error))))?;
        first = [first, next].into_iter().flatten().min();
    }
    Ok(first)
}

/// Whom the first certificate of a PEM file names. Nobody has verified it.
pub fn client_certificate(path: &Path) -> Result<ClientCertificate, TlsError> {
    let certificates = certificates(path)?;
    let first = certificates.first().ok_or_else(|| unusable(path, "certificate", None))?;
    ClientCertificate::read(first).map_err(|error| unusable(path, "certificate", Some(Box::new(error))))
}

pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, "certificate", Some(Box::new(error))))?;
    }
    Ok(roots)
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, "certificate")?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    // As with a key: people put both into one file.
    let found = found.map_err(|_quotes| unusable(path, "certificate", None))?;
    if found.is_empty() { Err(unusable(path, "certificate", None)) } else { Ok(found) }
}

pub(super) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let what = "revocation list";
    let pem = read(path, what)?;
    let found = CertificateRevocationListDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_quotes| unusable(path, what, None))?;
    if found.is_empty() { Err(unusable(path, what, None)) } else { Ok(found) }
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path, "private key")?;
    // The parser's own error quotes the line that it stumbled over, which can be the key (R17).
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_quotes| unusable(path, "private key", None))
}

/// Reads a PEM file; one that is longer than the bound, such as a device, is refused rather than read to its end.
fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, TlsError> {
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut pem));
    file.map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if u64::try_from(pem.len()).is_ok_and(|length| length <= PEM_BYTES_MAX) {
        Ok(pem)
    } else {
        Err(unusable(path, what, Some("it is longer than 4 MiB".into())))
    }
}

pub(super) fn unusable(
    path: &Path,
    what: &'static str,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> TlsError {
    TlsError::File { path: path.to_owned(), what, source }
}
