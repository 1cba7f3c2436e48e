//! Which servers are trusted: the root certificates of this machine, read once for the SDK, the
//! models' client and the tools' client of one function.
//!
//! Otherwise, each of these clients would read some 150 certificates by itself, which takes most of
//! a function's start (`make bench-start`). `SSL_CERT_FILE` and `SSL_CERT_DIR` name other
//! certificates than the machine's (<https://docs.rs/rustls-native-certs>).

use std::sync::LazyLock;

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::base64;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

static ROOTS: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let read = read_roots();
    if read.certs.is_empty() {
        let errors: Vec<String> = read.errors.iter().map(ToString::to_string).collect();
        tracing::error!(
            error = errors.join("; "),
            "this machine has no root certificates: no server is trusted"
        );
    }
    read.certs
});

/// Reads the certificates. If `SSL_CERT_FILE` and `SSL_CERT_DIR` are not set, only the machine's
/// bundle is read: its folders have the same certificates again, in hundreds of files.
fn read_roots() -> CertificateResult {
    let bundle = openssl_probe::probe()
        .cert_file
        .filter(|_| !openssl_probe::has_ssl_cert_env_vars());
    let read = bundle.map(|bundle| load_certs_from_paths(Some(&bundle), None));
    read.filter(|read| !read.certs.is_empty())
        .unwrap_or_else(load_native_certs)
}

static CLIENT: LazyLock<ClientConfig> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    // Some machines have certificates that can't be parsed. They are left out.
    roots.add_parsable_certificates(ROOTS.iter().cloned());
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth()
});

/// The TLS configuration for a `reqwest` client. Clones share their sessions with servers.
pub(crate) fn client_config() -> ClientConfig {
    CLIENT.clone()
}

/// The HTTP client of all AWS clients, with the SDK's own settings.
pub(crate) fn aws_client() -> SharedHttpClient {
    let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    match aws_context() {
        Some(context) => builder.tls_context(context).build_https(),
        None => builder.build_https(),
    }
}

/// The SDK's HTTP client without its retries and time limits, for single requests to other servers.
/// It keeps no connection open.
pub(crate) fn aws_connector() -> Connector {
    let builder = Connector::builder()
        .pool_max_idle_per_host(0)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    match aws_context() {
        Some(context) => builder.tls_context(context).build(),
        None => builder.build(),
    }
}

/// The certificates for the SDK. `None` if it can't use them: it then reads them by itself.
fn aws_context() -> Option<TlsContext> {
    let encoded: String = ROOTS.iter().map(|root| pem(root)).collect();
    let trusted = TrustStore::empty().with_pem_certificate(encoded);
    let context = TlsContext::builder().with_trust_store(trusted).build();
    context
        .inspect_err(|error| {
            tracing::warn!(%error, "the SDK can't use the root certificates that were read");
        })
        .ok()
}

fn pem(certificate: &[u8]) -> String {
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64::encode(certificate)
    )
}
