//! The demo as a process, on ports of its own.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;

const PROGRAM: &str = env!("CARGO_BIN_EXE_edge-authn-demo");
const READY: &str = "Ctrl-C ends it.";

/// A running demo; dropping it ends the process, and with it Envoy.
pub struct Demo {
    process: Child,
    gateway: u16,
}

impl Demo {
    /// Starts the demo without its tour and waits until it is ready.
    pub fn start() -> Self {
        assert!(env::var_os("ENVOY").is_some(), "ENVOY is not set: run `make test-browser`");
        let [gateway, upstream, provider, admin] = free_ports();
        let mut process = Command::new(PROGRAM)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("TOUR", "0")
            .env("GATEWAY_PORT", gateway.to_string())
            .env("UPSTREAM_PORT", upstream.to_string())
            .env("IDENTITY_PROVIDER_PORT", provider.to_string())
            .env("ADMIN_PORT", admin.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo was built with the tests");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let is_ready = lines.any(|line| line == READY);
        let demo = Self { process, gateway };
        assert!(is_ready, "the demo has ended before it was ready");
        // A pipe that nobody reads would stop it.
        thread::spawn(move || lines.for_each(drop));
        demo
    }

    pub fn gateway(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway)
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It ends Envoy when it is asked to end, but not when it is killed.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// Ports that are free now; all are taken before one is given back, so that no two are the same.
fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
