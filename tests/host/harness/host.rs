//! The host itself: one VM, its plugins and streams, and the order in which they are called.
//!
//! Takes the events of the world (a configuration, a request, an answer, time, a client that
//! leaves) and turns each into the callbacks that Envoy would make, in Envoy's order: effects that
//! the guest asked for happen when the VM call has returned. Decides nothing for the guest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use wasmtime::{WasmParams, WasmResults};

use super::abi::Status;
use super::header_map::HeaderMap;
use super::http_call::{Call, CallId, CallResponse};
use super::program::Program;
use super::shared_data::SharedData;
use super::state::{Effect, Root, State};
use super::stream::{Access, LocalReply, Outcome, Stream};
use super::vm::Vm;
use super::{Kind, LoadError, Log, Profile, Refused, nginx};

/// 2025-01-01T00:00:00Z: where the virtual clock starts unless told otherwise.
const START: Duration = Duration::from_secs(1_735_689_600);

/// A plugin in the VM: its root context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootId(pub u32);

/// An HTTP stream: its context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// One VM of one worker, and the world around it.
pub struct Host {
    vm: Vm,
    program: Program,
    last_context: u32,
    /// The plugin that requests go to: the one that started last.
    newest: Option<RootId>,
    closed: BTreeMap<StreamId, Outcome>,
    /// Those whose clients have gone while their calls are out.
    leaving: BTreeSet<StreamId>,
    callbacks: u64,
}

/// What a VM and its host have done for each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    pub host_calls: BTreeMap<&'static str, u64>,
    /// Exports that were entered, but for those that give memory.
    pub callbacks: u64,
    /// Requests for memory in the VM.
    pub allocations: u64,
    /// `None` where the program is not metered.
    pub instructions: Option<u64>,
}

impl Effort {
    /// What was done since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let host_calls = self.host_calls.iter().filter_map(|(name, count)| {
            let more = count - before.host_calls.get(name).copied().unwrap_or_default();
            (more > 0).then_some((*name, more))
        });
        Self {
            host_calls: host_calls.collect(),
            callbacks: self.callbacks - before.callbacks,
            allocations: self.allocations - before.allocations,
            instructions: self.instructions.zip(before.instructions).map(|(now, before)| now - before),
        }
    }
}

impl Host {
    /// Opens the module at `path` and instantiates it; panics with the reason if it cannot.
    pub fn load(path: impl AsRef<std::path::Path>, profile: Profile) -> Self {
        let host = Program::open(path).and_then(|program| Self::new(&program, profile));
        host.unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn new(program: &Program, profile: Profile) -> Result<Self, LoadError> {
        Self::sharing(program, profile, SharedData::default())
    }

    /// The same module in another VM of the same process: another worker. It sees the same shared
    /// data and the same clusters, and its clock stands where this one's does.
    pub fn beside(&self) -> Result<Self, LoadError> {
        let state = self.vm.state();
        let mut other = Self::sharing(&self.program, state.profile, state.shared.clone())?;
        let beside = other.vm.state_mut();
        beside.now_ns = state.now_ns;
        beside.calls = state.calls.beside();
        Ok(other)
    }

    fn sharing(program: &Program, profile: Profile, shared: SharedData) -> Result<Self, LoadError> {
        let now_ns = START.as_nanos() as u64;
        // Each VM has "random" bytes of its own, the same in every run.
        let random = shared.enrol();
        let state = State { profile, shared, now_ns, random, ..State::default() };
        let mut host = Self {
            vm: Vm::instantiate(program, state)?,
            program: program.clone(),
            last_context: 0,
            newest: None,
            closed: BTreeMap::new(),
            leaving: BTreeSet::new(),
            callbacks: 0,
        };
        match host.vm.enter::<_, ()>(0, "_initialize", ()) {
            Ok(_) => Ok(host),
            Err(trap) => Err(LoadError::Trapped(host.explain(&trap))),
        }
    }

    // The world before a plugin starts.

    /// Sets the virtual clock. Ticks and timeouts that are already running keep their times.
    pub fn set_time(&mut self, since_epoch: Duration) {
        self.vm.state_mut().now_ns = since_epoch.as_nanos() as u64;
    }

    /// The virtual time, since the epoch.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.vm.state().now_ns)
    }

    /// Gives the guest an environment variable. It reads them once, when it first wants one.
    pub fn environment_variable(&mut self, name: &str, value: &str) {
        self.vm.state_mut().environment.push(format!("{name}={value}\0").into_bytes());
    }

    /// Makes `name` a cluster that calls can be dispatched to.
    pub fn cluster(&mut self, name: &str) {
        self.vm.state_mut().calls.add_cluster(name, false);
    }

    /// Makes `name` a cluster that refuses each call at once: `InternalFailure` and no callback.
    pub fn failing_cluster(&mut self, name: &str) {
        self.vm.state_mut().calls.add_cluster(name, true);
    }

    /// Sets what `proxy_get_property` answers for `path`; any other path is `NotFound`.
    pub fn property(&mut self, path: &[&str], value: impl Into<Vec<u8>>) {
        let path = path.join("\0").into_bytes();
        self.vm.state_mut().properties.insert(path, value.into());
    }

    /// Registers a foreign function; any other name is `NotFound`.
    pub fn foreign_function(
        &mut self,
        name: &str,
        function: impl FnMut(&[u8]) -> Result<Vec<u8>, Status> + 'static,
    ) {
        self.vm.state_mut().foreign.insert(name.to_owned(), Box::new(function));
    }

    pub fn vm_configuration(&mut self, configuration: impl Into<Vec<u8>>) {
        self.vm.state_mut().vm_configuration = configuration.into();
    }

    // Plugins.

    /// Starts a plugin; later requests go to it. More than one may live in the VM.
    pub fn start(&mut self, configuration: &str) -> Result<RootId, Refused> {
        let before = self.logs().len();
        let id = self.next_context();
        self.vm.state_mut().roots.insert(id, Root::default());
        self.call::<_, ()>(id, "proxy_on_context_create", (id, 0));

        let vm_size = self.vm.state().vm_configuration.len() as u32;
        let steps = [("proxy_on_vm_start", vm_size), ("proxy_on_configure", configuration.len() as u32)];
        // nginx starts no VM, as far as it tells.
        let steps = if self.is_nginx() { &steps[1..] } else { &steps };
        if let Err(by) = self.hand_over(id, configuration, steps) {
            self.forget_root(id);
            return Err(Refused { by, logs: self.logs()[before..].to_vec() });
        }
        self.newest = Some(RootId(id));
        Ok(RootId(id))
    }

    /// Hands a running plugin another configuration: `proxy_on_configure` on the same root.
    pub fn configure_again(&mut self, root: RootId, configuration: &str) -> Result<(), Refused> {
        assert!(self.vm.state().roots.contains_key(&root.0), "{root:?} is not in this VM");
        let before = self.logs().len();
        let steps = [("proxy_on_configure", configuration.len() as u32)];
        let handed_over = self.hand_over(root.0, configuration, &steps);
        handed_over.map_err(|by| Refused { by, logs: self.logs()[before..].to_vec() })
    }

    /// Makes these calls, each with a size, while the configuration can be read. Gives the one that said no.
    fn hand_over(
        &mut self,
        root: u32,
        configuration: &str,
        steps: &[(&'static str, u32)],
    ) -> Result<(), &'static str> {
        self.vm.state_mut().plugin_configuration = Some(configuration.as_bytes().to_vec());
        let refusing =
            steps.iter().find(|(by, size)| self.call::<_, u32>(root, by, (root, *size)) == Some(0));
        self.vm.state_mut().plugin_configuration = None;
        refusing.map_or(Ok(()), |(by, _)| Err(*by))
    }

    /// Replaces `old` by a plugin with another configuration. As on Envoy the new one starts
    /// first, a refusal leaves `old` as it is, and `old` ends when its last stream has ended.
    pub fn reload(&mut self, old: RootId, configuration: &str) -> Result<RootId, Refused> {
        let new = self.start(configuration)?;
        self.retire(old);
        Ok(new)
    }

    /// Takes a plugin away: `proxy_on_done`, `proxy_on_delete`, once its last stream has ended.
    pub fn retire(&mut self, root: RootId) {
        let state = self.vm.state_mut();
        let known = state.roots.get_mut(&root.0);
        known.unwrap_or_else(|| panic!("{root:?} is not in this VM")).retired = true;
        if self.newest == Some(root) {
            self.newest = None;
        }
        self.end_root_without_streams(root.0);
    }

    fn end_root_without_streams(&mut self, id: u32) {
        let state = self.vm.state();
        let retired = state.roots.get(&id).is_some_and(|root| root.retired && !root.draining);
        if !retired || state.streams.values().any(|stream| stream.root == id) {
            return;
        }
        if let Some(root) = self.vm.state_mut().roots.get_mut(&id) {
            root.draining = true;
        }
        if self.ask_whether_done(id) {
            self.delete_root(id);
        }
    }

    fn ask_whether_done(&mut self, id: u32) -> bool {
        let answer = self.call::<_, u32>(id, "proxy_on_done", id);
        // nginx writes an error into its log unless it is told so, for each request.
        assert!(!self.is_nginx() || answer == Some(1), "misuse of the host: {id} is not done: {answer:?}");
        answer != Some(0)
    }

    fn delete_root(&mut self, id: u32) {
        if self.vm.state().roots.contains_key(&id) {
            self.call::<_, ()>(id, "proxy_on_delete", id);
            self.forget_root(id);
        }
    }

    fn forget_root(&mut self, id: u32) {
        let state = self.vm.state_mut();
        state.roots.remove(&id);
        state.calls.cancel_of(id);
    }

    // Streams.

    /// A request without a body arrives at the plugin that started last.
    pub fn request(&mut self, headers: Vec<(Vec<u8>, Vec<u8>)>) -> StreamId {
        let root = self.newest.expect("a plugin must be started before a request arrives");
        self.request_to(root, headers)
    }

    /// A request without a body arrives at `root`.
    pub fn request_to(&mut self, root: RootId, headers: Vec<(Vec<u8>, Vec<u8>)>) -> StreamId {
        assert!(self.vm.state().roots.contains_key(&root.0), "{root:?} is not in this VM");
        let is_nginx = self.is_nginx();
        let headers =
            if is_nginx { HeaderMap::of_nginx(with_host(headers)) } else { HeaderMap::new(headers) };
        // It never says how many there are.
        let count = if is_nginx { 0 } else { headers.len() as u32 };
        let id = self.next_context();
        self.vm.state_mut().streams.insert(id, Stream::new(root.0, headers));
        self.call::<_, ()>(id, "proxy_on_context_create", (id, root.0));
        let action = self.call::<_, u32>(id, "proxy_on_request_headers", (id, count, 1));
        let state = self.vm.state_mut();
        // What was called is waited for, whatever the guest says.
        let is_called = is_nginx && state.calls.pending().any(|call| call.owner == id);
        let stopped = state.stop_iteration || is_called;
        if let Some(stream) = state.streams.get_mut(&id) {
            stream.decide(stopped || action.unwrap_or(0) != 0);
        }
        self.assert_held_by_a_call(id);
        StreamId(id)
    }

    /// What became of a stream so far; of a closed one, what had become of it.
    pub fn outcome(&self, id: StreamId) -> Outcome {
        let live = self.vm.state().streams.get(&id.0).and_then(Stream::outcome);
        let outcome = live.or_else(|| self.closed.get(&id));
        outcome.unwrap_or_else(|| panic!("{id:?} is not in this VM")).clone()
    }

    /// The reply that the guest gave itself; panics with the logs if there is none.
    pub fn reply(&self, id: StreamId) -> LocalReply {
        match self.outcome(id) {
            Outcome::Replied(reply) => reply,
            other => panic!("{id:?} has no local reply but is {other:?}{}", self.log_text()),
        }
    }

    /// The request headers as the upstream sees them, or would if the request went on now.
    pub fn request_headers(&self, id: StreamId) -> &HeaderMap {
        &self.stream(id).request
    }

    /// The request target as the upstream sees it.
    pub fn upstream_target(&self, id: StreamId) -> Vec<u8> {
        match self.is_nginx() {
            true => nginx::upstream_target(self.vm.state(), id.0),
            false => self.request_headers(id).get(":path").unwrap_or_default().to_vec(),
        }
    }

    /// Whether its client has gone while its call is out, which the host waits for.
    pub fn is_leaving(&self, id: StreamId) -> bool {
        self.leaving.contains(&id)
    }

    fn is_nginx(&self) -> bool {
        self.vm.state().profile.kind == Kind::Nginx
    }

    /// The response headers as the client sees them.
    pub fn response_headers(&self, id: StreamId) -> &HeaderMap {
        &self.stream(id).response
    }

    /// The upstream answers a request that went on.
    pub fn respond(&mut self, id: StreamId, headers: Vec<(Vec<u8>, Vec<u8>)>) {
        assert_eq!(self.outcome(id), Outcome::Continued, "only an upstream that was asked answers");
        self.response_passes(id.0, HeaderMap::new(headers));
    }

    /// The stream ends, by an end of the response or because the client left: `proxy_on_log`,
    /// `proxy_on_done`, `proxy_on_delete`. Gives what had become of it.
    pub fn close(&mut self, id: StreamId) -> Outcome {
        let outcome = self.outcome(id);
        // nginx lets a call end before it lets go of a client that has gone.
        let is_called = self.vm.state().calls.pending().any(|call| call.owner == id.0);
        if self.is_nginx() && is_called {
            self.leaving.insert(id);
            return outcome;
        }
        let root = self.stream(id).root;
        if let Some(stream) = self.vm.state_mut().streams.get_mut(&id.0) {
            stream.end();
        }
        if !self.is_nginx() {
            self.call::<_, ()>(id.0, "proxy_on_log", id.0);
        }
        self.ask_whether_done(id.0);
        self.call::<_, ()>(id.0, "proxy_on_delete", id.0);
        let state = self.vm.state_mut();
        state.streams.remove(&id.0);
        state.calls.cancel_of(id.0);
        self.closed.insert(id, outcome.clone());
        self.end_root_without_streams(root);
        outcome
    }

    fn stream(&self, id: StreamId) -> &Stream {
        let stream = self.vm.state().streams.get(&id.0);
        stream.unwrap_or_else(|| panic!("{id:?} is not in this VM, or closed"))
    }

    /// Response headers go through the filter on their way to the client, local replies included.
    fn response_passes(&mut self, id: u32, headers: HeaderMap) {
        let count = headers.len() as u32;
        let Some(stream) = self.vm.state_mut().streams.get_mut(&id) else {
            return;
        };
        stream.response = headers;
        stream.response_access = Access::Open;
        self.call::<_, u32>(id, "proxy_on_response_headers", (id, count, 0));
        if let Some(stream) = self.vm.state_mut().streams.get_mut(&id) {
            stream.response_access = Access::Closed;
        }
    }

    // HTTP calls.

    /// The calls that wait for an answer, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.vm.state().calls.pending().cloned().collect()
    }

    /// An upstream answers a call. `headers` come after `:status`.
    pub fn answer(
        &mut self,
        id: CallId,
        status: u16,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: impl Into<Vec<u8>>,
    ) {
        let mut all = vec![(b":status".to_vec(), status.to_string().into_bytes())];
        all.extend(headers);
        self.answer_as_is(id, all, body);
    }

    /// A call is answered with exactly these headers, also with no `:status`.
    pub fn answer_as_is(&mut self, id: CallId, headers: Vec<(Vec<u8>, Vec<u8>)>, body: impl Into<Vec<u8>>) {
        self.deliver(id, Some((HeaderMap::new(headers), body.into())));
    }

    /// The host forgets the timeout of a call: it waits until it is answered, if it ever is.
    pub fn forget_timeout(&mut self, id: CallId) {
        self.vm.state_mut().calls.forget_timeout(id);
    }

    /// The connection of a call breaks: the callback sees no headers and no body.
    pub fn answer_reset(&mut self, id: CallId) {
        self.deliver(id, None);
    }

    fn deliver(&mut self, id: CallId, answer: Option<(HeaderMap, Vec<u8>)>) {
        let state = self.vm.state_mut();
        let Some(call) = state.calls.take(id) else {
            panic!("{id:?} does not wait for an answer: answered, timed out, cancelled or unknown");
        };
        let root = state.root_of(call.owner);
        let (mut count, mut size) = (0, 0);
        match answer {
            None => state.call_status = (Status::BrokenConnection as u32, "reset"),
            Some((headers, body)) => {
                (count, size) = (headers.len() as u32, body.len() as u32);
                state.response = Some(CallResponse { root, headers, body });
            }
        }
        let name = "proxy_on_http_call_response";
        let entered = self.vm.enter::<_, ()>(call.owner, name, (call.owner, id.0, count, size, 0));
        let state = self.vm.state_mut();
        state.response = None;
        state.call_status = (0, "");
        self.settle(name, entered);
        if self.is_nginx() {
            self.go_on_unless_held(call.owner);
        }
        self.assert_held_by_a_call(call.owner);
        if self.leaving.remove(&StreamId(call.owner)) {
            self.close(StreamId(call.owner));
        }
    }

    /// nginx lets a request go on after a callback that has neither answered it nor made another call.
    fn go_on_unless_held(&mut self, id: u32) {
        let state = self.vm.state_mut();
        if state.calls.pending().any(|call| call.owner == id) {
            return;
        }
        if let Some(stream) = state.streams.get_mut(&id)
            && stream.outcome() == Some(&Outcome::Paused)
        {
            stream.decide_anyway();
        }
    }

    /// Without timers nothing but a call of its own holds a request: APISIX lets it through undecided after a callback
    /// that does nothing, and crashes when it is paused without a call.
    fn assert_held_by_a_call(&self, id: u32) {
        let state = self.vm.state();
        let is_paused = state.streams.get(&id).and_then(Stream::outcome) == Some(&Outcome::Paused);
        let is_held = state.profile.ticks || state.calls.pending().any(|call| call.owner == id);
        assert!(
            !is_paused || is_held,
            "misuse of the host: stream {id} waits for nothing{}",
            self.log_text()
        );
    }

    // Time.

    /// Lets time pass. Ticks and call timeouts that fall due happen at their times, in order; a
    /// call that times out is answered 504, as Envoy does.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.vm.state().now_ns + duration.as_nanos() as u64;
        while let Some((due_ns, event)) = self.next_event().filter(|(due_ns, _)| *due_ns <= until) {
            self.vm.state_mut().now_ns = due_ns.max(self.vm.state().now_ns);
            match event {
                Event::Tick(root) => self.tick(root),
                Event::Timeout(call) if self.is_nginx() => self.answer_reset(call),
                Event::Timeout(call) => {
                    self.answer(call, 504, Vec::new(), "upstream request timeout");
                }
            }
        }
        self.vm.state_mut().now_ns = until;
    }

    /// When the next tick or timeout of a call falls due, if one is planned.
    pub fn next_due(&self) -> Option<Duration> {
        self.next_event().map(|(due_ns, _)| Duration::from_nanos(due_ns))
    }

    fn next_event(&self) -> Option<(u64, Event)> {
        let state = self.vm.state();
        let ticks =
            state.roots.iter().filter_map(|(id, root)| root.tick.map(|tick| (tick.due_ns, Event::Tick(*id))));
        let timeouts = state
            .calls
            .pending()
            .filter_map(|call| call.deadline_ns.map(|due_ns| (due_ns, Event::Timeout(call.id))));
        ticks.chain(timeouts).min()
    }

    /// As Envoy's timer: armed anew after the callback, from that moment and with the new period.
    fn tick(&mut self, id: u32) {
        self.call::<_, ()>(id, "proxy_on_tick", id);
        let state = self.vm.state_mut();
        if let Some(tick) = state.roots.get_mut(&id).and_then(|root| root.tick.as_mut()) {
            tick.due_ns = state.now_ns + tick.period_ns;
        }
    }

    // What can be seen from outside.

    pub fn logs(&self) -> &[Log] {
        &self.vm.state().logs
    }

    /// Panics if `secret` is in any log line so far.
    pub fn assert_never_logged(&self, secret: &str) {
        assert!(!secret.is_empty(), "an empty secret is in every line");
        if let Some(log) = self.logs().iter().find(|log| log.text.contains(secret)) {
            panic!("a log line contains a secret: {log}");
        }
    }

    /// A counter's or gauge's value, a histogram's number of samples; `None` if never defined.
    pub fn metric(&self, name: &str) -> Option<i64> {
        self.vm.state().metrics.named(name)
    }

    pub fn shared_data(&self) -> SharedData {
        self.vm.state().shared.clone()
    }

    /// What the guest wrote by `proxy_set_property` in a stream; still there when it is closed.
    pub fn written_property(&self, id: StreamId, path: &[&str]) -> Option<&[u8]> {
        let key = (id.0, path.join("\0").into_bytes());
        self.vm.state().written_properties.get(&key).map(Vec::as_slice)
    }

    /// The tick period of a plugin, if it ticks.
    pub fn tick_period(&self, root: RootId) -> Option<Duration> {
        let tick = self.vm.state().roots.get(&root.0)?.tick?;
        Some(Duration::from_nanos(tick.period_ns))
    }

    /// How often each host function was called so far, and how many callbacks and allocations the host made.
    pub fn effort(&self) -> Effort {
        let state = self.vm.state();
        Effort {
            host_calls: state.host_calls.clone(),
            callbacks: self.callbacks,
            allocations: state.allocations,
            instructions: self.vm.instructions(),
        }
    }

    /// The size of the guest's memory in pages of 64 KiB.
    pub fn memory_pages(&mut self) -> u64 {
        self.vm.memory_pages()
    }

    /// How many contexts the guest has been told of and not told to delete.
    pub fn contexts_alive(&self) -> usize {
        let state = self.vm.state();
        state.roots.len() + state.streams.len()
    }

    /// The trap that killed the VM, if one did.
    pub fn trapped(&self) -> Option<&str> {
        self.vm.trap()
    }

    // Calls into the VM.

    fn next_context(&mut self) -> u32 {
        self.last_context += 1;
        self.last_context
    }

    /// Calls an export and then does what it asked for. `None`: there is no such export.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        context: u32,
        name: &'static str,
        params: P,
    ) -> Option<R> {
        let entered = self.vm.enter(context, name, params);
        self.callbacks += u64::from(matches!(entered, Ok(Some(_))));
        self.settle(name, entered)
    }

    /// Does what Envoy defers until a VM call has returned; panics on a trap and on misuse.
    fn settle<R>(&mut self, name: &str, entered: wasmtime::Result<Option<R>>) -> Option<R> {
        let returned = entered.unwrap_or_else(|error| {
            let trap = self.explain(&error);
            self.vm.kill(trap.clone());
            panic!("{name} trapped: {trap}");
        });
        // A response that passes through the filter is a VM call of its own, with its own flag.
        let stop_iteration = self.vm.state().stop_iteration;
        let mut misuse = std::mem::take(&mut self.vm.state_mut().misuse);
        for effect in std::mem::take(&mut self.vm.state_mut().effects) {
            misuse.extend(self.apply(effect).err());
        }
        self.vm.state_mut().stop_iteration = stop_iteration;
        if !misuse.is_empty() {
            panic!("misuse of the host in {name}: {}{}", misuse.join("; "), self.log_text());
        }
        returned
    }

    fn apply(&mut self, effect: Effect) -> Result<(), String> {
        let context = match &effect {
            Effect::Done { root } => {
                self.delete_root(*root);
                return Ok(());
            }
            Effect::Resume { context } | Effect::Reset { context } | Effect::Reply { context, .. } => {
                *context
            }
        };
        let state = self.vm.state_mut();
        // APISIX makes the call, forgets the reply and lets the request through.
        if matches!(effect, Effect::Reply { .. }) && state.dispatched && !state.profile.ticks {
            return Err("a local reply in the callback that made a call".to_owned());
        }
        let Some(stream) = state.streams.get_mut(&context) else {
            return Err(format!("{effect:?}, but {context} is not a stream: it goes nowhere"));
        };
        let done = match effect {
            Effect::Resume { .. } => stream.resume(),
            Effect::Reset { .. } => {
                stream.reset();
                Ok(())
            }
            Effect::Reply { reply, .. } => {
                let status = reply.status.to_string().into_bytes();
                let mut headers = vec![(b":status".to_vec(), status)];
                headers.extend_from_slice(reply.headers.pairs());
                let done = stream.reply(reply);
                if done.is_ok() {
                    self.response_passes(context, HeaderMap::new(headers));
                }
                done
            }
            Effect::Done { .. } => Ok(()),
        };
        done.map_err(|problem| format!("{problem} (stream {context})"))
    }

    fn explain(&self, error: &wasmtime::Error) -> String {
        format!("{error:?}{}", self.log_text())
    }

    fn log_text(&self) -> String {
        let lines = self.logs().iter().map(|log| format!("\n    {log}"));
        format!("\nlogs:{}", lines.collect::<String>())
    }
}

/// What a client of nginx sends in place of `:authority`.
fn with_host(headers: Vec<(Vec<u8>, Vec<u8>)>) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    headers.into_iter().map(|(name, value)| match name.as_slice() {
        b":authority" => (b"host".to_vec(), value),
        _ => (name, value),
    })
}

impl AsRef<Self> for Host {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsMut<Self> for Host {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.vm.state();
        f.debug_struct("Host")
            .field("profile", &state.profile)
            .field("roots", &state.roots)
            .field("streams", &state.streams)
            .field("logs", &state.logs)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick(u32),
    Timeout(CallId),
}
