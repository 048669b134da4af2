//! What is compared: the filters, each behind a listener of its own in one Envoy.
//!
//! Takes the configuration that all share, which is `jwt_authn`'s, and changes only what makes a contender one.

use std::path::Path;

use edge_authn::config::Config;
use serde_json::{Value, json};

use crate::pool::{AUDIENCE, ISSUER};
use crate::settings::Settings;
use crate::support::{Envoy, EnvoyBuilder, Upstream, edge_authn_of};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contender {
    /// No filter at all.
    Bare,
    /// A Wasm filter that does nothing.
    Noop,
    /// `jwt_authn` as it is by default, without a cache.
    Native,
    /// `jwt_authn` with a cache that is large enough for what is sent.
    NativeCached,
    /// This filter as it is by default.
    Ours,
    /// This filter with signatures verified in Wasm, not by the host.
    OursInWasm,
    /// This filter without its cache of verified tokens.
    OursUncached,
    /// Another build of this filter.
    Beside,
}

impl Contender {
    /// How it is called in the tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bare => "no filter",
            Self::Noop => "do-nothing Wasm filter",
            Self::Native => "`jwt_authn`",
            Self::NativeCached => "`jwt_authn` with `jwt_cache_config`",
            Self::Ours => "edge-authn",
            Self::OursInWasm => "edge-authn, `\"crypto\": \"wasm\"`",
            Self::OursUncached => "edge-authn, `jwt_cache_size: 0`",
            Self::Beside => "edge-authn, the build beside it",
        }
    }

    /// The name of its listener.
    pub fn listener(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Noop => "noop",
            Self::Native => "native",
            Self::NativeCached => "native_cached",
            Self::Ours => "ours",
            Self::OursInWasm => "ours_in_wasm",
            Self::OursUncached => "ours_uncached",
            Self::Beside => "beside",
        }
    }

    /// The filter of its listener.
    fn add_to(self, envoy: EnvoyBuilder, setup: &Setup<'_>) -> EnvoyBuilder {
        let name = self.listener();
        let configuration = setup.configuration.clone();
        let with_cache_of = |size: usize| {
            let mut configuration = configuration.clone();
            for provider in configuration["providers"].as_object_mut().unwrap().values_mut() {
                provider["jwt_cache_config"] = json!({ "jwt_cache_size": size });
            }
            configuration
        };
        let own = setup.own_cache_size.map_or_else(|| configuration.clone(), with_cache_of);
        match self {
            Self::Bare => envoy.listener(name, None),
            Self::Noop => envoy.listener(name, Some(noop(setup.settings))),
            Self::Native => envoy.jwt_authn(name, configuration),
            Self::NativeCached => envoy.jwt_authn(name, with_cache_of(setup.cache_size)),
            Self::Ours => envoy.filter(name, own),
            Self::OursInWasm => envoy.filter(name, in_wasm(own)),
            Self::OursUncached => envoy.filter(name, with_cache_of(0)),
            Self::Beside => {
                let module = setup.settings.beside.as_deref().expect("a contender only where there is one");
                envoy.listener(name, Some(edge_authn_of(module, &own.to_string())))
            }
        }
    }

    /// Whether the filter of these sources has what makes this a contender.
    pub fn is_there(self, configuration: &Value) -> bool {
        let in_wasm = || in_wasm(configuration.clone()).to_string();
        self != Self::OursInWasm || Config::parse(in_wasm().as_bytes(), &|_| None).is_ok()
    }
}

/// What an Envoy with contenders needs.
pub struct Setup<'a> {
    pub settings: &'a Settings,
    pub upstream: &'a Upstream,
    pub contenders: &'a [Contender],
    /// `jwt_authn`'s message, which all filters get.
    pub configuration: Value,
    /// For how many tokens the cache of [`Contender::NativeCached`] has room.
    pub cache_size: usize,
    /// For how many that of [`Contender::Ours`] has room, if it is not as it is by default.
    pub own_cache_size: Option<usize>,
}

impl Setup<'_> {
    /// One Envoy with one worker, whose listeners all give the same answer to what their filter lets through.
    pub async fn start(&self) -> Envoy {
        let mut envoy = Envoy::without_listeners(self.upstream).log_level("warning");
        for contender in self.contenders {
            envoy = contender.add_to(envoy, self);
        }
        let answers_directly = !self.settings.asks_upstream;
        envoy
            .bootstrap(move |bootstrap| {
                for listener in bootstrap["static_resources"]["listeners"].as_array_mut().unwrap() {
                    let name = listener["name"].clone();
                    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
                    if answers_directly {
                        let answer = json!({ "status": 200, "body": { "inline_string": "ok\n" } });
                        manager["route_config"]["virtual_hosts"][0]["routes"][0] =
                            json!({ "match": { "prefix": "/" }, "direct_response": answer });
                    }
                    // A VM each: filters of one name and module would share it.
                    let filter = manager.pointer_mut("/http_filters/0/typed_config/config/vm_config");
                    if let Some(vm) = filter {
                        vm["vm_id"] = name;
                    }
                }
            })
            .start()
            .await
    }
}

/// One provider whose keys are in the configuration, two claims to headers, one rule: where all scenarios start.
pub fn configuration(keys: &[&Value]) -> Value {
    json!({
        "providers": { "acme": provider(ISSUER, keys) },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } }],
    })
}

/// A provider of that configuration, with another issuer.
pub fn provider(issuer: &str, keys: &[&Value]) -> Value {
    json!({
        "issuer": issuer,
        "audiences": [AUDIENCE],
        "local_jwks": { "inline_string": json!({ "keys": keys }).to_string() },
        "claim_to_headers": [
            { "header_name": "x-user-id", "claim_name": "sub" },
            { "header_name": "x-user-email", "claim_name": "email" },
        ],
    })
}

fn in_wasm(mut configuration: Value) -> Value {
    configuration["crypto"] = json!("wasm");
    configuration
}

/// The module is compiled anew for each Envoy: it is tiny.
fn noop(settings: &Settings) -> Value {
    let module: &Path = &settings.directory.join("noop.wasm");
    std::fs::write(module, wat::parse_str(include_str!("noop.wat")).unwrap()).unwrap();
    json!({
        "name": "noop",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "noop",
                "vm_config": { "runtime": "envoy.wasm.runtime.v8", "code": { "local": { "filename": module } } },
            },
        },
    })
}
