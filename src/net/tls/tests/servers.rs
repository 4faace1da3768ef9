//! Servers of every kind of certificate, before clients that trust authorities, pins, or both.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::pki::{Authority, Files, NOW, OVER, Pair, TO_COME, authority_as_server, lonely};
use super::*;

/// Shows a certificate and signs with a key, whether it is that certificate's or not.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn server(shown: &Pair, signs: &Pair, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signs.key.serialize_der()));
    showing(shown.certificate.der().clone(), &key, version)
}

fn showing(
    shown: CertificateDer<'static>,
    key: &PrivateKeyDer<'_>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let shows = Shows(Arc::new(CertifiedKey::new(vec![shown], any_supported_type(key).expect("a key"))));
    let builder = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()));
    let builder = builder.with_protocol_versions(&[version]).expect("a version").with_no_client_auth();
    Arc::new(builder.with_cert_resolver(Arc::new(shows)))
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// What a client makes of a server, over each version of TLS alike.
async fn judged(client: &ClientTls, shown: &Pair) -> Result<(), Untrusted> {
    let client = Arc::new(client.build().expect("a client"));
    let mut judged = Vec::new();
    for version in VERSIONS {
        judged.push(meet(&server(shown, shown, version), &client).await.client.map(drop));
    }
    assert_eq!(judged[0], judged[1], "TLS 1.2 and 1.3");
    judged.remove(0)
}

fn by_pins(pins: &[[u8; 32]]) -> ClientTls {
    ClientTls { trust: ServerTrust::Pins, pin_sha256: pins.to_vec(), ..ClientTls::default() }
}

fn by_authority(files: &Files, authority: &Authority, pins: &[[u8; 32]]) -> ClientTls {
    let ca_file = Some(files.write("ca.pem", &authority.certificate.pem()));
    ClientTls { ca_file, pin_sha256: pins.to_vec(), ..ClientTls::default() }
}

#[tokio::test]
async fn an_authority_vouches_for_time_and_name() {
    let (files, authority) = (Files::new(), Authority::new("servers"));
    let client = by_authority(&files, &authority, &[]);
    let issue = |sans: &[&str], years| authority.issue(1, sans, years);
    assert_eq!(judged(&client, &issue(&["server.example"], NOW)).await, Ok(()));
    let expired = judged(&client, &issue(&["server.example"], OVER)).await.expect_err("refused");
    assert_eq!(expired.to_string(), "its certificate has expired (at 2020-01-01T00:00:00Z)");
    let early = judged(&client, &issue(&["server.example"], TO_COME)).await.expect_err("refused");
    assert_eq!(early.to_string(), "its certificate is not valid yet (at 2048-01-01T00:00:00Z)");
    let other = judged(&client, &issue(&["other.example", "192.0.2.1"], NOW)).await.expect_err("refused");
    assert!(matches!(&other, Untrusted::Name { expected, .. } if expected == "server.example"), "{other}");
    assert!(other.to_string().contains("other.example"), "{other}");
    for unknown in [Authority::new("others").issue(1, &["server.example"], NOW), lonely(NOW)] {
        assert_eq!(judged(&client, &unknown).await, Err(Untrusted::UnknownIssuer));
    }
    assert_eq!(judged(&client, &authority_as_server()).await, Err(Untrusted::Authority));
}

#[tokio::test]
async fn a_pin_is_asked_for_beside_an_authority() {
    let (files, authority) = (Files::new(), Authority::new("servers"));
    let (one, two) = (authority.issue(1, &["server.example"], NOW), authority.issue(2, &["server.example"], NOW));
    let client = by_authority(&files, &authority, &[[7; 32], one.pin()]);
    assert_eq!(judged(&client, &one).await, Ok(()));
    assert_eq!(judged(&client, &two).await, Err(Untrusted::NotPinned));
    // And a pin alone is not enough.
    let stranger = lonely(NOW);
    let client = by_authority(&files, &authority, &[stranger.pin()]);
    assert_eq!(judged(&client, &stranger).await, Err(Untrusted::UnknownIssuer));
}

#[tokio::test]
async fn pins_alone_let_in_what_no_authority_vouches_for() {
    for shown in [lonely(NOW), authority_as_server(), Authority::new("x").issue(1, &["another.name"], NOW)] {
        assert_eq!(judged(&by_pins(&[[7; 32], shown.pin()]), &shown).await, Ok(()));
        assert_eq!(judged(&by_pins(&[lonely(NOW).pin()]), &shown).await, Err(Untrusted::NotPinned));
    }
}

#[tokio::test]
async fn pins_alone_do_not_let_in_what_is_over_or_to_come() {
    let expired = lonely(OVER);
    let found = judged(&by_pins(&[expired.pin()]), &expired).await;
    assert!(matches!(found, Err(Untrusted::Expired(Some(_)))), "{found:?}");
    let early = lonely(TO_COME);
    let found = judged(&by_pins(&[early.pin()]), &early).await;
    assert!(matches!(found, Err(Untrusted::NotYetValid(Some(_)))), "{found:?}");
}

#[tokio::test]
async fn a_pinned_certificate_in_the_hands_of_another_is_worth_nothing() {
    let (known, thief) = (lonely(NOW), lonely(NOW));
    let client = Arc::new(by_pins(&[known.pin()]).build().expect("a client"));
    for version in VERSIONS {
        let met = meet(&server(&known, &thief, version), &client).await;
        let found = met.client.expect_err("refused");
        let signature = rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature);
        assert_eq!(found, Untrusted::Other(signature), "{version:?}");
    }
}

#[test]
fn nobody_is_trusted_by_no_pin() {
    assert!(matches!(by_pins(&[]).build(), Err(TlsError::NoPins)));
}

/// Old tools make them so; the library reads none of that age, and appliances live long.
#[tokio::test]
async fn a_certificate_of_x509_version_1_can_be_pinned() {
    let files = Files::new();
    let openssl = |arguments: &str| {
        let mut command = std::process::Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(files.path(""));
        let ended = command.output().expect("openssl (Debian package of that name)");
        assert!(ended.status.success(), "{arguments}: {}", String::from_utf8_lossy(&ended.stderr));
    };
    for kind in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384"] {
        openssl(&format!("req -new -newkey {kind} -nodes -keyout key.pem -subj /CN=appliance -out csr.pem"));
        openssl("x509 -req -in csr.pem -signkey key.pem -days 30 -out crt.pem");
        openssl("pkey -in key.pem -pubout -outform DER -out spki.der");
        let shown = files::certificates(&files.path("crt.pem")).expect("a certificate").remove(0);
        assert_eq!(crate::net::certificate::parse(&shown).expect("read").version(), x509_parser::x509::X509Version::V1);
        let key = files::private_key(&files.path("key.pem")).expect("a key");
        let pin = crate::net::certificate::sha256(&std::fs::read(files.path("spki.der")).expect("read"));
        for (pin, expected) in [(pin, Ok(())), ([7; 32], Err(Untrusted::NotPinned))] {
            let client = Arc::new(by_pins(&[pin]).build().expect("a client"));
            for version in VERSIONS {
                let met = meet(&showing(shown.clone(), &key, version), &client).await;
                assert_eq!(met.client.map(drop), expected, "{kind} {version:?}");
            }
        }
    }
}
