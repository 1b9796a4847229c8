//! A real proxy, for one test.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// tinyproxy on a free port of this machine. Runs until it is dropped.
pub struct Proxy {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// With `user:password`, it serves nobody else.
    pub fn start(login: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        let login = login.map(|login| format!("BasicAuth {}\n", login.replace(':', " "))).unwrap_or_default();
        let log = log_in(folder.path());
        let settings = format!(
            "Port {port}\nListen 127.0.0.1\nMaxClients 20\nLogLevel Info\nLogFile \"{}\"\n{login}",
            log.display()
        );
        let file = folder.path().join("tinyproxy.conf");
        std::fs::write(&file, settings).expect("written");
        let process = Command::new("tinyproxy").arg("-d").arg("-c").arg(file).stdout(Stdio::null()).spawn();
        let process = process.expect("tinyproxy starts (Debian package tinyproxy-bin; `cargo xtask test` installs it)");
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the proxy does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, port, folder }
    }

    /// The value of `HTTPS_PROXY`, with a login if there is one.
    pub fn url(&self, login: Option<&str>) -> String {
        format!("http://{}127.0.0.1:{}", login.map(|login| format!("{login}@")).unwrap_or_default(), self.port)
    }

    /// Where it notes each request.
    pub fn log(&self) -> PathBuf {
        log_in(self.folder.path())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log_in(folder: &Path) -> PathBuf {
    folder.join("tinyproxy.log")
}
