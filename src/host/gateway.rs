//! What the root context and all streams of one configuration share: the engine, who waits, and which calls are out.
//!
//! Takes events from both kinds of context, gives host calls. On hosts with timers all fetches are the root context's,
//! so that no client's leaving takes a fetch away from the others; a request that needs keys sets the timer to fire at
//! once. Without timers each waiting request fetches for itself, which is all such hosts allow.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::config::ProviderId;
use crate::engine::{Decision, Engine, FetchReply};
use crate::host::calls::{self, BufferType, HostError, LogLevel, MapType};
use crate::host::clock;
use crate::jose::jwk::MAX_JWKS_BYTES;
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::rewrite::{HeaderEdit, HeaderEdits};

/// The most requests that wait for keys at one time; each holds a copy of its header.
const MAX_WAITING: usize = 1024;

/// Shared by the contexts of one VM, which run one at a time. Never borrowed across a host call that could call back.
pub(super) type SharedGateway = Rc<RefCell<Gateway>>;

/// The state behind one root context.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) root_id: u32,
    pub(super) engine: Option<Engine>,
    pub(super) has_timer: bool,
    waiting: BTreeMap<u32, RequestHead>,
    calls: BTreeMap<u32, ProviderId>,
}

/// What a stream's callback must tell the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Continue,
    Pause,
}

impl Gateway {
    pub(super) const fn new(root_id: u32) -> Self {
        Self { root_id, engine: None, has_timer: false, waiting: BTreeMap::new(), calls: BTreeMap::new() }
    }

    /// The answer to a request as it stands now.
    pub(super) fn decide(&mut self, head: &RequestHead) -> Decision {
        match &mut self.engine {
            Some(engine) => engine.decide(head, clock::now()),
            None => {
                Decision::Refuse(Rejection::HostFailure { detail: "there is no configuration".to_owned() })
            }
        }
    }

    /// Has a request wait until its keys have settled.
    fn wait(&mut self, context_id: u32, head: RequestHead) -> Result<(), Rejection> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(Rejection::Overloaded);
        }
        self.waiting.insert(context_id, head);
        self.set_timer().map_err(host_failure)
    }

    /// The request of this context is over, whatever became of it.
    pub(super) fn forget(&mut self, context_id: u32) {
        self.waiting.remove(&context_id);
    }

    /// Sets the timer for what the engine plans next.
    pub(super) fn set_timer(&self) -> Result<(), HostError> {
        let next = self.engine.as_ref().and_then(|engine| engine.next_wake(clock::now()));
        if self.has_timer { calls::set_tick_period(next) } else { Ok(()) }
    }

    /// Sends every fetch that is due, from the context that is running.
    pub(super) fn send_due_fetches(&mut self) {
        let due = self.engine.as_mut().map(|engine| engine.fetches(clock::now())).unwrap_or_default();
        for provider in due {
            self.send_fetch(provider);
        }
    }

    /// Sends a fetch from the stream that is running, whoever else may have one under way. Whether it was sent.
    fn send_own_fetch(&mut self, provider: ProviderId) -> bool {
        if let Some(engine) = &mut self.engine {
            engine.fetches(clock::now());
        }
        self.send_fetch(provider)
    }

    fn send_fetch(&mut self, provider: ProviderId) -> bool {
        let Some(remote) = self.engine.as_ref().and_then(|engine| engine.remote(provider)) else {
            return false;
        };
        let headers = vec![
            (":method", "GET"),
            (":scheme", remote.scheme),
            (":authority", &remote.authority),
            (":path", &remote.path),
            ("accept", "application/jwk-set+json, application/json"),
            ("user-agent", concat!("edge-authn/", env!("CARGO_PKG_VERSION"))),
        ];
        match calls::dispatch_http_call(&remote.cluster, headers, remote.timeout) {
            Ok(token) => {
                self.calls.insert(token, provider);
                true
            }
            Err(error) => {
                let cluster = &remote.cluster;
                calls::log(
                    LogLevel::Warn,
                    &format!("edge-authn: keys not asked for at cluster {cluster:?}: {error}"),
                );
                self.settle(provider, FetchReply::Failure);
                false
            }
        }
    }

    /// Takes in the answer to a call of ours. False when the call is not known.
    pub(super) fn take_answer(&mut self, token: u32, num_headers: usize, body_size: usize) -> bool {
        let Some(provider) = self.calls.remove(&token) else { return false };
        match read_answer(num_headers, body_size) {
            Answer::Response { status, body } => {
                self.settle(provider, FetchReply::Response { status, body: &body });
            }
            Answer::TooLarge { bytes } => self.settle(provider, FetchReply::TooLarge { bytes }),
            Answer::Failure => self.settle(provider, FetchReply::Failure),
        }
        true
    }

    fn settle(&mut self, provider: ProviderId, reply: FetchReply<'_>) {
        let Some(engine) = &mut self.engine else { return };
        let settled = engine.settle(provider, reply, clock::now());
        let name =
            engine.config().provider(provider).map(|provider| provider.name.as_str()).unwrap_or_default();
        match settled {
            Ok(()) => calls::log(LogLevel::Debug, &format!("edge-authn: keys of provider {name:?} fetched")),
            Err(error) => {
                calls::log(
                    LogLevel::Warn,
                    &format!("edge-authn: keys of provider {name:?} not fetched: {error}"),
                );
            }
        }
    }
}

/// Answers the request of the running stream, or has it wait.
pub(super) fn answer_or_wait(gateway: &SharedGateway, context_id: u32, head: RequestHead) -> Outcome {
    let decision = gateway.borrow_mut().decide(&head);
    let provider = match decision {
        Decision::Forward(edits) => return forward(&edits),
        Decision::Refuse(rejection) => return refuse(gateway, &rejection),
        Decision::Await(provider) => provider,
    };
    if let Err(rejection) = gateway.borrow_mut().wait(context_id, head) {
        gateway.borrow_mut().forget(context_id);
        return refuse(gateway, &rejection);
    }
    let has_timer = gateway.borrow().has_timer;
    if has_timer || gateway.borrow_mut().send_own_fetch(provider) {
        Outcome::Pause
    } else {
        // Nothing is on its way, so waiting would never end.
        answer_again(gateway, context_id)
    }
}

/// Answers a request that has waited, in its own stream's callback.
pub(super) fn answer_again(gateway: &SharedGateway, context_id: u32) -> Outcome {
    let head = gateway.borrow_mut().waiting.remove(&context_id);
    let Some(head) = head else { return Outcome::Pause };
    let decision = gateway.borrow_mut().decide(&head);
    match decision {
        Decision::Forward(edits) => forward(&edits),
        Decision::Refuse(rejection) => refuse(gateway, &rejection),
        Decision::Await(_) => {
            refuse(gateway, &Rejection::KeysUnavailable { retry_after: Duration::from_secs(1) })
        }
    }
}

/// Decides every waiting request again, from the root context.
pub(super) fn answer_waiting(gateway: &SharedGateway) {
    let waiting = std::mem::take(&mut gateway.borrow_mut().waiting);
    if waiting.is_empty() {
        return;
    }
    for (context_id, head) in waiting {
        let decision = gateway.borrow_mut().decide(&head);
        if matches!(decision, Decision::Await(_)) {
            gateway.borrow_mut().waiting.insert(context_id, head);
            continue;
        }
        // A client that has left has no context any more; anything done now would happen to another request.
        if calls::set_effective_context(context_id).is_err() {
            continue;
        }
        let outcome = match decision {
            Decision::Forward(edits) => forward(&edits),
            Decision::Refuse(rejection) => refuse(gateway, &rejection),
            Decision::Await(_) => Outcome::Pause,
        };
        if outcome == Outcome::Continue
            && let Err(error) = calls::resume_request()
        {
            calls::log(LogLevel::Error, &format!("edge-authn: a waiting request was not resumed: {error}"));
        }
    }
    let root_id = gateway.borrow().root_id;
    if let Err(error) = calls::set_effective_context(root_id) {
        calls::log(LogLevel::Error, &format!("edge-authn: {error}"));
    }
}

/// Makes the edits. When the host does not make one of them, the request is refused: a header that should have been
/// removed could be a forged identity.
fn forward(edits: &HeaderEdits) -> Outcome {
    let map = MapType::HttpRequestHeaders;
    let made = edits.iter().try_for_each(|edit| match edit {
        HeaderEdit::Remove { name } => calls::remove_header(map, name),
        HeaderEdit::Replace { name, value } => calls::replace_header(map, name, value),
    });
    match made {
        Ok(()) => Outcome::Continue,
        Err(error) => send(&host_failure(error), ""),
    }
}

/// Refuses a request whose header the host did not hand over.
pub(super) fn refuse_unread(gateway: &SharedGateway, error: HostError) -> Outcome {
    refuse(gateway, &host_failure(error))
}

fn refuse(gateway: &SharedGateway, rejection: &Rejection) -> Outcome {
    let realm =
        gateway.borrow().engine.as_ref().map(|engine| engine.config().realm.clone()).unwrap_or_default();
    send(rejection, &realm)
}

fn send(rejection: &Rejection, realm: &str) -> Outcome {
    let level = if rejection.status() >= 500 { LogLevel::Warn } else { LogLevel::Debug };
    calls::log(level, &format!("edge-authn: refused: {rejection}"));
    if let Err(error) = calls::send_reply(&rejection.reply(realm)) {
        // The request stays paused, which is closed.
        calls::log(LogLevel::Error, &format!("edge-authn: a refusal was not sent: {error}"));
    }
    Outcome::Pause
}

fn host_failure(error: HostError) -> Rejection {
    Rejection::HostFailure { detail: error.to_string() }
}

enum Answer {
    Response { status: u16, body: Vec<u8> },
    TooLarge { bytes: usize },
    Failure,
}

/// The answer to a call. Without header there was none (reset); a timeout and a refused connection come as the host's
/// own 504 and 503.
fn read_answer(num_headers: usize, body_size: usize) -> Answer {
    if num_headers == 0 {
        return Answer::Failure;
    }
    let headers = calls::header_pairs(MapType::HttpCallResponseHeaders).unwrap_or_default();
    let status = RequestHead::new(headers).values(":status").next().and_then(parse_status);
    match status {
        None => Answer::Failure,
        Some(_) if body_size > MAX_JWKS_BYTES => Answer::TooLarge { bytes: body_size },
        Some(status) if body_size == 0 => Answer::Response { status, body: Vec::new() },
        Some(status) => match calls::buffer(BufferType::HttpCallResponseBody, body_size) {
            Ok(body) => Answer::Response { status, body },
            Err(_) => Answer::Failure,
        },
    }
}

fn parse_status(value: &[u8]) -> Option<u16> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
