//! The site's certificate, which it signs itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::error::LabError;
use crate::lab::process::tie_to_this_process;

/// In PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Certificate {
    /// Made by openssl(1) in `dir`, for the name `mail.example.net` and ten years.
    pub fn make(dir: &Path) -> Result<Self, LabError> {
        let (file, key_file) = (dir.join("certificate.pem"), dir.join("key.pem"));
        let program = "openssl";
        let mut command = Command::new(program);
        tie_to_this_process(&mut command);
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
        ]);
        command.args(["-subj", "/CN=mail.example.net", "-addext", "subjectAltName=DNS:mail.example.net"]);
        command.arg("-out").arg(&file).arg("-keyout").arg(&key_file).stdin(Stdio::null());
        let output = command.output().map_err(|source| LabError::NoProgram { program: program.into(), source })?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let place = "the lab's directory".into();
            return Err(LabError::Program { program: program.into(), place, line: "req".into(), stderr });
        }
        let read = |path: &Path| fs::read_to_string(path).map_err(LabError::file("read", path));
        Ok(Self { certificate: read(&file)?, key: read(&key_file)? })
    }
}
