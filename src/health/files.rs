//! Passwords, secrets and certificates that probes need, in files that are watched for changes.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::core::check::{Failure, FailureKind};
use crate::core::moment::Moment;

/// A file is looked at no more often, however many targets need it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A password file; only its first line counts.
const SECRET_BYTES_MAX: u64 = 4096;
/// Debian's own list of authorities has 220 KiB.
const CA_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[derive(Clone, Debug)]
enum Content {
    Secret(String),
    Roots(Arc<RootCertStore>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Secret,
    Roots,
}

/// By these a change is seen: modification time, inode, length.
type Stamp = (i64, i64, u64, u64);

struct Known {
    looked: Moment,
    stamp: Option<Stamp>,
    content: Result<Content, String>,
}

/// What the files hold; read when first asked for, and again when they have changed.
#[derive(Default)]
pub struct Files {
    known: BTreeMap<(PathBuf, Kind), Known>,
}

impl Files {
    /// The first line of a file, without its end.
    pub fn secret(&mut self, path: &Path, now: Moment) -> Result<String, Failure> {
        match self.content(path, Kind::Secret, now)? {
            Content::Secret(line) => Ok(line),
            Content::Roots(_) => Err(unreadable(path, "it is another kind of file")),
        }
    }

    /// The certificates of a PEM file.
    pub fn roots(&mut self, path: &Path, now: Moment) -> Result<Arc<RootCertStore>, Failure> {
        match self.content(path, Kind::Roots, now)? {
            Content::Roots(roots) => Ok(roots),
            Content::Secret(_) => Err(unreadable(path, "it is another kind of file")),
        }
    }

    /// Forgets all; what is still wanted is read anew.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    fn content(&mut self, path: &Path, kind: Kind, now: Moment) -> Result<Content, Failure> {
        let key = (path.to_owned(), kind);
        let fresh = self.known.get(&key).filter(|known| now.since(known.looked) < LOOK_EVERY);
        if fresh.is_none() {
            let stamp = stamp(path);
            match self.known.get_mut(&key) {
                // A file that could not be read is tried again though it looks the same: its rights may not be.
                Some(known) if stamp.is_some() && known.stamp == stamp && known.content.is_ok() => known.looked = now,
                _ => {
                    let content = read(path, kind);
                    self.known.insert(key.clone(), Known { looked: now, stamp, content });
                }
            }
        }
        let content = self.known.get(&key).map(|known| known.content.clone());
        content.unwrap_or_else(|| Err("it is gone".into())).map_err(|why| unreadable(path, &why))
    }
}

fn unreadable(path: &Path, why: &str) -> Failure {
    let words = super::probe::words::shown(format!("cannot read {}", path.display()).as_bytes());
    Failure { kind: FailureKind::Local, words: format!("{words}: {why}") }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.mtime(), data.mtime_nsec(), data.ino(), data.len()))
}

fn read(path: &Path, kind: Kind) -> Result<Content, String> {
    let most = if kind == Kind::Secret { SECRET_BYTES_MAX } else { CA_BYTES_MAX };
    // Without O_NONBLOCK, opening a FIFO would wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| lower(&error.to_string()))?;
    let data = file.metadata().map_err(|error| lower(&error.to_string()))?;
    if !data.is_file() {
        return Err("it is not a plain file".into());
    }
    if data.len() > most {
        return Err(format!("it is longer than {most} bytes"));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|error| lower(&error.to_string()))?;
    if kind == Kind::Secret { secret(&bytes) } else { roots(&bytes) }
}

/// "No such file or directory (os error 2)", as the rest of a sentence.
fn lower(error: &str) -> String {
    let text = error.split(" (os error").next().unwrap_or(error);
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn secret(bytes: &[u8]) -> Result<Content, String> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err("its first line is empty".into());
    }
    let text = std::str::from_utf8(line).map_err(|_| "its first line is not UTF-8")?;
    Ok(Content::Secret(text.to_owned()))
}

fn roots(bytes: &[u8]) -> Result<Content, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        let certificate = certificate.map_err(|error| format!("it is not PEM: {error}"))?;
        // A list of authorities may hold one of a kind that is not known: the others count.
        _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err("it has no certificate of an authority".into());
    }
    Ok(Content::Roots(Arc::new(roots)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("lbd-files-{name}-{}", std::process::id()))
    }

    #[test]
    fn the_first_line_is_the_secret_and_a_new_one_is_seen_within_a_second() {
        let path = file("secret");
        std::fs::write(&path, "hunter2\r\na comment\n").unwrap();
        let mut files = Files::default();
        assert_eq!(files.secret(&path, at(1)).unwrap(), "hunter2");
        std::fs::write(&path, "a new one").unwrap();
        assert_eq!(files.secret(&path, at(1)).unwrap(), "hunter2", "not looked at again so soon");
        assert_eq!(files.secret(&path, at(2)).unwrap(), "a new one");
        std::fs::remove_file(&path).unwrap();
        let failure = files.secret(&path, at(3)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Local);
        assert_eq!(failure.words, format!("cannot read {}: no such file or directory", path.display()));
    }

    #[test]
    fn what_is_no_secret_is_told() {
        let path = file("none");
        let mut files = Files::default();
        for (content, why) in [
            (b"\n".to_vec(), "its first line is empty"),
            (b"\xff\xfe".to_vec(), "its first line is not UTF-8"),
            (vec![b'x'; 5000], "it is longer than 4096 bytes"),
        ] {
            std::fs::write(&path, content).unwrap();
            files.clear();
            assert_eq!(files.secret(&path, at(1)).unwrap_err().words, format!("cannot read {}: {why}", path.display()));
        }
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        files.clear();
        let words = files.secret(&path, at(1)).unwrap_err().words;
        std::fs::remove_file(&path).unwrap();
        assert!(words.ends_with("it is not a plain file"), "{words}");
    }

    #[test]
    fn a_file_of_authorities_must_have_one() {
        let path = file("ca");
        std::fs::write(&path, "nothing").unwrap();
        let mut files = Files::default();
        let words = files.roots(&path, at(1)).unwrap_err().words;
        assert!(words.ends_with("it has no certificate of an authority"), "{words}");
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = rcgen::CertificateParams::new(vec!["lbd.invalid".into()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(&path, authority.pem()).unwrap();
        assert_eq!(files.roots(&path, at(2)).unwrap().len(), 1);
        std::fs::remove_file(&path).unwrap();
    }
}
