//! The order of imports: a walk through the first-party modules as a cold start would run them. Owns what a
//! statement means for the modules around it; reads no files.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::first_party::{Owner, Ownership};
use super::import_set::{Collector, ImportSet};
use super::resolve::{Place, Resolver};
use super::{FileImports, ScanRequest, Site, Statement, StatementKind};

/// A dotted name longer than this is nobody's module.
const LONGEST_NAME: usize = 1024;

/// A first-party source file.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    /// None for a script that no import can name.
    pub(super) module: Option<String>,
    pub(super) is_package: bool,
    pub(super) imports: Arc<FileImports>,
    /// What its statements do, each with the statement's number.
    pub(super) steps: Arc<[(usize, Step)]>,
}

/// What an import statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Runs a first-party module, if there is such a one.
    Enter(String),
    /// Loads a third-party module, and maybe submodules of it.
    Load(String, Vec<String>),
}

/// Works out what the statements of one file do.
pub(super) struct Reader<'a> {
    pub(super) ownership: &'a Ownership<Arc<ScanRequest>>,
    pub(super) resolver: &'a mut Resolver,
}

impl Reader<'_> {
    pub(super) fn steps(&mut self, file: &SourceFile) -> Arc<[(usize, Step)]> {
        let mut steps = Vec::new();
        for (at, statement) in file.imports.statements.iter().enumerate() {
            if statement.type_checking {
                continue;
            }
            let mut found = Vec::new();
            match statement.kind {
                StatementKind::Import => {
                    for (name, _) in &statement.names {
                        self.import(name, &mut found);
                    }
                }
                StatementKind::From if statement.level > 0 => {
                    if let Some(base) = absolute(file, statement) {
                        self.enter_with_names(&base, statement, &mut found);
                    }
                }
                StatementKind::From => self.import_from(statement, &mut found),
            }
            steps.extend(found.into_iter().map(|step| (at, step)));
        }
        steps.into()
    }

    fn owner(&mut self, module: &str) -> Owner {
        if module.len() > LONGEST_NAME {
            return Owner::Nobody;
        }
        self.ownership.owner(self.resolver, module)
    }

    fn import(&mut self, module: &str, steps: &mut Vec<Step>) {
        match self.owner(module) {
            Owner::FirstParty => steps.push(Step::Enter(module.to_owned())),
            Owner::ThirdParty => steps.push(Step::Load(module.to_owned(), Vec::new())),
            Owner::Nobody => {}
        }
    }

    fn enter_with_names(&mut self, module: &str, statement: &Statement, steps: &mut Vec<Step>) {
        steps.push(Step::Enter(module.to_owned()));
        // What a single file has are no modules.
        if matches!(*self.resolver.find(module), Place::Module(_)) {
            return;
        }
        for (name, _) in &statement.names {
            if name != "*" && name.len() <= LONGEST_NAME {
                steps.push(Step::Enter(format!("{module}.{name}")));
            }
        }
    }

    fn import_from(&mut self, statement: &Statement, steps: &mut Vec<Step>) {
        let Some(module) = statement.module.as_deref() else {
            return;
        };
        match self.owner(module) {
            Owner::FirstParty => self.enter_with_names(module, statement, steps),
            Owner::Nobody => {}
            Owner::ThirdParty => {
                let mut names = Vec::new();
                let mut entered = Vec::new();
                for (name, _) in &statement.names {
                    if name.len() > LONGEST_NAME || !self.resolver.may_be_module(module, name) {
                        continue;
                    }
                    let full = format!("{module}.{name}");
                    match self.owner(&full) {
                        // A namespace that user code shares with a distribution.
                        Owner::FirstParty => entered.push(Step::Enter(full)),
                        Owner::ThirdParty => names.push(name.clone()),
                        Owner::Nobody => {}
                    }
                }
                let only_ours = names.is_empty() && !entered.is_empty();
                let is_shared = matches!(*self.resolver.find(module), Place::Namespace(_));
                if !(only_ours && is_shared) {
                    steps.push(Step::Load(module.to_owned(), names));
                }
                steps.append(&mut entered);
            }
        }
    }
}

/// The absolute name of a relative import's module; none when it leaves the package, or its file has no name.
fn absolute(file: &SourceFile, statement: &Statement) -> Option<String> {
    let mut package = file.module.as_deref()?;
    let up = statement.level - u32::from(file.is_package);
    for _ in 0..up {
        package = package.rsplit_once('.')?.0;
    }
    match statement.module.as_deref() {
        Some(module) if module.len() > LONGEST_NAME => None,
        Some(module) => Some(format!("{package}.{module}")),
        None => Some(package.to_owned()),
    }
}

/// A dotted name's parents, outermost first, and the name.
pub(super) fn with_parents(module: &str) -> impl Iterator<Item = &str> {
    module
        .match_indices('.')
        .map(|(at, _)| at)
        .chain(std::iter::once(module.len()))
        .filter_map(|end| module.get(..end))
}

/// Puts the third-party imports of all files in the order of a cold start.
///
/// First what runs when the package is imported, then the other files by path, then what runs later, if ever: the
/// statements in functions.
pub(super) fn collect(
    package: &str,
    files: &[SourceFile],
    by_name: &HashMap<String, usize>,
    preload: impl IntoIterator<Item = String>,
) -> ImportSet {
    let mut walk = Walk {
        files,
        by_name,
        visited: vec![false; files.len()],
        order: Vec::with_capacity(files.len()),
        collector: Collector::new(preload),
    };
    for module in with_parents(package) {
        if let Some(&file) = by_name.get(module) {
            walk.run(file);
        }
    }
    let mut by_path: Vec<usize> = (0..files.len()).collect();
    by_path.sort_by_key(|&at| files.get(at).map(|file| &file.path));
    for file in by_path {
        walk.run(file);
    }
    for at in std::mem::take(&mut walk.order) {
        if let Some(file) = files.get(at) {
            for (statement, step) in file.steps.iter() {
                walk.load(file, *statement, step, true);
            }
        }
    }
    walk.collector.finish()
}

struct Walk<'a> {
    files: &'a [SourceFile],
    by_name: &'a HashMap<String, usize>,
    visited: Vec<bool>,
    order: Vec<usize>,
    collector: Collector,
}

impl Walk<'_> {
    /// Runs a file's module level, and those of the files that it imports, where it imports them. With a stack of its
    /// own: a chain of imports may be longer than the thread's.
    fn run(&mut self, file: usize) {
        let mut running = vec![(file, 0)];
        while let Some((at, step)) = running.last_mut() {
            // Whoever comes first runs a file; until then it only waits for its parents.
            if *step == 0 && !self.start(*at) {
                running.pop();
                continue;
            }
            let Some(file) = self.files.get(*at) else {
                running.pop();
                continue;
            };
            let Some((statement, next)) = file.steps.get(*step) else {
                running.pop();
                continue;
            };
            *step += 1;
            match next {
                Step::Load(..) => self.load(file, *statement, next, false),
                Step::Enter(module) => {
                    let nested = file
                        .imports
                        .statements
                        .get(*statement)
                        .is_some_and(|statement| statement.context.nested);
                    if !nested {
                        self.enter(module, &mut running);
                    }
                }
            }
        }
    }

    /// A module's parents run before it: the innermost is put on the stack first.
    fn enter(&mut self, module: &str, running: &mut Vec<(usize, usize)>) {
        let targets: Vec<usize> = with_parents(module)
            .filter_map(|name| self.by_name.get(name).copied())
            .filter(|&target| self.visited.get(target) == Some(&false))
            .collect();
        running.extend(targets.into_iter().rev().map(|target| (target, 0)));
    }

    fn start(&mut self, file: usize) -> bool {
        match self.visited.get_mut(file) {
            Some(visited @ false) => {
                *visited = true;
                self.order.push(file);
                true
            }
            Some(true) | None => false,
        }
    }

    fn load(&mut self, file: &SourceFile, statement: usize, step: &Step, nested: bool) {
        let Some(statement) = file.imports.statements.get(statement) else {
            return;
        };
        if statement.context.nested != nested {
            return;
        }
        match step {
            Step::Enter(_) => {}
            Step::Load(module, names) => {
                let site = Site {
                    file: file.path.clone(),
                    line: statement.line,
                    text: statement.text.clone(),
                    context: statement.context,
                };
                self.collector.add(module, names, &site);
            }
        }
    }
}
