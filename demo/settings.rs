//! What the user can choose: ports, the way to Envoy and whether there is one, from environment variables with documented
//! defaults.
//!
//! Gives addresses and listeners, and an error that names the variable to set when a port is taken. Knows nothing of
//! what will be served there.

use std::env::{self, VarError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

/// Everything that the environment decides.
pub struct Settings {
    /// The Envoy binary: `ENVOY`, by default the one on `PATH`.
    pub envoy: String,
    /// End after the tour: `ONCE=1`.
    pub once: bool,
    /// Send the requests of the tour first: unless `TOUR=0`.
    pub tour: bool,
    /// Leave the gateways to somebody else: `SERVERS_ONLY=1`.
    pub servers_only: bool,
    /// The interface of the identity provider: `IDENTITY_PROVIDER_ADDRESS`, by default this machine's own. What a container
    /// publishes must listen on another one.
    pub identity_provider_address: IpAddr,
    /// Where everything listens.
    pub ports: Ports,
}

/// Where everything listens. The defaults are those of `envoy.yaml`.
pub struct Ports {
    /// Envoy's admin interface.
    pub admin: Port,
    /// A second gateway in front of the same servers, if there is one.
    pub apisix: Option<Port>,
    /// The listener that the filter guards.
    pub gateway: Port,
    /// The demo identity provider.
    pub identity_provider: Port,
    /// The demo upstream.
    pub upstream: Port,
}

impl Settings {
    /// Reads the environment.
    pub fn from_env() -> Result<Self, String> {
        Ok(Self {
            envoy: env::var("ENVOY").unwrap_or_else(|_| "envoy".to_owned()),
            once: env::var("ONCE").is_ok_and(|once| once == "1"),
            tour: env::var("TOUR").map_or(true, |tour| tour != "0"),
            servers_only: env::var("SERVERS_ONLY").is_ok_and(|only| only == "1"),
            identity_provider_address: address_from_env("IDENTITY_PROVIDER_ADDRESS")?,
            ports: Ports {
                admin: Port::from_env("ADMIN_PORT", 9901)?,
                apisix: env::var_os("APISIX_PORT")
                    .map(|_| Port::from_env("APISIX_PORT", 9080))
                    .transpose()?,
                gateway: Port::from_env("GATEWAY_PORT", 10000)?,
                identity_provider: Port::from_env("IDENTITY_PROVIDER_PORT", 10002)?,
                upstream: Port::from_env("UPSTREAM_PORT", 10001)?,
            },
        })
    }
}

impl Ports {
    /// Those that stand in `envoy.yaml`.
    pub fn of_envoy(&self) -> [&Port; 4] {
        [&self.admin, &self.gateway, &self.identity_provider, &self.upstream]
    }

    /// The origins by which browsers know the application.
    pub fn gateways(&self) -> Vec<String> {
        [Some(&self.gateway), self.apisix.as_ref()].into_iter().flatten().map(Port::origin).collect()
    }
}

fn address_from_env(variable: &str) -> Result<IpAddr, String> {
    match env::var(variable) {
        Ok(text) => text.parse().map_err(|_| format!("{variable} is `{text}`, which is not an IP address")),
        Err(VarError::NotPresent) => Ok(Ipv4Addr::LOCALHOST.into()),
        Err(VarError::NotUnicode(_)) => Err(format!("{variable} is not an IP address")),
    }
}

/// A port on the loopback interface and the variable that chooses it.
pub struct Port {
    variable: &'static str,
    /// The number in `envoy.yaml`.
    pub default: u16,
    /// The number to use.
    pub number: u16,
}

impl Port {
    fn from_env(variable: &'static str, default: u16) -> Result<Self, String> {
        let number = match env::var(variable) {
            Ok(text) => {
                text.parse().map_err(|_| format!("{variable} is `{text}`, which is not a port number"))?
            }
            Err(VarError::NotPresent) => default,
            Err(VarError::NotUnicode(_)) => return Err(format!("{variable} is not a port number")),
        };
        Ok(Self { variable, default, number })
    }

    /// The address to listen on and to connect to.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }

    /// The same as a URL without path.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Takes the port.
    pub fn listen(&self) -> Result<TcpListener, String> {
        self.listen_on(Ipv4Addr::LOCALHOST.into())
    }

    /// Takes the port on an interface.
    pub fn listen_on(&self, interface: IpAddr) -> Result<TcpListener, String> {
        let Self { variable, number, .. } = self;
        let listen = || {
            let listener = std::net::TcpListener::bind((interface, *number))?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        listen().map_err(|error| {
            format!("cannot listen on port {number} ({error}): choose another with {variable}=<port>")
        })
    }
}
