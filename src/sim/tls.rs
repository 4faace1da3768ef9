//! The simulator's own CA and certificate, made anew at every start. Never writes a key anywhere.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem, pem::PemObject as _},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::config::{Certificate, Config};

/// What the listener needs, and what its clients must trust.
pub(super) struct Identity {
    pub(super) server: Arc<ServerConfig>,
    pub(super) ca_pem: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The names cannot stand in a certificate, or no key could be made.
    #[error("cannot make the simulator's certificate")]
    Certificate(#[source] rcgen::Error),
    /// A certificate or key that was given is no PEM.
    #[error("the given certificate or key is no PEM")]
    Pem(#[source] pem::Error),
    /// The clients' authorities cannot be used.
    #[error("the given authorities of clients cannot be used")]
    Clients(#[source] VerifierBuilderError),
    /// The TLS library does not take it.
    #[error("cannot set up the simulator's TLS")]
    Setup(#[source] rustls::Error),
}

/// The certificate of the configuration, or a new CA and a certificate of it for the configured names.
pub(super) fn identity(config: &Config) -> Result<Identity, Error> {
    let (ca_pem, chain, key) = match &config.certificate {
        Some(certificate) => given(certificate)?,
        None => certificates(&config.names).map_err(Error::Certificate)?,
    };
    let crypto = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&crypto))
        .with_safe_default_protocol_versions()
        .map_err(Error::Setup)?;
    let builder = match &config.client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(clients(pem, crypto)?),
    };
    let mut server = builder.with_single_cert(chain, key).map_err(Error::Setup)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { server: Arc::new(server), ca_pem })
}

fn given(certificate: &Certificate) -> Result<Certificates, Error> {
    let Certificate { chain_pem, key_pem } = certificate;
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<_, _>>().map_err(Error::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(Error::Pem)?;
    Ok((chain_pem.clone(), chain, key))
}

fn clients(pem: &str, crypto: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(Error::Pem)?).map_err(Error::Setup)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto).build().map_err(Error::Clients)
}

type Certificates = (String, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificates(names: &[String]) -> Result<Certificates, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "Simulated CC-Gateway CA");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name.push(DnType::CommonName, "Simulated CC-Gateway");
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &ca)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok((ca.pem(), vec![leaf.der().clone()], key))
}
