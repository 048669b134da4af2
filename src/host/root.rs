//! The root context: configuration, the timer, and the answers to calls.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::config::{CallBy, Config, ConfigError, Surroundings};
use crate::host::calls::{self, BufferType, LogLevel};
use crate::host::capabilities::Capabilities;
use crate::host::gateway::{Gateway, SharedGateway, log_failure};
use crate::host::quiet;
use crate::host::stream::Stream;
use crate::host_crypto::HostCrypto;

#[derive(Debug)]
pub(super) struct Root {
    context_id: u32,
    gateway: SharedGateway,
}

impl Root {
    pub(super) fn new(context_id: u32) -> Self {
        Self { context_id, gateway: SharedGateway::new(context_id) }
    }

    /// Does what is due, then decides the waiting requests again and sets the timer for what comes next.
    fn catch_up(&self) {
        self.gateway.with(Gateway::send_due_calls);
        self.gateway.answer_settled();
        log_failure(self.gateway.with(Gateway::set_timer));
    }
}

/// This configuration is over. Some hosts let a timer outlive its context; all cancel its calls. Not said in
/// `proxy_on_done`, which knows no context.
impl Drop for Root {
    fn drop(&mut self) {
        self.gateway.with(Gateway::release);
        log_failure(self.gateway.with(Gateway::stop_timer));
    }
}

/// From WASI; the variables are those that `vm_config.environment_variables` of the plugin lists.
fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The configuration, and the host where it is to verify signatures.
fn load(text: &[u8], call_by: CallBy) -> Result<(Config, Option<Rc<HostCrypto>>), ConfigError> {
    let config = Config::parse_in(text, Surroundings { variable: &environment_variable, call_by })?;
    let verify_signature =
        |argument: &[u8]| calls::verify_signature(argument).map_err(|error| error.to_string());
    let host_crypto = HostCrypto::of(&config, Box::new(verify_signature))?;
    Ok((config, host_crypto.map(Rc::new)))
}

impl RootContext for Root {
    /// Reads the configuration. False makes Envoy refuse it, and keep the one it has.
    fn on_configure(&mut self, size: usize) -> bool {
        let text = match size {
            0 => Ok(Vec::new()),
            _ => calls::buffer(BufferType::PluginConfiguration, size),
        };
        let capabilities = Capabilities::probe(self.context_id);
        let loaded = text.map_err(|error| error.to_string());
        let loaded =
            loaded.and_then(|text| load(&text, capabilities.call_by).map_err(|error| error.to_string()));
        let (config, host_crypto) = match loaded {
            Ok(loaded) => loaded,
            Err(message) => {
                // APISIX loads a configuration that was refused again for each request, twice.
                if capabilities.timers || quiet::is_news(&message) {
                    calls::log(LogLevel::Error, &format!("edge-authn: configuration refused: {message}"));
                }
                return false;
            }
        };
        for (algorithm, reason) in host_crypto.iter().flat_map(|host| host.unfit()) {
            let name = algorithm.name();
            calls::log(LogLevel::Debug, &format!("edge-authn: the host does not verify {name}: {reason}"));
        }
        for warning in &config.warnings {
            calls::log(LogLevel::Warn, &format!("edge-authn: {warning}"));
        }
        self.gateway.with(|gateway| gateway.configure(config, host_crypto, capabilities));
        // Requests may wait for keys of a configuration that this one replaces.
        self.gateway.answer_all();
        // Nothing is fetched before the timer fires: Envoy also configures VMs that it throws away at once.
        log_failure(self.gateway.with(Gateway::set_timer));
        true
    }

    fn on_tick(&mut self) {
        self.gateway.with(Gateway::timer_fired);
        self.catch_up();
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(context_id, self.gateway.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        num_headers: usize,
        body_size: usize,
        _num_trailers: usize,
    ) {
        self.gateway.with(|gateway| gateway.take_answer(token, num_headers, body_size));
        self.catch_up();
    }
}
