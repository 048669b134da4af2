//! What the root context and all streams of one configuration share: the engine, who waits, and which calls are out.
//!
//! Takes events from both kinds of context, gives host calls. On hosts with timers all fetches are the root context's,
//! so that no client's leaving takes a fetch away from the others; a request that needs keys sets the timer to fire at
//! once. Without timers each waiting request fetches for itself, which is all such hosts allow.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::config::{Answers, ProviderId};
use crate::engine::{Decided, Decision, Engine, FetchReply};
use crate::export::Property;
use crate::host::attributes;
use crate::host::calls::{self, BufferType, HostError, LogLevel, MapType};
use crate::host::clock;
use crate::jose::jwk::MAX_JWKS_BYTES;
use crate::rejection::Rejection;
use crate::request::{Attributes, RequestHead};
use crate::rewrite::{HeaderEdit, HeaderEdits};
use crate::time::UnixTime;

/// The most requests that wait for keys at one time; each holds a copy of its header.
const MAX_WAITING: usize = 1024;

/// The shortest period that a host's timer takes.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// A timer that should have fired this long ago is set again.
const LOST_TIMER: Duration = Duration::from_secs(1);

/// Shared by the contexts of one VM, which run one at a time.
#[derive(Clone, Debug)]
pub(super) struct SharedGateway(Rc<RefCell<Gateway>>);

/// The state behind one root context.
#[derive(Debug)]
pub(super) struct Gateway {
    root_id: u32,
    engine: Option<Engine>,
    /// `None` on a host without timers, else when the timer is set to fire.
    timer: Option<Timer>,
    waiting: BTreeMap<u32, Waiting>,
    calls: BTreeMap<u32, Call>,
}

/// Whether a request has been let through; shared by its stream and whoever decides about it.
pub(super) type Passed = Rc<Cell<bool>>;

#[derive(Debug)]
struct Waiting {
    head: RequestHead,
    passed: Passed,
}

/// When the timer will fire, if it is set.
#[derive(Clone, Copy, Debug, Default)]
struct Timer(Option<UnixTime>);

#[derive(Debug)]
struct Call {
    provider: ProviderId,
    /// The stream that made the call, or the root.
    context_id: u32,
}

/// What a stream's callback must tell the host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Continue,
    Pause,
}

impl SharedGateway {
    pub(super) fn new(root_id: u32) -> Self {
        let (waiting, calls) = (BTreeMap::new(), BTreeMap::new());
        Self(Rc::new(RefCell::new(Gateway { root_id, engine: None, timer: None, waiting, calls })))
    }

    /// The only way to the state: a borrow cannot outlive the step, so no pattern or nested call meets it borrowed.
    pub(super) fn with<R>(&self, step: impl FnOnce(&mut Gateway) -> R) -> R {
        step(&mut self.0.borrow_mut())
    }

    /// Answers the request of the running stream, or has it wait.
    pub(super) fn answer_or_wait(&self, context_id: u32, head: RequestHead, passed: &Passed) -> Outcome {
        let decided = self.with(|gateway| gateway.decide(&head));
        let own_fetch = self.with(|gateway| gateway.own_fetch(&decided.decision));
        let must_wait = own_fetch.is_some() || matches!(decided.decision, Decision::Await(_));
        if !must_wait {
            return self.answer(&decided, &head, passed);
        }
        let waiting = Waiting { head, passed: Rc::clone(passed) };
        match self.with(|gateway| gateway.wait(context_id, waiting, own_fetch)) {
            Ok(()) => Outcome::Pause,
            Err(CannotWait::NothingToWaitFor) => self.answer_again(context_id),
            // A refresh that the request cannot wait for is left to another one.
            Err(CannotWait::Overloaded(Waiting { head, passed })) => self.answer(&decided, &head, &passed),
        }
    }

    /// Answers a request that has waited, in its own stream's callback.
    pub(super) fn answer_again(&self, context_id: u32) -> Outcome {
        let waited = self.with(|gateway| {
            let waiting = gateway.waiting.remove(&context_id)?;
            Some((gateway.decide(&waiting.head), waiting))
        });
        match waited {
            Some((Decided { decision: Decision::Await(_), .. }, Waiting { head, .. })) => {
                self.refuse(&Rejection::KeysUnavailable { retry_after: Duration::from_secs(1) }, &head)
            }
            Some((decided, Waiting { head, passed })) => self.answer(&decided, &head, &passed),
            None => Outcome::Pause,
        }
    }

    /// Carries out a decision for the request of the effective context. One that would have to wait is refused.
    fn answer(&self, decided: &Decided, head: &RequestHead, passed: &Passed) -> Outcome {
        for Property { name, value } in &decided.properties {
            log_at(LogLevel::Debug, calls::set_property(name, value));
        }
        match &decided.decision {
            Decision::Forward(edits) => {
                let outcome = forward(edits, passed);
                if decided.clears_route {
                    log_at(LogLevel::Debug, calls::clear_route_cache());
                }
                outcome
            }
            Decision::Refuse(rejection) => self.refuse(rejection, head),
            Decision::Await(_) => self.refuse(&Rejection::Overloaded, head),
        }
    }

    /// Decides every waiting request again, from the root context.
    pub(super) fn answer_waiting(&self) {
        let waiting = self.with(|gateway| std::mem::take(&mut gateway.waiting));
        if waiting.is_empty() {
            return;
        }
        for (context_id, waiting) in waiting {
            let decided = self.with(|gateway| gateway.decide(&waiting.head));
            if matches!(decided.decision, Decision::Await(_)) {
                self.with(|gateway| gateway.waiting.insert(context_id, waiting));
                continue;
            }
            // A client that has left has no context any more; anything done now would happen to another request.
            if calls::set_effective_context(context_id).is_err() {
                continue;
            }
            if self.answer(&decided, &waiting.head, &waiting.passed) == Outcome::Continue {
                resume();
            }
        }
        let root_id = self.with(|gateway| gateway.root_id);
        log_failure(calls::set_effective_context(root_id));
    }

    /// Refuses a request whose header the host did not hand over.
    pub(super) fn refuse_unread(&self, error: HostError) -> Outcome {
        self.refuse(&host_failure(error), &RequestHead::default())
    }

    fn refuse(&self, rejection: &Rejection, head: &RequestHead) -> Outcome {
        let answers = self.with(|gateway| Some(gateway.engine.as_ref()?.config().answers.clone()));
        send(rejection, &answers.unwrap_or_default(), head)
    }
}

/// Why a request that cannot be answered now cannot wait either.
enum CannotWait {
    Overloaded(Waiting),
    NothingToWaitFor,
}

impl Gateway {
    /// Takes up a configuration, and finds out whether the host has timers.
    pub(super) fn configure(&mut self, mut engine: Engine) {
        self.timer = calls::set_tick_period(None).is_ok().then(Timer::default);
        if self.timer.is_none() {
            engine.without_timers();
        }
        // Their answers would be taken for those of the providers that have the same place now.
        self.calls.clear();
        self.engine = Some(engine);
    }

    pub(super) const fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// The answer to a request as it stands now.
    fn decide(&mut self, head: &RequestHead) -> Decided {
        match &mut self.engine {
            Some(engine) => engine.decide(head, clock::now()),
            None => {
                Decided::refuse(Rejection::HostFailure { detail: "there is no configuration".to_owned() })
            }
        }
    }

    /// What the host says of the running request.
    pub(super) fn attributes(&mut self) -> Attributes {
        let config = self.engine.as_ref().map(Engine::config);
        config.map(attributes::of_request).unwrap_or_default()
    }

    /// The document that the request just decided must fetch itself: none where the root can, else what it waits for,
    /// else what is due.
    fn own_fetch(&mut self, decision: &Decision) -> Option<ProviderId> {
        if self.timer.is_some() || self.waiting.len() >= MAX_WAITING {
            return None;
        }
        let due = self.engine.as_mut().and_then(|engine| engine.own_fetch(clock::now()));
        match decision {
            Decision::Await(provider) => Some(*provider),
            Decision::Forward(_) | Decision::Refuse(_) => due,
        }
    }

    /// Has a request wait, for a fetch of its own or for the root's.
    fn wait(
        &mut self,
        context_id: u32,
        waiting: Waiting,
        own_fetch: Option<ProviderId>,
    ) -> Result<(), CannotWait> {
        if self.waiting.len() >= MAX_WAITING {
            return Err(CannotWait::Overloaded(waiting));
        }
        self.waiting.insert(context_id, waiting);
        let is_on_its_way = match own_fetch {
            Some(provider) => self.send_fetch(provider, context_id),
            None => self.hasten_timer().is_ok(),
        };
        if is_on_its_way { Ok(()) } else { Err(CannotWait::NothingToWaitFor) }
    }

    /// The request of this context is over, whatever became of it.
    pub(super) fn forget(&mut self, context_id: u32) {
        self.waiting.remove(&context_id);
        self.calls.retain(|_, call| call.context_id != context_id);
    }

    /// The timer fired; it will again after the same period unless it is set anew.
    pub(super) const fn timer_fired(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.0 = None;
        }
    }

    /// Sets the timer for what the engine plans next, from the root context.
    pub(super) fn set_timer(&mut self) -> Result<(), HostError> {
        let planned = self.planned(clock::now());
        self.set_timer_to(planned)
    }

    /// Sets the timer for what the engine plans next, unless it fires before that anyway: setting it starts it anew, so
    /// requests that come faster than it fires would put it off for ever.
    fn hasten_timer(&mut self) -> Result<(), HostError> {
        let now = clock::now();
        let planned = self.planned(now);
        let is_early_enough = |fires_at: UnixTime| {
            planned.is_none_or(|(_, due)| fires_at <= due) && now <= fires_at.after(LOST_TIMER)
        };
        match self.timer {
            Some(Timer(Some(fires_at))) if is_early_enough(fires_at) => Ok(()),
            _ => self.set_timer_to(planned),
        }
    }

    /// How long from now until the engine wants to be asked again, and when that is.
    fn planned(&self, now: UnixTime) -> Option<(Duration, UnixTime)> {
        let wake_at = self.engine.as_ref()?.wake_at()?;
        let period = now.until(wake_at).max(SHORTEST_PERIOD);
        Some((period, now.after(period)))
    }

    fn set_timer_to(&mut self, planned: Option<(Duration, UnixTime)>) -> Result<(), HostError> {
        let Some(timer) = &mut self.timer else { return Ok(()) };
        calls::set_tick_period(planned.map(|(period, _)| period))?;
        timer.0 = planned.map(|(_, due)| due);
        Ok(())
    }

    pub(super) fn stop_timer(&mut self) -> Result<(), HostError> {
        match self.timer.take() {
            Some(Timer(Some(_))) => calls::set_tick_period(None),
            _ => Ok(()),
        }
    }

    /// Sends every fetch that is due, from the root context.
    pub(super) fn send_due_fetches(&mut self) {
        // Without timers the root may not call: whoever needs the document fetches it.
        if self.timer.is_none() {
            return;
        }
        let due = self.engine.as_mut().map(|engine| engine.fetches(clock::now())).unwrap_or_default();
        for provider in due {
            self.send_fetch(provider, self.root_id);
        }
    }

    /// Sends a fetch from the context that is running. Whether it was sent.
    fn send_fetch(&mut self, provider: ProviderId, context_id: u32) -> bool {
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
                self.calls.insert(token, Call { provider, context_id });
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

    /// Takes in the answer to a call of ours.
    pub(super) fn take_answer(&mut self, token: u32, num_headers: usize, body_size: usize) {
        let Some(Call { provider, .. }) = self.calls.remove(&token) else { return };
        match read_answer(num_headers, body_size) {
            Answer::Response { status, body } => {
                self.settle(provider, FetchReply::Response { status, body: &body });
            }
            Answer::TooLarge { bytes } => self.settle(provider, FetchReply::TooLarge { bytes }),
            Answer::Failure => self.settle(provider, FetchReply::Failure),
        }
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

/// Lets the request of the effective context go on.
pub(super) fn resume() {
    log_failure(calls::resume_request());
}

/// Makes the edits. When the host does not make one of them, the request is refused: a header that should have been
/// removed could be a forged identity.
fn forward(edits: &HeaderEdits, passed: &Passed) -> Outcome {
    let map = MapType::HttpRequestHeaders;
    let made = edits.iter().try_for_each(|edit| match edit {
        HeaderEdit::Remove { name } => calls::remove_header(map, name),
        HeaderEdit::Replace { name, value } => calls::replace_header(map, name, value),
    });
    match made {
        Ok(()) => {
            passed.set(true);
            Outcome::Continue
        }
        Err(error) => send(&host_failure(error), &Answers::default(), &RequestHead::default()),
    }
}

fn send(rejection: &Rejection, answers: &Answers, head: &RequestHead) -> Outcome {
    let level = if rejection.status() >= 500 { LogLevel::Warn } else { LogLevel::Debug };
    calls::log(level, &format!("edge-authn: refused: {rejection}"));
    // When even this fails the request stays paused, which is closed.
    log_failure(calls::send_reply(&rejection.reply(answers, head)));
    Outcome::Pause
}

fn host_failure(error: HostError) -> Rejection {
    Rejection::HostFailure { detail: error.to_string() }
}

pub(super) fn log_failure(result: Result<(), HostError>) {
    log_at(LogLevel::Error, result);
}

fn log_at(level: LogLevel, result: Result<(), HostError>) {
    if let Err(error) = result {
        calls::log(level, &format!("edge-authn: {error}"));
    }
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
