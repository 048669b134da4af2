//! The demo's program as the service `backend` of docker-compose.yaml.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::files::{at, yaml};

/// The program with the environment of the service, on free ports.
struct Servers {
    process: Child,
    provider: u16,
    upstream: u16,
}

impl Servers {
    fn start() -> Self {
        let [provider, upstream, gateway] = free_ports();
        let file = yaml("docker-compose.yaml");
        let environment = at(&file, "/services/backend/environment").as_object().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_edge-authn-demo"))
            .envs(environment.iter().map(|(name, value)| (name, value.as_str().unwrap())))
            .env("IDENTITY_PROVIDER_PORT", provider.to_string())
            .env("UPSTREAM_PORT", upstream.to_string())
            .env("GATEWAY_PORT", gateway.to_string())
            // Whoever is in the network of this machine has no business there while tests run.
            .env("IDENTITY_PROVIDER_ADDRESS", "127.0.0.2")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo was built with the tests");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let servers = Self { process, provider, upstream };
        assert!(line.starts_with("identity provider http://127.0.0.1:"), "{line:?}");
        servers
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn get(address: [u8; 4], port: u16, path: &str, host: &str) -> String {
    let address = SocketAddr::from((Ipv4Addr::from(address), port));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_servers_run_without_a_gateway_and_know_both() {
    let servers = Servers::start();
    // On the interface that was asked for, under the name that browsers and gateways have for it.
    let metadata = get([127, 0, 0, 2], servers.provider, "/.well-known/openid-configuration", "idp");
    assert!(
        metadata.contains(&format!("\"issuer\": \"http://127.0.0.1:{}\"", servers.provider)),
        "{metadata}"
    );
    assert!(TcpStream::connect(("127.0.0.1", servers.provider)).is_err());
    // The upstream is on the loopback interface, whatever that of the other is.
    let page = get([127, 0, 0, 1], servers.upstream, "/", "127.0.0.1:9080");
    assert!(page.contains("<meta name=\"gateway\" content=\"http://127.0.0.1:9080\">"), "{page}");
    assert!(TcpStream::connect(("127.0.0.2", servers.upstream)).is_err());
}
