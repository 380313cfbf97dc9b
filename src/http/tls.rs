//! TLS of the listener: its certificate, read again when the files change.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::config::HttpTls;
use crate::health::tls;

/// Larger files are none of ours.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Permissions by which others than the owner and his group read the key.
const OTHERS: u32 = 0o007;

/// By these a change is seen: modification time, inode, length.
type Stamp = (i64, i64, u64, u64);

/// What is spoken at the moment.
#[derive(Default)]
pub struct Tls {
    files: Option<HttpTls>,
    stamps: Option<[Stamp; 2]>,
    config: Option<Arc<ServerConfig>>,
    ends: Option<u64>,
    trouble: Option<String>,
}

impl Tls {
    /// Brings it to the files. One that cannot be read is told, and what was read before stays, unless other files are
    /// configured now.
    pub fn bring(&mut self, wanted: Option<&HttpTls>) {
        if self.files.as_ref() != wanted {
            *self = Self { files: wanted.cloned(), ..Self::default() };
        }
        let Some(files) = wanted else { return };
        let stamps = stamp(&files.certificate).zip(stamp(&files.key)).map(|(one, other)| [one, other]);
        if self.stamps == stamps && (stamps.is_some() || self.config.is_some()) {
            return;
        }
        // What is missing is told once as well.
        let is_news = self.stamps.is_some() || self.config.is_none();
        match read(files) {
            Ok((config, ends)) => {
                self.config = Some(Arc::new(config));
                self.ends = ends;
                self.trouble = None;
                info!("http: TLS with the certificate of {}", files.certificate.display());
            }
            Err(why) => {
                if is_news {
                    warn!("http: {why}");
                }
                self.trouble = Some(why);
            }
        }
        self.stamps = Some(stamps.unwrap_or_default());
    }

    /// When the certificate that is shown ends, Unix time; none while none is.
    pub fn ends(&self) -> Option<u64> {
        self.ends
    }

    /// Why the files are not used as they are; none: they are.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// None: nothing could be read yet.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.config.clone()
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let of = fs::metadata(path).ok()?;
    Some((of.mtime(), of.mtime_nsec(), of.ino(), of.len()))
}

/// With the end of the certificate. An error is in words that name the file, and say what it should be.
fn read(files: &HttpTls) -> Result<(ServerConfig, Option<u64>), String> {
    let certificate = contents(&files.certificate)?;
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|error| format!("{} is no PEM file: {error}", files.certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("{} has no certificate in it (-----BEGIN CERTIFICATE-----)", files.certificate.display()));
    }
    let ends = chain.first().and_then(tls::ends);
    let key = contents(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| format!("{} has no private key in it (-----BEGIN PRIVATE KEY-----)", files.key.display()))?;
    if fs::metadata(&files.key).is_ok_and(|of| of.mode() & OTHERS != 0) {
        warn!("http: everybody on this box may read {}; say chmod o= to it", files.key.display());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| {
            format!("{} and {} do not go together: {error}", files.certificate.display(), files.key.display())
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, ends))
}

fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display())),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(directory: &Path, name: &str) -> HttpTls {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let files = HttpTls { certificate: directory.join("crt"), key: directory.join("key") };
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn files_that_change_are_read_again_and_a_bad_one_changes_nothing() {
        let directory = std::env::temp_dir().join(format!("lbd-http-tls-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let files = written(&directory, "one.example");
        let mut tls = Tls::default();
        tls.bring(Some(&files));
        let first = tls.config().unwrap();
        assert!(tls.ends().is_some() && tls.trouble().is_none());
        tls.bring(Some(&files));
        assert!(Arc::ptr_eq(&first, &tls.config().unwrap()), "nothing has changed");
        // The length is another one, whatever the clock of the file system.
        written(&directory, "a-name-of-another-length.example");
        tls.bring(Some(&files));
        let second = tls.config().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        fs::write(&files.certificate, "no certificate").unwrap();
        tls.bring(Some(&files));
        assert!(Arc::ptr_eq(&second, &tls.config().unwrap()), "the one before stays");
        assert!(tls.ends().is_some() && tls.trouble().unwrap().contains("no certificate in it"));
        let other = HttpTls { certificate: directory.join("nothing"), ..files.clone() };
        tls.bring(Some(&other));
        assert!(tls.config().is_none() && tls.ends().is_none());
        assert!(read(&other).unwrap_err().contains("nothing cannot be read"));
        assert!(read(&files).unwrap_err().contains("no certificate in it"));
        tls.bring(None);
        assert!(tls.config().is_none() && tls.trouble().is_none());
        fs::remove_dir_all(&directory).unwrap();
    }
}
