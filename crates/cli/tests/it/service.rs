//! Under a service manager: what it is told, and the sockets that it passes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::support::{Home, Instance, PATIENCE, stubs, until};
use crate::wire::{addresses, config, get};

/// The next message with a line that begins like this.
fn told(manager: &UnixDatagram, line: &str) -> String {
    let mut buf = [0; 4_096];
    loop {
        let length = manager
            .recv(&mut buf)
            .unwrap_or_else(|error| panic!("no {line}: {error}"));
        let message = String::from_utf8(buf[..length].to_vec()).unwrap();
        if message.lines().any(|said| said.starts_with(line)) {
            return message;
        }
    }
}

#[test]
fn a_service_manager_is_told_of_readiness_reloads_state_and_the_end() {
    let stubs = stubs();
    let text = config(&addresses(&stubs), "", "");
    let home = Home::new(&text);
    let path = home.dir().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = home.command(&[]);
    let instance = Instance::start(command.env("NOTIFY_SOCKET", &path), &home);
    told(&manager, "READY=1");
    assert_eq!(get(instance.front(), "/").status(), 200);
    let status = told(&manager, "STATUS=");
    assert!(status.contains("r1"), "{status}");

    home.write("evenkeel.toml", &(text + "[audit]\nevery = \"12h\"\n"));
    instance.signal("HUP");
    let reloading = told(&manager, "RELOADING=1");
    let since = reloading.lines().find(|l| l.starts_with("MONOTONIC_USEC="));
    assert!(since.is_some(), "{reloading}");
    told(&manager, "READY=1");
    let revision = instance.status()["revision"].clone();
    assert_eq!(revision, "r2", "the reload was over");

    // A file that is none ends the reload too.
    home.write("evenkeel.toml", "[");
    instance.signal("HUP");
    told(&manager, "RELOADING=1");
    told(&manager, "READY=1");

    instance.signal("TERM");
    told(&manager, "STOPPING=1");
    assert_eq!(instance.stop().code(), Some(0));
}

/// The instance, started with `socket` as a service manager passes it.
fn passed(home: &Home, socket: &TcpListener) -> Instance {
    let socket = OwnedFd::from(socket.try_clone().unwrap());
    // The number of the process is known only once it runs: `exec` keeps it.
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .current_dir(home.dir())
        .args(["-c", script, env!("CARGO_BIN_EXE_evenkeel")])
        .args(["run", "evenkeel.toml", "--data", "data", "--drain", "5s"]);
    Instance::start_reading(&mut command, home, Stdio::from(socket))
}

#[test]
fn who_comes_while_the_process_is_replaced_is_served_by_the_next_one() {
    let stubs = stubs();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = socket.local_addr().unwrap();
    let text = config(&addresses(&stubs), "", "");
    let (admin, web) = text.split_once("[listener.").unwrap();
    let web = web.replacen("127.0.0.1:0", &address.to_string(), 1);
    let home = Home::new(&format!("{admin}[listener.{web}"));
    let first = passed(&home, &socket);
    assert_eq!(first.front(), address);
    assert_eq!(get(address, "/").status(), 200);
    assert_eq!(first.stop().code(), Some(0));

    // Nobody serves now; without the manager's socket this would be refused.
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let second = passed(&home, &socket);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(second.stop().code(), Some(0));
}

#[test]
fn a_socket_that_no_listener_wants_is_told_of_and_serves_the_one_that_comes_for_it() {
    let stubs = stubs();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let text = config(&addresses(&stubs), "", "");
    let home = Home::new(&text);
    let instance = passed(&home, &socket);
    let log = instance.log();
    assert!(
        log.contains(&address.to_string()) && log.contains("no listener has this address"),
        "{log}"
    );
    let second = format!(
        "{text}[listener.passed]\naddress = \"{address}\"\n[[route]]\nlistener = \"passed\"\npath_prefix = \"/\"\nrespond = {{ status = 204 }}\n"
    );
    home.write("evenkeel.toml", &second);
    instance.signal("HUP");
    until("the listener", PATIENCE, || {
        (instance.status()["revision"] == "r2").then_some(())
    });
    assert_eq!(get(address, "/").status(), 204);
}
