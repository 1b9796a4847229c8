//! Which CAs are trusted: those of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`; where `AWS_CA_BUNDLE` is set,
//! those of that file alone, as with the other tools of AWS.
//!
//! The SDK's own store is read once in a process, and panics on a certificate that it cannot read.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_types::base64;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, RootCertStore};

use super::text::chain;
use crate::kms::Class;

/// The trusted CAs.
pub(super) struct Trusted {
    certificates: Vec<CertificateDer<'static>>,
    /// How many, and where they come from, or why there are none: for messages.
    pub(super) summary: String,
}

impl Trusted {
    /// Reads them anew.
    pub(super) fn read() -> Self {
        let (certificates, source, problem) = match env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) {
            Some(path) => of_file(Path::new(&path)),
            None => of_system(),
        };
        let summary = match problem {
            Some(error) if certificates.is_empty() => format!("{source} cannot be read: {error}"),
            // Some files of many may be broken.
            _ => format!("trusted: {} CA certificate(s) of {source}", certificates.len()),
        };
        Self { certificates, summary }
    }

    /// In the form that the SDK takes.
    pub(super) fn store(&self) -> TrustStore {
        self.certificates.iter().fold(TrustStore::empty(), |store, certificate| {
            let body = base64::encode(certificate);
            store.with_pem_certificate(format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"))
        })
    }
}

/// What is found, where it was looked for, and what went wrong.
type Found = (Vec<CertificateDer<'static>>, String, Option<String>);

fn of_file(path: &Path) -> Found {
    let source = format!("AWS_CA_BUNDLE={}", path.display());
    match fs::read(path) {
        Ok(contents) => (usable(CertificateDer::pem_slice_iter(&contents).filter_map(Result::ok)), source, None),
        Err(error) => (Vec::new(), source, Some(error.to_string())),
    }
}

fn of_system() -> Found {
    let found = rustls_native_certs::load_native_certs();
    (usable(found.certs), "the system".to_owned(), found.errors.first().map(ToString::to_string))
}

/// Those that TLS can work with.
fn usable(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let works = |certificate: &CertificateDer<'_>| RootCertStore::empty().add(certificate.clone()).is_ok();
    certificates.into_iter().filter(works).collect()
}

/// The class and the reason of a handshake that failed because of the server's certificate.
pub(super) fn refused(error: &(dyn Error + 'static)) -> Option<(Class, String)> {
    let error = chain(error).find_map(|error| error.downcast_ref::<rustls::Error>())?;
    let rustls::Error::InvalidCertificate(reason) = error else { return None };
    let class = match reason {
        // The second: signed by a CA that has the name of a trusted one, but another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Class::UntrustedCa,
        _ => Class::BadCertificate,
    };
    Some((class, error.to_string()))
}
