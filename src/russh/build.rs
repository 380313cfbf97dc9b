//! Copies the source of russh and adds a match arm.
//!
//! RFC 4252 lets a client ask for the service `ssh-userauth` again at any time before it is in. Paramiko does before
//! each attempt. russh answers the first request alone, so that whoever tries a key and then a password (Netmiko,
//! NAPALM, Ansible) waits for ever. When a release of russh answers, this package can go.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const VERSION: &str = "0.65.1";
const FILE: &str = "server/encrypted.rs";
/// The arm goes before this one. Another release may have another text: then the build ends here, and somebody looks.
const ANCHOR: &str =
    "            (EncryptedState::WaitingAuthRequest(_), Some((&msg::USERAUTH_REQUEST, mut r))) => {\n";
const ARM: &str = r#"            (EncryptedState::WaitingAuthRequest(_), Some((&msg::SERVICE_REQUEST, mut r))) => {
                let request = map_err!(String::decode(&mut r))?;
                map_err!(ensure_end(&r))?;
                if request == "ssh-userauth" {
                    push_packet!(enc.write, {
                        enc.write.push(msg::SERVICE_ACCEPT);
                        map_err!(request.encode(&mut enc.write))?;
                    });
                }
                Ok(())
            }
"#;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    let source = source()?;
    let copy = PathBuf::from(env::var("OUT_DIR")?).join("russh");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    copy_all(&source, &copy)?;
    let file = copy.join(FILE);
    let text = fs::read_to_string(&file)?;
    let found = text.matches(ANCHOR).count();
    if found != 1 {
        return Err(format!("{FILE} of russh {VERSION} has the anchor of the patch {found} times, and not once").into());
    }
    fs::write(&file, text.replacen(ANCHOR, &format!("{ARM}{ANCHOR}"), 1))?;
    Ok(())
}

/// Where cargo has put the locked release.
fn source() -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(env::var("CARGO_MANIFEST_DIR")?)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let package = packages.iter().find(|package| package["name"] == "russh" && package["version"] == VERSION);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.ok_or(format!("cargo metadata does not name russh {VERSION}"))?;
    Ok(Path::new(manifest).parent().ok_or("a manifest without a directory")?.join("src"))
}

fn copy_all(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
