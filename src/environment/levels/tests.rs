//! Levels of small graphs by table, and of random ones by what must hold for all.

use proptest::prelude::*;

use super::*;
use crate::scan::OwnModule;

/// "name: imports" of each module; a name that ends in "!" is machine code.
fn graph(lines: &[&str]) -> OwnModules {
    let modules = lines.iter().map(|line| {
        let (name, imports) = line.split_once(':').unwrap_or((line, ""));
        let module = OwnModule {
            file: file(name.trim_end_matches('!')),
            imports: imports.split_whitespace().map(str::to_owned).collect(),
            is_opaque: name.ends_with('!'),
        };
        (name.trim_end_matches('!').to_owned(), module)
    });
    OwnModules(modules.collect())
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(format!("/{}.py", name.replace('.', "/")))
}

fn edits(names: &[(&str, u64)]) -> Edits {
    names
        .iter()
        .map(|(name, when)| (file(name), *when))
        .collect()
}

fn all(own: &OwnModules) -> BTreeSet<String> {
    own.0.keys().cloned().collect()
}

#[test]
fn what_others_import_is_wanted_and_what_is_run_or_tests_is_not() {
    let own = graph(&[
        "app: app.core",
        "app.core: app app.base",
        "app.base: app",
        "app.cli: app app.core",
        "app.__main__: app app.cli app.only_main",
        "app.only_main: app",
        "app.alone: app",
        "app.plugin: app app.helper",
        "app.helper: app",
        "app.tests: app",
        "app.tests.test_core: app app.tests app.core app.fixtures",
        "app.fixtures: app",
        "conftest: app app.fixtures",
    ]);
    let found = wanted(&own, "app", &["app.plugin".to_owned(), "gone".to_owned()]);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(
        found,
        ["app", "app.base", "app.core", "app.helper", "app.plugin"]
    );
}

#[test]
fn nothing_that_needs_machine_code_of_the_project_is_wanted() {
    let own = graph(&[
        "app: app.pure",
        "app.pure: app",
        "app.fast!",
        "app.user: app app.fast",
        "app.above: app app.user",
        "app.top: app app.above app.pure",
    ]);
    assert_eq!(
        wanted(&own, "app", &[]),
        ["app".to_owned(), "app.pure".to_owned()].into()
    );
    let own = graph(&["app: app.fast", "app.fast!", "app.pure: app"]);
    assert!(wanted(&own, "app", &["app.pure".to_owned()]).is_empty());
}

#[test]
fn a_test_that_is_imported_comes_along() {
    let own = graph(&[
        "app: app.testing",
        "app.testing: app app.tests.data",
        "app.tests.data:",
    ]);
    assert!(wanted(&own, "app", &[]).contains("app.tests.data"));
}

#[test]
fn what_was_edited_last_lies_on_top_with_what_depends_on_it() {
    let own = graph(&[
        "app:",
        "app.models: app app.base",
        "app.base: app",
        "app.views: app app.models app.forms",
        "app.forms: app",
        "app.util: app",
    ]);
    let levels = |names: &[(&str, u64)]| levels(&own, "app", &all(&own), &edits(names));
    let stable: &[&str] = &[
        "app",
        "app.base",
        "app.forms",
        "app.models",
        "app.util",
        "app.views",
    ];
    assert_eq!(levels(&[("elsewhere", 7)]).len(), 1);
    assert_eq!(
        BTreeSet::from_iter(levels(&[])[0].iter().map(String::as_str)),
        stable.iter().copied().collect()
    );
    assert_eq!(
        levels(&[("app.forms", 1)]),
        [
            vec!["app", "app.base", "app.models", "app.util"],
            vec!["app.forms", "app.views"]
        ]
    );
    assert_eq!(
        levels(&[("app.forms", 1), ("app.base", 2), ("app.test_base", 3)]),
        [
            vec!["app", "app.util"],
            vec!["app.forms"],
            vec!["app.base", "app.models", "app.views"],
        ]
    );
    // Files that were saved together.
    assert_eq!(
        levels(&[("app.util", 4), ("app.views", 4)])[1],
        ["app.util", "app.views"]
    );
    assert_eq!(levels(&[("app", 1)]).len(), 1);
}

#[test]
fn modules_that_import_each_other_stay_together_in_the_order_of_a_cold_start() {
    let own = graph(&[
        "app: app.z",
        "app.z: app app.a",
        "app.a: app app.z",
        "lib: ",
        "lib.one: lib lib.two",
        "lib.two: lib lib.one app",
    ]);
    let found = levels(&own, "app", &all(&own), &edits(&[("app.a", 1)]));
    assert_eq!(
        found,
        [
            vec!["lib"],
            vec!["app", "app.z", "app.a", "lib.one", "lib.two"]
        ]
    );
}

#[test]
fn a_long_chain_of_imports_overflows_no_stack() {
    let lines: Vec<String> = (0..50_000)
        .map(|at| format!("m{at}: m{}", at + 1))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let own = graph(&lines);
    let found = levels(&own, "m0", &all(&own), &edits(&[("m49000", 1)]));
    assert_eq!((found[0].len(), found[1].len()), (999, 49_001));
}

/// Imports, opaque modules, and edits, by number.
type Random = (Vec<Vec<usize>>, Vec<bool>, Vec<(usize, u64)>, Vec<usize>);

fn random() -> impl Strategy<Value = Random> {
    (1..14_usize).prop_flat_map(|count| {
        (
            prop::collection::vec(prop::collection::vec(0..count, 0..4), count),
            prop::collection::vec(prop::bool::weighted(0.1), count),
            prop::collection::vec((0..count + 2, 0..4_u64), 0..6),
            prop::collection::vec(0..count, 0..4),
        )
    })
}

fn name(at: usize) -> String {
    match at {
        0 => "app".to_owned(),
        3 => "app.__main__".to_owned(),
        5 => "app.test_5".to_owned(),
        _ => format!("app.m{at}"),
    }
}

fn build((imports, opaque, edited, learned): &Random) -> (OwnModules, Edits, Vec<String>) {
    let modules = imports
        .iter()
        .zip(opaque)
        .enumerate()
        .map(|(at, (imports, opaque))| {
            let imports = imports.iter().filter(|import| **import != at && !opaque);
            let mut once = Vec::new();
            for import in imports.map(|import| name(*import)) {
                if !once.contains(&import) {
                    once.push(import);
                }
            }
            let module = OwnModule {
                file: file(&name(at)),
                imports: once,
                is_opaque: *opaque,
            };
            (name(at), module)
        });
    let edits = edited.iter().map(|(at, when)| (file(&name(*at)), *when));
    (
        OwnModules(modules.collect()),
        edits.collect(),
        learned.iter().map(|at| name(*at)).collect(),
    )
}

/// Everything that the import of a module runs, itself too; worked out the slow way.
fn reached(own: &OwnModules, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([from.to_owned()]);
    loop {
        let next: BTreeSet<String> = found
            .iter()
            .filter_map(|name| own.0.get(name))
            .flat_map(|module| module.imports.iter().cloned())
            .collect();
        let before = found.len();
        found.extend(next);
        if found.len() == before {
            return found;
        }
    }
}

proptest! {
    #[test]
    fn what_is_wanted_is_complete_and_runs_nothing_that_is_refused(random in random()) {
        let (own, _, learned) = build(&random);
        let found = wanted(&own, "app", &learned);
        for module in own.0.keys() {
            let runs = reached(&own, module);
            let is_fit = !runs.iter().any(|each| own.0[each].is_opaque || each.ends_with("__main__"));
            if found.contains(module) {
                prop_assert!(is_fit, "{module} runs {runs:?}");
                prop_assert!(runs.is_subset(&found));
            }
            let is_asked = module == "app" || learned.contains(module) || own.0.iter().any(|(name, each)| {
                !is_apart(name) && each.imports.contains(module)
            });
            if is_asked && is_fit && !is_apart(module) {
                prop_assert!(found.contains(module), "{module}");
            }
        }
    }

    #[test]
    fn levels_hold_all_that_is_wanted_each_as_low_as_it_may(random in random()) {
        let (own, edits, learned) = build(&random);
        let wanted = wanted(&own, "app", &learned);
        let found = levels(&own, "app", &wanted, &edits);
        prop_assert_eq!(&found, &levels(&own, "app", &wanted, &edits));
        prop_assert!(found.len() <= 3 && found.iter().all(|level| !level.is_empty()));
        let flat: Vec<&String> = found.iter().flatten().collect();
        prop_assert_eq!(flat.len(), wanted.len());
        prop_assert!(flat.iter().all(|name| wanted.contains(*name)));

        // By the definition: how late anything was edited that a module runs.
        let when = |name: &String| edits.get(&own.0[name].file).copied();
        let last = wanted.iter().filter_map(when).max();
        let height = |name: &String| match reached(&own, name).iter().filter_map(when).max() {
            None => 0,
            latest if latest == last => 2,
            Some(_) => 1,
        };
        let mut heights: Vec<usize> = wanted.iter().map(height).collect();
        heights.sort_unstable();
        heights.dedup();
        for (level, expected) in found.iter().zip(heights) {
            for name in level {
                prop_assert_eq!(height(name), expected, "{}", name);
            }
        }

        let place = |name: &str| flat.iter().position(|each| *each == name);
        for name in &wanted {
            for import in &own.0[name].imports {
                let is_mutual = reached(&own, import).contains(name);
                prop_assert!(is_mutual || place(import) < place(name), "{import} before {name}");
                if is_mutual {
                    // Nothing that is no part of the cycle stands between.
                    let (one, other) = (place(name), place(import));
                    let between = one.min(other).unwrap()..one.max(other).unwrap();
                    for each in &flat[between] {
                        prop_assert!(reached(&own, each).contains(name));
                        prop_assert!(reached(&own, name).contains(*each));
                    }
                }
            }
        }
    }
}
