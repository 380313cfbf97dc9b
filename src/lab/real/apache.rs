//! Apache with a page that says who served it, plain and by TLS.

use super::certificate::Certificate;
use super::machine::{Machine, Port};
use crate::lab::error::LabError;

pub const PROGRAM: &str = "apache";
/// What a machine with Apache has for itself.
pub const DIRECTORIES: [&str; 2] = ["/etc/apache2", "/var/www"];

pub fn prepare(machine: &Machine, certificate: &Certificate) -> Result<(), LabError> {
    let module = |name: &str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    let modules: String = ["mpm_event", "authz_core", "dir", "mime", "ssl"].map(module).concat();
    let name = machine.name();
    machine.write(
        "/etc/apache2/apache2.conf",
        &format!(
            "ServerRoot /etc/apache2
ServerName {name}.example.net
{modules}PidFile /run/apache2/apache2.pid
DefaultRuntimeDir /run/apache2
Mutex default:/run/apache2
User www-data
Group www-data
ErrorLog /dev/stderr
LogLevel error
StartServers 1
ServerLimit 4
ThreadsPerChild 64
MinSpareThreads 32
MaxSpareThreads 128
MaxRequestWorkers 256
TypesConfig /etc/mime.types
DocumentRoot /var/www/html
DirectoryIndex index.html
Listen 80
Listen 443 https
<Directory /var/www/html>
  Require all granted
</Directory>
<VirtualHost *:443>
  SSLEngine on
  SSLCertificateFile /etc/apache2/certificate.pem
  SSLCertificateKeyFile /etc/apache2/key.pem
</VirtualHost>
"
        ),
    )?;
    machine.write("/etc/apache2/certificate.pem", &certificate.certificate)?;
    machine.write("/etc/apache2/key.pem", &certificate.key)?;
    machine.give("/etc/apache2/key.pem", "root", 0o600)?;
    machine.directory("/run/apache2", "root", 0o755)?;
    let page = format!("<!DOCTYPE html><html><title>Webmail</title><h1>Served by {name}</h1></html>\n");
    machine.write("/var/www/html/index.html", &page)
}

pub fn start(machine: &mut Machine) -> Result<(), LabError> {
    machine.start(PROGRAM, &["/usr/sbin/apache2", "-DFOREGROUND"], &[], &[Port::Tcp(80), Port::Tcp(443)])
}
