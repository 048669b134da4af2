//! Who calls whom in a module, and where it can end in a trap.
//!
//! Read off the code that runs, after all inlining: what the compiler has proven away is not in it, and what a
//! dependency hides is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wasmparser::{
    Data, DataKind, ElementItems, ElementKind, ExternalKind, FuncType, FunctionBody, KnownCustom, Name,
    Operator, Parser, Payload, TypeRef,
};

/// A way for a function to end in a trap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The function that is called and does not return, or [`TRAP`].
    pub kind: String,
    /// What the message of the panic would name, where the code tells: the file and the line.
    pub place: Option<(String, u32)>,
}

/// The kind of a [`Site`] that is an instruction of the function itself.
pub const TRAP: &str = "unreachable";

/// The kind of a function that the host or the table leads to and that ends in a trap whatever happens.
pub const NEVER_RETURNS: &str = "never returns";

/// The kind of a function that can use up the stack.
pub const CALLS_ITSELF: &str = "calls itself";

/// The import that ends the VM.
const ENDS_THE_VM: &str = "proc_exit";

#[derive(Debug, Default, Clone)]
struct Function {
    name: String,
    type_index: u32,
    /// Never returns to whoever calls it.
    diverges: bool,
    code: Code,
}

/// What is to be known of the body of a function.
#[derive(Debug, Default, Clone)]
struct Code {
    calls: BTreeSet<u32>,
    /// The types of what it calls through the table.
    indirect_calls: BTreeSet<u32>,
    sites: BTreeSet<Site>,
    returns: bool,
}

#[derive(Debug, Default)]
pub struct Graph {
    functions: Vec<Function>,
    types: Vec<FuncType>,
    /// What is exported or started.
    roots: Vec<u32>,
    /// What a call through the table may reach.
    table: BTreeSet<u32>,
    /// Who compiled it.
    pub compiler: String,
}

impl Graph {
    /// The module in `wasm`, which has names, entered by the exports that `is_entered` lets through.
    pub fn read(wasm: &[u8], is_entered: impl Fn(&str) -> bool) -> Self {
        let mut graph = Self::default();
        let mut bodies = Vec::new();
        let mut constants = Constants::default();
        let mut names = BTreeMap::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::TypeSection(section) => {
                    graph.types.extend(section.into_iter_err_on_gc_types().map(Result::unwrap));
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports().map(Result::unwrap) {
                        if let TypeRef::Func(type_index) = import.ty {
                            let diverges = import.name == ENDS_THE_VM;
                            let name = import.name.to_owned();
                            graph.functions.push(Function {
                                name,
                                type_index,
                                diverges,
                                ..Default::default()
                            });
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for type_index in section.into_iter().map(Result::unwrap) {
                        graph.functions.push(Function { type_index, ..Default::default() });
                    }
                }
                Payload::ExportSection(section) => {
                    let exports = section.into_iter().map(Result::unwrap);
                    let entered = exports
                        .filter(|export| export.kind == ExternalKind::Func && is_entered(export.name))
                        .map(|export| export.index);
                    graph.roots.extend(entered);
                }
                Payload::StartSection { func, .. } => graph.roots.push(func),
                Payload::ElementSection(section) => {
                    for element in section.into_iter().map(Result::unwrap) {
                        assert!(matches!(element.kind, ElementKind::Active { .. }), "a table that changes");
                        let ElementItems::Functions(items) = element.items else {
                            panic!("a table of expressions");
                        };
                        graph.table.extend(items.into_iter().map(Result::unwrap));
                    }
                }
                Payload::DataSection(section) => {
                    section.into_iter().for_each(|data| constants.load(data.unwrap()));
                }
                Payload::CodeSectionEntry(body) => bodies.push(body),
                Payload::CustomSection(section) => match section.as_known() {
                    KnownCustom::Name(subsections) => {
                        for subsection in subsections {
                            if let Name::Function(map) = subsection.unwrap() {
                                let named = map.into_iter().map(Result::unwrap);
                                names.extend(named.map(|naming| (naming.index, readable(naming.name))));
                            }
                        }
                    }
                    KnownCustom::Producers(fields) => {
                        let values = fields.into_iter().map(Result::unwrap);
                        let values = values.flat_map(|field| field.values.into_iter().map(Result::unwrap));
                        let rustc = values.filter(|value| value.name == "rustc");
                        graph.compiler = rustc.map(|value| format!("rustc {}", value.version)).collect();
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        for (index, function) in (0..).zip(&mut graph.functions) {
            if let Some(name) = names.remove(&index) {
                function.name = name;
            }
        }
        graph.read_code(&bodies, &constants);
        graph
    }

    /// Who never returns follows from who is called, and the other way round.
    fn read_code(&mut self, bodies: &[FunctionBody<'_>], constants: &Constants) {
        let first = self.functions.len() - bodies.len();
        loop {
            let mut settled = true;
            for (index, body) in (first..).zip(bodies) {
                let code = Code::read(body, &self.functions, constants);
                let function = &mut self.functions[index];
                settled &= function.diverges != code.returns;
                function.diverges = !code.returns;
                function.code = code;
            }
            if settled {
                return;
            }
        }
    }

    fn function(&self, index: u32) -> &Function {
        &self.functions[index as usize]
    }

    /// What is called through the table may be all of its type that the table has.
    fn callees(&self, caller: u32) -> BTreeSet<u32> {
        let code = &self.function(caller).code;
        let types: Vec<_> = code.indirect_calls.iter().map(|&ty| &self.types[ty as usize]).collect();
        let ty = |callee: u32| &self.types[self.function(callee).type_index as usize];
        let through_table = self.table.iter().copied().filter(|&callee| types.contains(&ty(callee)));
        code.calls.iter().copied().chain(through_table).collect()
    }

    /// Every function that is reached, with whoever calls it on one of the shortest ways there. What never returns is
    /// a dead end: whoever calls it is lost, whatever is done there.
    fn reached(&self) -> BTreeMap<u32, Option<u32>> {
        let mut callers: BTreeMap<_, _> = self.roots.iter().map(|&root| (root, None)).collect();
        let mut queue: VecDeque<_> = self.roots.iter().copied().collect();
        while let Some(caller) = queue.pop_front() {
            if self.function(caller).diverges {
                continue;
            }
            for callee in self.callees(caller) {
                callers.entry(callee).or_insert_with(|| {
                    queue.push_back(callee);
                    Some(caller)
                });
            }
        }
        callers
    }

    /// What is reached, and what of it can end in a trap or calls itself.
    pub fn findings(&self) -> Findings {
        let reached = self.reached();
        let mut findings = Findings { functions: reached.len(), ..Default::default() };
        let recursive = self.recursive(&reached);
        for &index in reached.keys() {
            let Function { name, diverges, code, .. } = self.function(index);
            let way = || self.way(index, &reached);
            let mut find = |site: Site| {
                let what = What { kind: site.kind, file: site.place.as_ref().map(|(file, _)| file.clone()) };
                let finding = findings.by_function.entry((name.clone(), what)).or_default();
                finding.lines.extend(site.place.map(|(_, line)| line));
                if finding.way.is_empty() {
                    finding.way = way();
                }
            };
            if !diverges {
                code.sites.iter().cloned().for_each(&mut find);
            } else if self.roots.contains(&index) || self.table.contains(&index) {
                // Who calls it cannot be told by what it calls.
                find(Site { kind: NEVER_RETURNS.to_owned(), place: None });
            }
            if recursive.contains(&index) {
                find(Site { kind: CALLS_ITSELF.to_owned(), place: None });
            }
        }
        findings
    }

    /// From whatever is entered by the host down to this function.
    fn way(&self, index: u32, reached: &BTreeMap<u32, Option<u32>>) -> Vec<String> {
        let step = |index: u32| {
            let name = &self.function(index).name;
            let is_direct = |caller: u32| self.function(caller).code.calls.contains(&index);
            if reached[&index].is_none_or(is_direct) { name.clone() } else { format!("(by its type) {name}") }
        };
        let mut way: Vec<_> = std::iter::successors(Some(index), |index| reached[index]).map(step).collect();
        way.reverse();
        way
    }

    /// Who calls, directly, which functions whose names begin like this; those whose names do, too, are left out.
    pub fn callers_from_elsewhere(&self, prefixes: &[&str]) -> BTreeSet<(String, String)> {
        let is_meant = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let callers = self.functions.iter().filter(|caller| !is_meant(&caller.name));
        let calls = callers.flat_map(|caller| {
            let callees = caller.code.calls.iter().map(|&callee| &self.function(callee).name);
            callees.filter(|name| is_meant(name)).map(|callee| (caller.name.clone(), callee.clone()))
        });
        calls.collect()
    }

    /// The functions that call themselves, directly or by way of others. What goes through the table is left out: by
    /// type alone nearly everything there would call everything else.
    fn recursive(&self, reached: &BTreeMap<u32, Option<u32>>) -> BTreeSet<u32> {
        let returning = reached.keys().copied().filter(|&index| !self.function(index).diverges);
        let mut left: BTreeSet<u32> = returning.collect();
        // Who calls nobody that is left is in no circle.
        loop {
            let calls =
                |index: &u32| self.function(*index).code.calls.iter().any(|callee| left.contains(callee));
            let next: BTreeSet<u32> = left.iter().copied().filter(calls).collect();
            if next.len() == left.len() {
                break;
            }
            left = next;
        }
        let comes_back = |&start: &u32| {
            let mut seen = BTreeSet::new();
            let mut open = vec![start];
            while let Some(caller) = open.pop() {
                let callees = self.function(caller).code.calls.intersection(&left);
                open.extend(callees.copied().filter(|&callee| seen.insert(callee)));
            }
            seen.contains(&start)
        };
        left.iter().copied().filter(comes_back).collect()
    }
}

/// What was found in a module.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many functions are reached.
    pub functions: usize,
    /// By the name of a function and what can happen there.
    pub by_function: BTreeMap<(String, What), Finding>,
}

/// What can happen: the kind of a [`Site`], or [`NEVER_RETURNS`], or [`CALLS_ITSELF`]; and in which source, where known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct What {
    pub kind: String,
    pub file: Option<String>,
}

/// Where it can happen.
#[derive(Debug, Default)]
pub struct Finding {
    pub lines: BTreeSet<u32>,
    /// One of the shortest ways there.
    pub way: Vec<String>,
}

impl Code {
    /// Goes through the instructions that can be reached, as a validator does: behind a branch, a return, a trap or a
    /// call that does not return nothing runs before the end of the block, and behind that only if a branch leads there.
    fn read(body: &FunctionBody<'_>, functions: &[Function], constants: &Constants) -> Self {
        let mut code = Self::default();
        // Of each open block, whether its beginning is reached, its end is branched to, and whether a branch means its end.
        let mut blocks = vec![Block { begins: true, ends: false, is_loop: false }];
        let mut runs = true;
        let mut constant = None;
        for operator in body.get_operators_reader().unwrap().into_iter().map(Result::unwrap) {
            let before = std::mem::take(&mut constant);
            match operator {
                Operator::Block { .. } | Operator::If { .. } | Operator::Loop { .. } => {
                    let is_loop = matches!(operator, Operator::Loop { .. });
                    // Without an `else`, the end is reached by leaving the body out.
                    let ends = runs && matches!(operator, Operator::If { .. });
                    blocks.push(Block { begins: runs, ends, is_loop });
                }
                Operator::Else => {
                    let block = blocks.last_mut().unwrap();
                    block.ends = runs;
                    runs = block.begins;
                }
                Operator::End => {
                    let block = blocks.pop().unwrap();
                    runs |= block.ends;
                }
                _ if !runs => {}
                Operator::Br { relative_depth } => {
                    branch(&mut blocks, relative_depth);
                    runs = false;
                }
                Operator::BrIf { relative_depth } => branch(&mut blocks, relative_depth),
                Operator::BrTable { targets } => {
                    branch(&mut blocks, targets.default());
                    targets.targets().for_each(|target| branch(&mut blocks, target.unwrap()));
                    runs = false;
                }
                Operator::Return => {
                    blocks[0].ends = true;
                    runs = false;
                }
                Operator::Unreachable => {
                    code.sites.insert(Site { kind: TRAP.to_owned(), place: None });
                    runs = false;
                }
                Operator::Call { function_index } => {
                    code.calls.insert(function_index);
                    let callee = &functions[function_index as usize];
                    if callee.diverges {
                        let place = before.and_then(|address| constants.place(address));
                        code.sites.insert(Site { kind: callee.name.clone(), place });
                        runs = false;
                    }
                }
                Operator::CallIndirect { type_index, .. } => {
                    code.indirect_calls.insert(type_index);
                }
                Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::CallRef { .. } => {
                    panic!("{operator:?} is not among what rustc makes");
                }
                Operator::I32Const { value } => constant = Some(value.cast_unsigned()),
                _ => {}
            }
        }
        code.returns = runs;
        code
    }
}

struct Block {
    begins: bool,
    ends: bool,
    is_loop: bool,
}

fn branch(blocks: &mut [Block], depth: u32) {
    let outwards = blocks.len() - 1 - depth as usize;
    let block = &mut blocks[outwards];
    block.ends |= !block.is_loop;
}

/// The data that the module starts with.
#[derive(Debug, Default)]
struct Constants(Vec<(u32, Vec<u8>)>);

impl Constants {
    fn load(&mut self, data: Data<'_>) {
        let DataKind::Active { offset_expr, .. } = data.kind else { return };
        if let Operator::I32Const { value } = offset_expr.get_operators_reader().read().unwrap() {
            self.0.push((value.cast_unsigned(), data.data.to_vec()));
        }
    }

    fn bytes(&self, address: u32, length: u32) -> Option<&[u8]> {
        self.0.iter().find_map(|(start, data)| {
            let from = address.checked_sub(*start)? as usize;
            data.get(from..from.checked_add(length as usize)?)
        })
    }

    fn word(&self, address: u32) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(address, 4)?.try_into().unwrap()))
    }

    /// The `core::panic::Location` at `address`, if what stands there can be one.
    fn place(&self, address: u32) -> Option<(String, u32)> {
        let [file, length, line] = [0, 4, 8].map(|offset| self.word(address.checked_add(offset)?));
        let file = std::str::from_utf8(self.bytes(file?, length.filter(|length| *length < 1000)?)?).ok()?;
        file.ends_with(".rs").then_some((without_version(file), line?))
    }
}

/// The path of a source without what changes with every version of it.
fn without_version(file: &str) -> String {
    if let Some((_, library)) = file.split_once("/library/") {
        return library.to_owned();
    }
    let dependency = match (file.split_once("registry/src/"), file.split_once("/rust/deps/")) {
        // Behind the name of the registry.
        (Some((_, source)), _) => source.split_once('/').map(|(_, source)| source),
        (None, dependency) => dependency.map(|(_, source)| source),
    };
    let Some((package, path)) = dependency.and_then(|source| source.split_once('/')) else {
        return file.to_owned();
    };
    let name = package.rsplit_once('-').map_or(package, |(name, _)| name);
    format!("{name}/{path}")
}

/// A name as it stands in sources, without the hash that tells its instances apart.
fn readable(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}
