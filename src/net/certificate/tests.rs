//! Certificates that somebody might show.

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::*;

fn made(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    change(&mut params);
    params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().clone()
}

fn subject(parts: &[(DnType, &str)]) -> Result<ClientCertificate, IdentityError> {
    ClientCertificate::read(&made(|params| {
        for (kind, text) in parts {
            params.distinguished_name.push(kind.clone(), *text);
        }
    }))
}

fn alternatives(names: Vec<SanType>) -> Result<ClientCertificate, IdentityError> {
    ClientCertificate::read(&made(|params| params.subject_alt_names = names))
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().expect("ASCII")
}

#[test]
fn a_name_is_written_as_rfc_4514_says() {
    let read = subject(&[
        (DnType::CountryName, "DE"),
        (DnType::OrganizationName, "Call Review, Inc."),
        (DnType::CommonName, " #web \"1\" <a+b>;c\\ "),
    ]);
    let read = read.expect("an identity");
    assert_eq!(read.subject(), "CN=\\ #web \\\"1\\\" \\<a\\+b\\>\\;c\\\\\\ ,O=Call Review\\, Inc.,C=DE");
    assert_eq!(read.issuer(), read.subject(), "signed by itself");
    assert!(!read.is_cut());
    let hash = subject(&[(DnType::CommonName, "#web")]).expect("an identity");
    assert_eq!(hash.subject(), "CN=\\#web");
    let odd = subject(&[(DnType::CustomDnType(vec![1, 2, 3, 4]), "x")]).expect("an identity");
    assert_eq!(odd.subject(), "1.2.3.4=#0c0178", "a type without a registered name");
    let text = "Grüße, 统一".to_owned();
    let kept = subject(&[(DnType::CommonName, &text)]).expect("an identity");
    assert_eq!(kept.subject(), "CN=Grüße\\, 统一");
    assert_eq!(subject(&[]).expect("an identity").subject(), "");
}

#[test]
fn alternative_names_are_sorted_by_their_kind() {
    let read = alternatives(vec![
        SanType::DnsName(ia5("web.example")),
        SanType::URI(ia5("spiffe://example/ns/web")),
        SanType::Rfc822Name(ia5("anna@example.com")),
        SanType::IpAddress("192.0.2.1".parse().expect("an address")),
        SanType::DnsName(ia5("web-2.example")),
    ]);
    let read = read.expect("an identity");
    assert_eq!(read.dns(), ["web.example", "web-2.example"]);
    assert_eq!(
        (read.uris(), read.emails()),
        (&["spiffe://example/ns/web".to_owned()][..], &["anna@example.com".to_owned()][..])
    );
}

#[test]
fn r24_a_name_with_a_control_character_is_no_identity() {
    for bad in ["admin.example\0.evil.example", "a\nb", "\u{1b}[31m", "a\u{7f}", "web\r"] {
        for name in [SanType::DnsName(ia5(bad)), SanType::URI(ia5(bad)), SanType::Rfc822Name(ia5(bad))] {
            assert_eq!(alternatives(vec![name]), Err(IdentityError::Unprintable), "{bad:?}");
        }
        assert_eq!(subject(&[(DnType::CommonName, bad)]), Err(IdentityError::Unprintable), "{bad:?}");
    }
    for bad in ["a\u{2028}b", "a\u{85}b", "\u{feff}a"] {
        assert_eq!(subject(&[(DnType::OrganizationName, bad)]), Err(IdentityError::Unprintable), "{bad:?}");
    }
    // Nor is one behind so many good ones that it would not have been kept.
    let mut many: Vec<_> = (0..20).map(|n| SanType::DnsName(ia5(&format!("web-{n}.example")))).collect();
    many.push(SanType::DnsName(ia5("a\0b")));
    assert_eq!(alternatives(many), Err(IdentityError::Unprintable));
}

#[test]
fn r24_a_name_that_is_no_ascii_is_no_identity() {
    let good = made(|params| params.subject_alt_names = vec![SanType::DnsName(ia5("web.QQ.example"))]);
    for bytes in [[0xc3, 0xa4], [0xff, 0xfe]] {
        let mut bad = good.to_vec();
        let at = bad.windows(2).position(|pair| pair == b"QQ").expect("there");
        bad.splice(at..at + 2, bytes);
        assert_eq!(ClientCertificate::read(&bad.into()), Err(IdentityError::NotAscii), "{bytes:?}");
    }
}

#[test]
fn names_are_bounded_and_the_cut_is_told() {
    let many = (0..9).map(|n| SanType::DnsName(ia5(&format!("web-{n}.example")))).collect();
    let read = alternatives(many).expect("an identity");
    assert_eq!((read.dns().len(), read.is_cut()), (ALTERNATIVES_MAX, true));
    let read = alternatives(vec![SanType::URI(ia5(&"u".repeat(257)))]).expect("an identity");
    assert_eq!((read.uris()[0].len(), read.is_cut()), (256, true));
    let read = subject(&[(DnType::CommonName, &"ü".repeat(1000))]).expect("an identity");
    assert_eq!((read.subject().chars().count(), read.is_cut()), (NAME_CHARS_MAX, true));
}

#[test]
fn what_is_no_certificate_is_no_identity() {
    let good = made(|_| {});
    let longer: Vec<u8> = good.iter().copied().chain([0]).collect();
    for bad in [&b""[..], b"x", &good[..good.len() - 1], &longer] {
        assert_eq!(ClientCertificate::read(&bad.to_vec().into()), Err(IdentityError::Malformed));
    }
}

#[test]
fn the_fingerprint_is_that_of_rfc_8705() {
    let der = made(|_| {});
    let read = ClientCertificate::read(&der).expect("an identity");
    assert_eq!(read.sha256().as_slice(), digest::digest(&digest::SHA256, &der).as_ref());
    assert_eq!(read.sha256_hex().len(), 64);
    assert!(read.not_after() > Timestamp::UNIX_EPOCH);
}

#[test]
fn one_that_never_ends_can_be_held() {
    let der = made(|params| params.not_after = rcgen::date_time_ymd(9999, 12, 31).replace_hour(23).expect("an hour"));
    let read = ClientCertificate::read(&der).expect("an identity");
    assert_eq!(read.not_after(), Timestamp::MAX);
}
