//! Who a client is, as its verified certificate says: read once a connection, bounded, and never trimmed or repaired.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Oid, ToDer as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry as oid;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Characters kept of a subject and of an issuer.
const NAME_CHARS_MAX: usize = 512;
/// Alternative names kept of each kind.
const ALTERNATIVES_MAX: usize = 8;
/// Characters kept of one alternative name.
const ALTERNATIVE_CHARS_MAX: usize = 256;

/// The identity in a client's certificate. Names that are longer, or more, than the bounds are cut, and
/// [`ClientCertificate::is_cut`] says so; the fingerprint always tells two certificates apart.
///
/// No name here holds a NUL or any other control character: a certificate with one is no identity at all
/// ([`IdentityError`]), since programs differ in what they take such a name for (CVE-2025-66220).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    sha256: [u8; 32],
    subject: String,
    issuer: String,
    dns: Vec<String>,
    uris: Vec<String>,
    emails: Vec<String>,
    not_after: Timestamp,
    cut: bool,
}

/// A certificate whose identity can't be told without guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not one X.509 certificate, or with an extension that is malformed or stands twice.
    #[error("the certificate cannot be read")]
    Malformed,
    /// A name with a control character, a line separator or a byte order mark.
    #[error("a name in the certificate holds a character that is not printable")]
    Unprintable,
    /// An alternative name that is no ASCII text.
    #[error("an alternative name in the certificate is not ASCII")]
    NotAscii,
}

impl ClientCertificate {
    /// Reads the identity of a certificate that somebody else has verified.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        let mut cut = false;
        let subject = name(certificate.subject(), &mut cut)?;
        let issuer = name(certificate.issuer(), &mut cut)?;
        let mut read = Self {
            sha256: sha256(der),
            subject,
            issuer,
            dns: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            not_after: not_after(&certificate),
            cut,
        };
        let alternatives = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
        for alternative in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
            read.alternative(alternative)?;
        }
        Ok(read)
    }

    /// SHA-256 of the whole certificate: what a token's `x5t#S256` names (RFC 8705 section 3.1).
    pub const fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The fingerprint in lower-case hex.
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }

    /// The subject's distinguished name (RFC 4514), at most 512 characters; empty where it has none.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The issuer's distinguished name (RFC 4514), at most 512 characters.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Host names, at most 8 of at most 256 characters.
    pub fn dns(&self) -> &[String] {
        &self.dns
    }

    /// URIs, as of SPIFFE, at most 8 of at most 256 characters.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// Mail addresses, at most 8 of at most 256 characters.
    pub fn emails(&self) -> &[String] {
        &self.emails
    }

    /// When the certificate ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether it has more names, or longer ones, than are kept.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// As long as its bounds allow, every character one that a record escapes.
    #[cfg(test)]
    pub(crate) fn longest_for_test() -> Self {
        let name = "\u{202e}".repeat(NAME_CHARS_MAX);
        let alternatives = || vec!["\"".repeat(ALTERNATIVE_CHARS_MAX); ALTERNATIVES_MAX];
        let (dns, uris, emails) = (alternatives(), alternatives(), alternatives());
        let (subject, issuer) = (name.clone(), name);
        Self { sha256: [255; 32], subject, issuer, dns, uris, emails, not_after: Timestamp::MAX, cut: true }
    }

    /// Of a web app.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self {
            sha256: [0x5a; 32],
            subject: "CN=call-review,O=Example\\, Inc.".to_owned(),
            issuer: "CN=Clients,O=Example\\, Inc.".to_owned(),
            dns: vec!["call-review.example".to_owned()],
            uris: vec!["spiffe://example/ns/qa/sa/call-review".to_owned()],
            emails: vec!["qa@example.com".to_owned()],
            not_after: Timestamp::MAX,
            cut: false,
        }
    }

    /// Addresses, directory names and names of other kinds stand for nobody here.
    fn alternative(&mut self, name: &GeneralName<'_>) -> Result<(), IdentityError> {
        let (kept, text) = match name {
            GeneralName::DNSName(text) => (&mut self.dns, *text),
            GeneralName::URI(text) => (&mut self.uris, *text),
            GeneralName::RFC822Name(text) => (&mut self.emails, *text),
            GeneralName::Invalid(..) => return Err(IdentityError::NotAscii),
            _ => return Ok(()),
        };
        if !text.is_ascii() {
            return Err(IdentityError::NotAscii);
        }
        printable(text)?;
        if kept.len() == ALTERNATIVES_MAX {
            self.cut = true;
        } else {
            kept.push(bounded(text.to_owned(), ALTERNATIVE_CHARS_MAX, &mut self.cut));
        }
        Ok(())
    }
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(IdentityError::Malformed),
    }
}

/// When it ends. Beyond what a time can hold, as the end of the year 9999 that says "never" (RFC 5280 section 4.1.2.5), it
/// is the last or first one.
pub(super) fn not_after(certificate: &X509Certificate<'_>) -> Timestamp {
    let second = certificate.validity().not_after.timestamp();
    let beyond = if second > 0 { Timestamp::MAX } else { Timestamp::MIN };
    Timestamp::from_second(second).unwrap_or(beyond)
}

/// SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    for (to, from) in sum.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    sum
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A distinguished name as RFC 4514 writes it, the last component first.
pub(super) fn name(name: &X509Name<'_>, cut: &mut bool) -> Result<String, IdentityError> {
    let components: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, component) in components.into_iter().rev().enumerate() {
        for (nth, attribute) in component.iter().enumerate() {
            match (index, nth) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            attribute_into(attribute, &mut text)?;
        }
    }
    Ok(bounded(text, NAME_CHARS_MAX, cut))
}

/// RFC 4514 sections 2.3 and 2.4: `CN=text`, or for a type without a registered name, and for a value that is no text
/// of a kind that has one reading only, hex of its encoding.
fn attribute_into(attribute: &AttributeTypeAndValue<'_>, into: &mut String) -> Result<(), IdentityError> {
    let short = short_name(attribute.attr_type());
    match short {
        Some(short) => into.push_str(short),
        None => into.push_str(&attribute.attr_type().to_id_string()),
    }
    into.push('=');
    if let (Some(_), Ok(text)) = (short, attribute.as_str()) {
        printable(text)?;
        escape_into(text, into);
    } else {
        let der = attribute.attr_value().to_der_vec().map_err(|_| IdentityError::Malformed)?;
        into.push('#');
        into.push_str(&hex(&der));
    }
    Ok(())
}

/// The names of RFC 4514 section 3, and two of RFC 4519 and RFC 2985 that are common in certificates.
fn short_name(kind: &Oid<'_>) -> Option<&'static str> {
    let known = [
        (oid::OID_X509_COMMON_NAME, "CN"),
        (oid::OID_X509_LOCALITY_NAME, "L"),
        (oid::OID_X509_STATE_OR_PROVINCE_NAME, "ST"),
        (oid::OID_X509_ORGANIZATION_NAME, "O"),
        (oid::OID_X509_ORGANIZATIONAL_UNIT, "OU"),
        (oid::OID_X509_COUNTRY_NAME, "C"),
        (oid::OID_X509_STREET_ADDRESS, "STREET"),
        (oid::OID_DOMAIN_COMPONENT, "DC"),
        (oid::OID_USERID, "UID"),
        (oid::OID_X509_SERIALNUMBER, "serialNumber"),
        (oid::OID_PKCS9_EMAIL_ADDRESS, "emailAddress"),
    ];
    known.into_iter().find(|(id, _)| id == kind).map(|(_, short)| short)
}

/// RFC 4514 section 2.4.
fn escape_into(text: &str, into: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (index, c) in text.chars().enumerate() {
        let special = matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
        let at_an_end = (index == 0 && matches!(c, ' ' | '#')) || (index == last && c == ' ');
        if special || at_an_end {
            into.push('\\');
        }
        into.push(c);
    }
}

fn printable(text: &str) -> Result<(), IdentityError> {
    let fits = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    if text.chars().all(fits) { Ok(()) } else { Err(IdentityError::Unprintable) }
}

fn bounded(mut text: String, chars_max: usize, cut: &mut bool) -> String {
    if let Some((at, _)) = text.char_indices().nth(chars_max) {
        text.truncate(at);
        *cut = true;
    }
    text
}

#[cfg(test)]
mod tests;
