//! The Debian packages that the true site needs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::error::LabError;
use crate::lab::process::tie_to_this_process;

/// Knows the packages, and installs those that are missing without starting their services.
const SETUP: &str = include_str!("../../../tools/setup.sh");

/// Of servers and clients, one for each package.
const PROGRAMS: [&str; 11] = [
    "/usr/sbin/exim4",
    "/usr/lib/courier/courier/courierpop3d",
    "/usr/bin/imapd",
    "/usr/lib/courier/courier-authlib/authdaemond",
    "/usr/sbin/apache2",
    "/usr/sbin/freeradius",
    "/usr/sbin/named",
    "/usr/bin/swaks",
    "/usr/bin/curl",
    "/usr/bin/radclient",
    "/usr/bin/dig",
];

/// Installs what is missing. Says so first, since it changes the machine.
pub fn install_missing() -> Result<(), LabError> {
    let missing: Vec<_> = PROGRAMS.into_iter().filter(|program| !Path::new(program).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Missing are {}: installing their Debian packages.", missing.join(", "));
    let program = "sh";
    let no_program = |source| LabError::NoProgram { program: program.into(), source };
    let mut command = Command::new(program);
    tie_to_this_process(&mut command);
    command.args(["-s", "real"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(no_program)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A shell that stops reading has something to say on stderr.
        let _ = stdin.write_all(SETUP.as_bytes());
    }
    let output = child.wait_with_output().map_err(no_program)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Program {
        program: "setup.sh real".into(),
        place: "this machine".into(),
        line: String::new(),
        stderr,
    })
}
