//! Authorities and certificates of a test, and files of them.

use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

/// From and to which year a certificate holds.
pub(super) type Years = (i32, i32);
pub(super) const NOW: Years = (2020, 2049);
pub(super) const OVER: Years = (2019, 2020);
pub(super) const TO_COME: Years = (2048, 2049);

pub(super) struct Authority {
    pub(super) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) key: KeyPair,
    pub(super) serial: u64,
}

fn params(name: &str, sans: &[&str], years: Years) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = sans
        .iter()
        .map(|san| match san.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(Ia5String::try_from(*san).expect("ASCII")),
        })
        .collect();
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, &["server.example"], NOW);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().expect("a key"));
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(super) fn issue(&self, serial: u64, sans: &[&str], years: Years) -> Pair {
        let (mut params, key) = (params("leaf", sans, years), KeyPair::generate().expect("a key"));
        params.serial_number = Some(SerialNumber::from(serial));
        Pair { certificate: params.signed_by(&key, &self.issuer).expect("a certificate"), key, serial }
    }

    /// A list that is in force in these years.
    pub(super) fn revoke(&self, revoked: &[&Pair], years: Years) -> String {
        let at = date_time_ymd(years.0, 1, 1);
        let revoked = revoked.iter().map(|pair| RevokedCertParams {
            serial_number: SerialNumber::from(pair.serial),
            revocation_time: at,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: at,
            next_update: date_time_ymd(years.1, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }
}

/// Signed by itself, and no authority's.
pub(super) fn lonely(years: Years) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let certificate = params("lonely", &["server.example"], years).self_signed(&key).expect("a certificate");
    Pair { certificate, key, serial: 0 }
}

/// An authority's own certificate, with its key.
pub(super) fn authority_as_server() -> Pair {
    let key = KeyPair::generate().expect("a key");
    let certificate = authority_params("appliance").self_signed(&key).expect("a certificate");
    Pair { certificate, key, serial: 0 }
}

impl Pair {
    pub(super) fn pin(&self) -> [u8; 32] {
        let certificate = crate::net::certificate::parse(self.certificate.der()).expect("a certificate");
        super::super::trust::spki_sha256(&certificate)
    }
}

/// A folder of files.
pub(super) struct Files {
    dir: TempDir,
}

impl Files {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    pub(super) fn pair(&self, name: &str, pair: &Pair) -> (PathBuf, PathBuf) {
        let certificate = self.write(&format!("{name}.crt"), &pair.certificate.pem());
        (certificate, self.write(&format!("{name}.key"), &pair.key.serialize_pem()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }
}
