//! The ordered set of modules to preload: merging, comparing, and how serious a failure is. Knows no files beyond
//! the places it was told.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Context;

/// A place that imports a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The source file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: u32,
    /// The source line, trimmed.
    pub text: String,
    /// The blocks around it.
    pub context: Context,
}

/// How loud a failing import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A cold start may well do without the module.
    Info,
    /// A cold start would fail too.
    Warn,
}

/// One step of preloading: `__import__(module, fromlist=names)`.
///
/// A module has more than one entry when its submodules are first named after other imports: an entry stands where a
/// cold start would come to it, and names only what no earlier entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// The dotted name.
    pub module: String,
    /// Names imported from it that may be its submodules; `*` among them stands for its `__all__`.
    pub names: Vec<String>,
    /// Where it is imported, in order; empty for a module that was asked for by `preload`.
    pub sites: Vec<Site>,
}

impl Import {
    /// How loud its failure is: a warning if some site runs whenever its file does and expects it to succeed, or if
    /// it was asked for by `preload`. A site under a test counts as such unless another site is guarded: then the
    /// project knows that the module may be missing, and `if HAS_NUMPY:` stands for that.
    pub fn severity(&self) -> Severity {
        let optional = self.sites.iter().any(|site| site.context.guarded);
        let quiet = |site: &Site| {
            let Context {
                nested,
                guarded,
                conditional,
                tested,
            } = site.context;
            nested || guarded || conditional || (tested && optional)
        };
        if !self.sites.is_empty() && self.sites.iter().all(quiet) {
            Severity::Info
        } else {
            Severity::Warn
        }
    }
}

/// The modules to preload, in the order of a cold start. Compare by [`key`](Self::key).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportSet {
    /// In order.
    pub imports: Vec<Import>,
}

impl ImportSet {
    /// What tells whether a template must change: pairs of module and submodule, the module itself as `""`. Order,
    /// files and lines do not count, so that moving an import around rebuilds nothing.
    pub fn key(&self) -> BTreeSet<(&str, &str)> {
        self.imports
            .iter()
            .flat_map(|import| {
                let module = import.module.as_str();
                let names = import.names.iter().map(String::as_str);
                std::iter::once("")
                    .chain(names)
                    .map(move |name| (module, name))
            })
            .collect()
    }
}

/// Puts an [`ImportSet`] together in order.
#[derive(Debug, Default)]
pub(super) struct Collector {
    imports: Vec<Import>,
    /// Module and name (`""` for the module itself) to the entry that has it first.
    seen: BTreeMap<String, BTreeMap<String, usize>>,
    preloaded: usize,
}

impl Collector {
    /// Starts with the modules that were asked for.
    pub(super) fn new(preload: impl IntoIterator<Item = String>) -> Self {
        let mut collector = Self::default();
        for module in preload {
            let names = collector.seen.entry(module.clone()).or_default();
            if let std::collections::btree_map::Entry::Vacant(vacant) = names.entry(String::new()) {
                vacant.insert(collector.imports.len());
                collector.imports.push(Import {
                    module,
                    names: Vec::new(),
                    sites: Vec::new(),
                });
            }
        }
        collector.preloaded = collector.imports.len();
        collector
    }

    /// Adds an import; what an earlier one has already merges into that.
    pub(super) fn add(&mut self, module: &str, names: &[String], site: &Site) {
        let next = self.imports.len();
        let seen = self.seen.entry(module.to_owned()).or_default();
        let mut entries = BTreeSet::new();
        let mut fresh = Vec::new();
        for name in names {
            let entry = *seen.entry(name.clone()).or_insert_with(|| {
                fresh.push(name.clone());
                next
            });
            entries.insert(entry);
        }
        let first = *seen.entry(String::new()).or_insert(next);
        if names.is_empty() {
            entries.insert(first);
        }
        if entries.contains(&next) {
            self.imports.push(Import {
                module: module.to_owned(),
                names: fresh,
                sites: Vec::new(),
            });
        }
        for entry in entries {
            // A module that was asked for stays so: its failure is told whatever its sites are.
            if entry < self.preloaded {
                continue;
            }
            if let Some(import) = self.imports.get_mut(entry) {
                import.sites.push(site.clone());
            }
        }
    }

    pub(super) fn finish(self) -> ImportSet {
        ImportSet {
            imports: self.imports,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(line: u32, context: Context) -> Site {
        Site {
            file: PathBuf::from("app.py"),
            line,
            text: String::new(),
            context,
        }
    }

    fn plain(line: u32) -> Site {
        site(line, Context::default())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn shape(set: &ImportSet) -> Vec<(&str, Vec<&str>, Vec<u32>)> {
        set.imports
            .iter()
            .map(|import| {
                (
                    import.module.as_str(),
                    import.names.iter().map(String::as_str).collect(),
                    import.sites.iter().map(|site| site.line).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn repeats_merge_into_the_first_and_new_names_keep_their_place() {
        let mut collector = Collector::new(names(&["z", "z"]));
        collector.add("a", &[], &plain(1));
        collector.add("b", &names(&["x"]), &plain(2));
        collector.add("a", &names(&["s", "t", "s"]), &plain(3));
        collector.add("a", &names(&["t"]), &plain(4));
        collector.add("a", &names(&["t", "u"]), &plain(5));
        collector.add("b", &[], &plain(6));
        collector.add("z", &[], &plain(7));
        let set = collector.finish();
        assert_eq!(
            shape(&set),
            [
                ("z", vec![], vec![]),
                ("a", vec![], vec![1]),
                ("b", vec!["x"], vec![2, 6]),
                ("a", vec!["s", "t"], vec![3, 4, 5]),
                ("a", vec!["u"], vec![5]),
            ]
        );
    }

    #[test]
    fn the_key_ignores_order_and_places() {
        let mut one = Collector::default();
        one.add("a", &names(&["x"]), &plain(1));
        one.add("b", &[], &plain(2));
        let mut other = Collector::default();
        other.add("b", &[], &plain(9));
        other.add("a", &[], &plain(8));
        let without = other.imports.len();
        other.add("a", &names(&["x"]), &plain(8));
        let (one, other) = (one.finish(), other.finish());
        assert_eq!(one.key(), other.key());
        assert_ne!(one, other);
        assert_eq!(without, 2);
        let mut less = Collector::default();
        less.add("a", &[], &plain(1));
        less.add("b", &[], &plain(2));
        assert_ne!(one.key(), less.finish().key());
    }

    #[test]
    fn one_certain_site_makes_a_failure_a_warning() {
        let certain = Context::default();
        let nested = Context {
            nested: true,
            ..certain
        };
        let guarded = Context {
            guarded: true,
            ..certain
        };
        let conditional = Context {
            conditional: true,
            ..certain
        };
        let tested = Context {
            tested: true,
            ..certain
        };
        let table: [(&[Context], Severity); 7] = [
            (&[], Severity::Warn),
            (&[nested, guarded, conditional], Severity::Info),
            (&[nested, certain], Severity::Warn),
            (&[guarded, certain], Severity::Warn),
            (&[tested], Severity::Warn),
            (&[tested, guarded], Severity::Info),
            (&[tested, nested], Severity::Warn),
        ];
        for (contexts, severity) in table {
            let import = Import {
                module: "a".into(),
                names: Vec::new(),
                sites: contexts.iter().map(|context| site(1, *context)).collect(),
            };
            assert_eq!(import.severity(), severity, "{contexts:?}");
        }
    }
}
