//! Authorities, certificates and their keys for tests, and a client that shows them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use ccgate::net::ClientTls;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::client::Answer;

/// From and to which year a certificate holds.
pub type Years = (i32, i32);
pub const NOW: Years = (2020, 2049);
pub const OVER: Years = (2019, 2020);
pub const TO_COME: Years = (2048, 2049);

pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Pair {
    certificate: Certificate,
    key: KeyPair,
    serial: SerialNumber,
}

fn params(name: &str, sans: &[&str], years: Years) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let san = |san: &&str| match san.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) if san.contains("://") => SanType::URI(Ia5String::try_from(*san).unwrap()),
        Err(_) => SanType::DnsName(Ia5String::try_from(*san).unwrap()),
    };
    params.subject_alt_names = sans.iter().map(san).collect();
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name, &["127.0.0.1"], NOW);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = Vec::new();
    params
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A list that is in force and revokes these.
    pub fn revoke(&self, revoked: &[&Pair]) -> String {
        let revoked = revoked.iter().map(|pair| RevokedCertParams {
            serial_number: pair.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2049, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A certificate that ends so many seconds from now.
    pub fn issue_short(&self, name: &str, seconds: u64) -> Pair {
        let (mut params, key) = (params(name, &["web.example"], NOW), KeyPair::generate().unwrap());
        let now = u64::try_from(crate::issuer::seconds()).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(now + seconds);
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap(), key, serial: SerialNumber::from(1) }
    }

    pub fn issue(&self, name: &str, sans: &[&str], years: Years) -> Pair {
        self.issue_for(KeyPair::generate().unwrap(), name, sans, years)
    }

    pub fn issue_for(&self, key: KeyPair, name: &str, sans: &[&str], years: Years) -> Pair {
        let mut params = params(name, sans, years);
        let serial = SerialNumber::from(uuid::Uuid::new_v4().as_bytes()[..8].to_vec());
        params.serial_number = Some(serial.clone());
        Pair { certificate: params.signed_by(&key, &self.issuer).unwrap(), key, serial }
    }
}

/// Signed by itself; an authority's or not.
pub fn by_itself(is_authority: bool, years: Years) -> Pair {
    let mut params = if is_authority { authority("appliance") } else { params("appliance", &["127.0.0.1"], years) };
    (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    let key = KeyPair::generate().unwrap();
    Pair { certificate: params.self_signed(&key).unwrap(), key, serial: SerialNumber::from(1) }
}

impl Pair {
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// SHA-256 of the whole certificate.
    pub fn print(&self) -> Vec<u8> {
        digest(&SHA256, self.certificate.der()).as_ref().to_vec()
    }

    /// SHA-256 of the public key, as a pin is written.
    pub fn pin(&self) -> String {
        use base64::Engine as _;
        use rcgen::PublicKeyData as _;
        let spki = self.key.subject_public_key_info();
        base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, &spki))
    }
}

/// A client of a server whose authority is in a file, with a certificate of its own or none.
pub fn client(dir: &Path, ca_file: &str, pair: Option<&Pair>) -> Arc<rustls::ClientConfig> {
    let shown = pair.map(|pair| {
        // Each client has files of its own: tests have several at once.
        let name = ccgate::route::RequestId::random();
        let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        std::fs::write(&certificate, pair.pem()).unwrap();
        std::fs::write(&key, pair.key_pem()).unwrap();
        (certificate, key)
    });
    let tls = ClientTls { ca_file: Some(dir.join(ca_file)), client_cert: shown, ..ClientTls::default() };
    Arc::new(tls.build().unwrap())
}

/// A TLS connection that is kept.
pub struct Secure {
    sender: http1::SendRequest<Empty<bytes::Bytes>>,
    _connection: JoinSet<()>,
}

/// The alert that a server sends, or what else went wrong, as text.
pub type Refused = String;

impl Secure {
    /// Connects. In TLS 1.3 a server may still refuse afterwards: then the first request says so.
    pub async fn open(address: SocketAddr, client: &Arc<rustls::ClientConfig>) -> Result<Self, Refused> {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::clone(client)).connect(name, stream).await.map_err(|e| e.to_string())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| told(&e))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, _connection: tasks })
    }

    /// Waits until the server closes it.
    pub async fn closed(&mut self) {
        while !self.sender.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Result<Answer, Refused> {
        self.sender.ready().await.map_err(|error| told(&error))?;
        let mut request = Request::builder().uri(target).header("host", "127.0.0.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.sender.send_request(request.body(Empty::new()).unwrap()).await;
        let (head, body) = response.map_err(|error| told(&error))?.into_parts();
        let body = body.collect().await;
        let whole = body.is_ok();
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Ok(Answer { status: head.status, headers: head.headers, body, whole })
    }
}

/// One request over a connection of its own.
pub async fn get(
    address: SocketAddr,
    client: &Arc<rustls::ClientConfig>,
    target: &str,
    token: &str,
) -> Result<Answer, Refused> {
    Secure::open(address, client).await?.get(target, &[("authorization", &format!("Bearer {token}"))]).await
}

/// What the server says when nothing is asked of it: the alert with which it refuses, or nothing for a while.
pub async fn alert(address: SocketAddr, client: &Arc<rustls::ClientConfig>) -> Option<Refused> {
    use tokio::io::AsyncReadExt as _;
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = match TlsConnector::from(Arc::clone(client)).connect(name, stream).await {
        Ok(stream) => stream,
        Err(error) => return Some(error.to_string()),
    };
    let mut byte = [0; 1];
    match tokio::time::timeout(Duration::from_secs(2), stream.read(&mut byte)).await {
        Ok(Err(error)) => Some(error.to_string()),
        Ok(Ok(_)) => Some("closed".to_owned()),
        Err(_elapsed) => None,
    }
}

fn told(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}
