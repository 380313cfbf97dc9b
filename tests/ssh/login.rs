//! Who is let in, as the configuration changes.

use std::sync::Arc;

use lbd::config::{SshKey, User};

use crate::stage::{PASSWORD, Stage, name, output, patient, run};
use crate::support::fake::Fake;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listener_opens_with_the_first_user_and_shuts_with_the_last() {
    let mut stage = Stage::new().await;
    let users = stage.fake.configuration.lock().unwrap().running.config.users.clone();
    stage.change(|config| config.users.clear());
    stage.is_shut().await;
    stage.change(|config| config.users = users);
    // Any port that is free: another one.
    stage.address = stage.listens().await;
    assert_eq!(run(stage.ssh(&[]).arg("show privilege")).await, "Current privilege level is 15\n");
    stage.change(|config| config.ssh.enabled = false);
    stage.is_shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_configuration_acts_at_the_next_login() {
    let stage = Stage::new().await;
    let denied = output(&mut stage.ssh_as("operator", &["-o", "BatchMode=yes", "-i", &stage.path("key")])).await;
    assert_eq!(denied.status.code(), Some(255));
    let line = std::fs::read_to_string(stage.dir.join("key.pub")).unwrap();
    let ssh_keys = vec![SshKey::new(&line).unwrap()];
    stage.change(|config| {
        config.users.insert(name("operator"), User { level: 1, secret: None, ssh_keys });
    });
    let operator = || {
        let mut command = stage.ssh_as("operator", &["-o", "BatchMode=yes", "-i", &stage.path("key")]);
        command.arg("show privilege");
        command
    };
    assert_eq!(run(&mut operator()).await, "Current privilege level is 1\n");
    stage.change(|config| config.users.get_mut(&name("operator")).unwrap().level = 15);
    assert_eq!(run(&mut operator()).await, "Current privilege level is 15\n");
    stage.change(|config| drop(config.users.remove(&name("operator"))));
    assert_eq!(output(&mut operator()).await.status.code(), Some(255));
    // A key of one user is none of another.
    let watch = output(&mut stage.ssh_as("watch", &["-o", "BatchMode=yes", "-i", &stage.path("key")])).await;
    assert_eq!(watch.status.code(), Some(255));
    // Of a password that was changed, the new one counts.
    let said = stage.python("passwords.py", &["admin", "wrong", PASSWORD]).await;
    assert_eq!(said, "denied\nin\n");
    stage.change(|config| {
        config.users.get_mut(&name("admin")).unwrap().secret = Some(lbd::access::secrets::hash("new").unwrap());
    });
    assert_eq!(stage.python("passwords.py", &["admin", PASSWORD, "new"]).await, "denied\nin\n");
    // A user who is not there, and one without a password, are told the same.
    stage.change(|config| config.users.get_mut(&name("admin")).unwrap().secret = None);
    assert_eq!(stage.python("passwords.py", &["admin", "new", ""]).await, "denied\ndenied\n");
    assert_eq!(stage.python("passwords.py", &["no such user", "new"]).await, "denied\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_key_is_kept() {
    let stage = Stage::new().await;
    let first = stage.python("hostkey.py", &[]).await;
    let fingerprint = first.trim().to_owned();
    let server = lbd::cli::ssh::Server::open(Arc::new(Fake::default()), &stage.dir, patient()).unwrap();
    drop(server);
    assert_eq!(stage.python("hostkey.py", &[]).await.trim(), fingerprint);
    let shown = run(stage.ssh(&[]).arg("show ip ssh")).await;
    // The listeners of other tests are in this process too.
    for expected in
        ["Host key: ED25519 SHA256:", "Listening on 127.0.0.1:", "User admin: level 15, password, 2 keys SHA256:"]
    {
        assert!(shown.contains(expected), "{shown}");
    }
}
