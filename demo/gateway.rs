//! The Envoy process of the demo.
//!
//! Takes `envoy.yaml` and the ports, gives a running Envoy that is ready for requests and ends when it is dropped.
//! Deliberately changes nothing in the configuration but port numbers, so that the demo shows the file that users copy.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hyper::StatusCode;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::http;
use crate::settings::{Ports, Settings};

/// Where Envoy's output goes.
pub const LOG: &str = "target/demo/envoy.log";

const TEMPLATE: &str = "envoy.yaml";
const CONFIGURATION: &str = "target/demo/envoy.yaml";
const WASM: &str = "target/edge_authn.wasm";

const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A running Envoy; dropping it ends the process.
pub struct Gateway {
    process: Child,
}

impl Gateway {
    /// Starts Envoy and waits until it takes requests.
    pub async fn start(settings: &Settings) -> Result<Self, String> {
        let Settings { envoy, ports, .. } = settings;
        if !Path::new(WASM).exists() {
            return Err(format!("there is no {WASM} here: run `make wasm` in the root of the repository"));
        }
        // Envoys can share a port, so that one which is taken would not be noticed.
        drop((ports.gateway.listen()?, ports.admin.listen()?));

        let log = write_configuration(ports)
            .and_then(|()| File::create(LOG))
            .and_then(|log| Ok((log.try_clone()?, log)))
            .map_err(|error| format!("cannot prepare target/demo: {error}"))?;
        let process = Command::new(envoy)
            .args(["--config-path", CONFIGURATION, "--disable-hot-restart", "--concurrency", "2"])
            // At its start Envoy lists its hundreds of extensions.
            .args(["--component-log-level", "main:warning"])
            .stdin(Stdio::null())
            .stdout(log.0)
            .stderr(log.1)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                format!(
                    "cannot start Envoy as `{envoy}` ({error}): `make demo` brings one, or set ENVOY to yours"
                )
            })?;

        let mut gateway = Self { process };
        gateway.await_readiness(ports).await?;
        Ok(gateway)
    }

    async fn await_readiness(&mut self, ports: &Ports) -> Result<(), String> {
        let started = Instant::now();
        print!("starting Envoy ");
        loop {
            print!(".");
            // Progress that cannot be shown is no reason to stop.
            let _ = io::stdout().flush();
            if self.process.try_wait().is_ok_and(|status| status.is_some()) {
                println!();
                return Err(self.ended().await);
            }
            if is_ready(ports).await {
                println!(" ready after {:.1} s\n", started.elapsed().as_secs_f64());
                return Ok(());
            }
            if started.elapsed() > START_TIMEOUT {
                println!();
                let seconds = START_TIMEOUT.as_secs();
                return Err(format!(
                    "Envoy is not ready after {seconds} s; the end of {LOG}:\n{}",
                    log_tail()
                ));
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until Envoy ends by itself, which it should not, and tells about it.
    pub async fn ended(&mut self) -> String {
        let how = match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        format!("Envoy has ended ({how}); the end of {LOG}:\n{}", log_tail())
    }
}

async fn is_ready(ports: &Ports) -> bool {
    let answer = http::get(ports.admin.address(), "/ready", &[]).await;
    answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
}

fn write_configuration(ports: &Ports) -> io::Result<()> {
    if let Some(directory) = Path::new(CONFIGURATION).parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(CONFIGURATION, with_ports(&fs::read_to_string(TEMPLATE)?, ports))
}

/// The configuration with the chosen ports in the place of the defaults. A line has one address at most.
fn with_ports(template: &str, ports: &Ports) -> String {
    let replace = |line: &str| {
        for port in ports.of_envoy() {
            for before in ["127.0.0.1:", "port_value: "] {
                let default = format!("{before}{}", port.default);
                if line.contains(&default) {
                    return line.replace(&default, &format!("{before}{}", port.number)) + "\n";
                }
            }
        }
        format!("{line}\n")
    };
    template.lines().map(replace).collect()
}

fn log_tail() -> String {
    let log = fs::read(LOG).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().rev().take(15).collect();
    lines.into_iter().rev().map(|line| format!("  {line}\n")).collect()
}
