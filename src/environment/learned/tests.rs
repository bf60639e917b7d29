//! What is learned, forgotten, and shared by processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::super::chain::Kind;
use super::super::lessons::Lessons;
use super::super::plan::{import_set, Step};
use super::super::unseen::Refusal;
use super::*;
use crate::scan::ScanRequest;

struct Project {
    folder: tempfile::TempDir,
    config: Config,
}

impl Project {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        for part in ["source/app", "site/driver"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        let scan = ScanRequest {
            package: "app".to_owned(),
            locations: vec![root.join("source/app")],
            ignored: vec!["ignored".to_owned()],
            sys_path: vec![root.join("source"), root.join("site")],
            ..ScanRequest::default()
        };
        let config = Config {
            scan,
            import_limit: Duration::ZERO,
            native_variables: Vec::new(),
            leave_out: Vec::new(),
            safe: Vec::new(),
            spares: 0,
            python: "cpython".to_owned(),
            cache: Some(root.join("cache")),
            learn: true,
            warm_first_party: false,
            watch: false,
            must_poll: false,
        };
        Self { folder, config }
    }

    fn open(&self) -> Learned {
        Learned::open(&self.config, &launch("/usr/bin/python"))
    }

    /// A file that was not changed just now.
    fn file(&self, name: &str, text: &str) -> String {
        let path = fs::canonicalize(self.folder.path()).unwrap().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn hear(&self, learned: &mut Learned, modules: &[(&str, Option<&str>, u64)]) -> bool {
        let modules: Vec<ChildImport> = modules
            .iter()
            .map(|(name, file, own)| {
                ChildImport((*name).to_owned(), file.map(str::to_owned), *own, *own + 1)
            })
            .collect();
        learned.hear(&modules, &FirstParty::new(&self.config.scan))
    }
}

fn launch(executable: &str) -> Launch {
    Launch {
        executable: PathBuf::from(executable),
        arguments: Vec::new(),
        environment: Vec::new(),
        cwd: PathBuf::from("/"),
        path: Vec::new(),
    }
}

fn names(learned: &Learned) -> Vec<String> {
    let items = learned.wanted(&BTreeSet::new());
    items.into_iter().map(|item| item.module).collect()
}

#[test]
fn modules_are_wanted_in_the_order_of_their_first_import_and_own_ones_apart() {
    let project = Project::new();
    let (driver, plugin) = (
        project.file("site/driver/__init__.py", ""),
        project.file("source/app/plugin.py", ""),
    );
    let mut learned = project.open();
    assert!(project.hear(
        &mut learned,
        &[
            ("_strptime", Some("/usr/lib/python/_strptime.py"), 500),
            ("driver", Some(&driver), 90),
            ("app.plugin", Some(&plugin), 80),
            ("_locale", None, 10),
            ("ignored.below", Some("/site/ignored/below.py"), 10),
            ("__main__", None, 10),
        ]
    ));
    assert!(project.hear(
        &mut learned,
        &[("app.late", Some(&plugin), 1), ("a", None, 1)]
    ));
    assert!(!project.hear(&mut learned, &[("a", None, 1)]));
    assert_eq!(names(&learned), ["_strptime", "driver", "_locale", "a"]);
    assert_eq!(learned.first_party(), ["app.plugin", "app.late"]);
    assert_eq!(learned.file_of("driver"), Some(PathBuf::from(driver)));
    let loaded = BTreeSet::from(["driver".to_owned(), "a".to_owned()]);
    let rest = learned.wanted(&loaded);
    assert_eq!(rest.len(), 2);
    assert!(learned.is_worth_it(&loaded));
    assert!(!learned.is_worth_it(&BTreeSet::from(["_strptime".to_owned()])));
}

#[test]
fn the_next_process_knows_it_and_another_project_or_interpreter_does_not() {
    let project = Project::new();
    let mut learned = project.open();
    project.hear(&mut learned, &[("a", None, 20), ("b", None, 30)]);
    project.hear(&mut learned, &[("a", None, 10)]);
    learned.save();
    let again = project.open();
    assert_eq!(names(&again), ["a", "b"]);
    let a = &again.content.modules["a"];
    assert_eq!((a.own, a.total, a.seen), (10, 11, 2));
    let other = Learned::open(&project.config, &launch("/usr/bin/other"));
    assert!(names(&other).is_empty());
    for change in [
        (|config| config.scan.package.push('b')) as fn(&mut Config),
        |config| config.scan.locations.clear(),
        |config| config.scan.first_party.push("a".to_owned()),
        |config| config.scan.ignored.push("a".to_owned()),
        |config| config.python.push('b'),
    ] {
        let mut config = project.config.clone();
        change(&mut config);
        let other = Learned::open(&config, &launch("/usr/bin/python"));
        assert!(names(&other).is_empty());
    }
}

#[test]
fn nothing_is_written_before_something_is_known_and_nothing_without_a_folder() {
    let mut project = Project::new();
    let cache = project.config.cache.clone().unwrap();
    project.open().save();
    assert!(!cache.exists());
    project.config.cache = None;
    let mut learned = project.open();
    project.hear(&mut learned, &[("a", None, 1)]);
    learned.save();
    assert_eq!(names(&learned), ["a"]);
    assert!(!cache.exists());
}

/// Opens the project so many times without anything being missed.
fn open_often(project: &Project, times: u64) -> Learned {
    for _ in 1..times {
        project.open().save();
    }
    project.open()
}

#[test]
fn what_was_not_missed_for_long_is_left_out_and_kept_longer_when_it_is_missed_then() {
    let project = Project::new();
    let mut learned = project.open();
    project.hear(&mut learned, &[("a", None, 1)]);
    learned.save();
    assert_eq!(names(&open_often(&project, KEPT)), ["a"]);
    let mut learned = open_often(&project, 2);
    assert!(names(&learned).is_empty());
    assert!(project.hear(&mut learned, &[("a", None, 1)]));
    learned.save();
    assert_eq!(names(&open_often(&project, 2 * KEPT)), ["a"]);
    let learned = open_often(&project, 3 * KEPT);
    assert!(learned.content.modules.is_empty());
}

#[test]
fn what_failed_is_not_tried_again_before_its_version_or_its_file_changes() {
    let project = Project::new();
    let file = project.file("site/driver/__init__.py", "one");
    let version = |version: &'static str| move |_: &str| Some(version.to_owned());
    let mut learned = project.open();
    let heard = [
        ("driver", Some(file.as_str()), 400),
        ("_builtin", None, 400),
    ];
    project.hear(&mut learned, &heard);
    learned.look_at_versions(version("driver 1"));
    learned.failed("driver", "it has a thread");
    learned.failed("_builtin", "no such module");
    learned.failed("unknown", "never heard of");
    assert!(names(&learned).is_empty());
    assert_eq!(learned.why_not("driver"), Some("it has a thread"));
    assert!(!project.hear(&mut learned, &heard));
    assert!(names(&learned).is_empty());
    // A state that may hide a change is not kept.
    thread::sleep(Duration::from_millis(30));
    learned.failed("driver", "it has a thread");
    learned.save();

    let mut learned = project.open();
    assert!(names(&learned).is_empty());
    learned.look_at_versions(version("driver 1"));
    assert!(names(&learned).is_empty());
    learned.forget_versions();
    learned.look_at_versions(version("driver 2"));
    assert_eq!(names(&learned), ["driver"]);

    let mut learned = project.open();
    assert!(names(&learned).is_empty());
    fs::write(&file, "mended").unwrap();
    learned.look_at_versions(version("driver 1"));
    assert_eq!(names(&learned), ["driver"]);
    assert_eq!(names(&project.open()), ["driver"]);
}

#[test]
fn an_owner_is_asked_once_for_each_top_level_name_and_never_for_own_or_builtin_modules() {
    let project = Project::new();
    let mut learned = project.open();
    let heard = [
        ("a.one", Some("/site/a/one.py"), 1),
        ("a.two", Some("/site/a/two.py"), 1),
        ("app.plugin", Some("/site/plugin.py"), 1),
        ("_builtin", None, 1),
    ];
    project.hear(&mut learned, &heard);
    let asked = std::cell::RefCell::new(Vec::new());
    for _ in 0..2 {
        learned.look_at_versions(|top| {
            asked.borrow_mut().push(top.to_owned());
            None
        });
    }
    assert_eq!(*asked.borrow(), ["a"]);
}

#[test]
fn a_damaged_file_is_passed_over_and_replaced() {
    let project = Project::new();
    let mut learned = project.open();
    project.hear(&mut learned, &[("a", None, 1)]);
    learned.save();
    let file = learned.file.clone().unwrap();
    let whole = fs::read(&file).unwrap();
    for damaged in [
        &b""[..],
        b"{",
        b"[1]",
        b"{\"openings\":-1}",
        &whole[..whole.len() - 2],
    ] {
        fs::write(&file, damaged).unwrap();
        assert!(names(&project.open()).is_empty());
    }
    learned.has_news = true;
    learned.save();
    assert_eq!(names(&project.open()), ["a"]);
}

#[test]
fn no_more_than_so_many_are_kept_and_those_that_were_missed_last() {
    let project = Project::new();
    let mut learned = project.open();
    let old: Vec<String> = (0..10).map(|each| format!("old{each}")).collect();
    let old: Vec<_> = old.iter().map(|name| (name.as_str(), None, 1)).collect();
    project.hear(&mut learned, &old);
    learned.save();
    let mut learned = project.open();
    let new: Vec<String> = (0..4_995).map(|each| format!("new{each}")).collect();
    let new: Vec<_> = new.iter().map(|name| (name.as_str(), None, 1)).collect();
    project.hear(&mut learned, &new);
    let kept = names(&learned);
    assert_eq!(kept.len(), 5_000);
    assert_eq!(kept[..5], ["old0", "old1", "old2", "old3", "old4"]);
    learned.save();
    assert_eq!(names(&project.open()).len(), 5_000);
}

#[test]
fn processes_that_learn_at_once_lose_nothing_that_is_told_again() {
    let project = Project::new();
    let (mut one, mut other) = (project.open(), project.open());
    project.hear(&mut one, &[("a", None, 3), ("both", None, 3)]);
    project.hear(&mut other, &[("b", None, 5), ("both", None, 5)]);
    one.failed("both", "why");
    one.save();
    other.save();
    let all = project.open();
    assert_eq!(
        BTreeSet::from_iter(names(&all)),
        ["a".into(), "b".into()].into()
    );
    assert_eq!(all.content.modules["both"].own, 3);
    assert_eq!(all.why_not("both"), Some("why"));

    thread::scope(|scope| {
        for each in 0..4 {
            let project = &project;
            scope.spawn(move || {
                for time in 0..20 {
                    let mut learned = project.open();
                    project.hear(&mut learned, &[(&format!("m{each}"), None, time)]);
                    learned.save();
                }
            });
        }
    });
    // Whoever wrote last has what was there before, and what it found itself.
    let found = names(&project.open());
    assert!(found.iter().any(|name| name.starts_with('m')));
    let cache = project.config.cache.as_ref().unwrap();
    assert_eq!(fs::read_dir(cache).unwrap().count(), 1);
}

#[test]
fn a_path_that_is_no_text_comes_back_as_it_was() {
    let project = Project::new();
    let mut learned = project.open();
    project.hear(&mut learned, &[("a", Some("/site/caf\u{e9}.py"), 1)]);
    learned.save();
    let file = project.open().file_of("a").unwrap();
    assert_eq!(file.as_os_str().as_bytes(), b"/site/caf\xe9.py");
    assert_eq!(file.parent(), Some(Path::new("/site")));
}

#[test]
fn what_is_refused_is_never_tried_again_as_it_was() {
    let project = Project::new();
    let mut learned = project.open();
    project.hear(
        &mut learned,
        &[("shared.a", None, 9), ("shared.b", None, 9)],
    );
    let mut lessons = Lessons::new(learned, true);
    // `shared` has no `__init__`, and was not learned itself.
    for (items, left) in [(2, 2), (1, 1), (1, 0)] {
        let mut items_now = lessons.learned.wanted(&BTreeSet::new());
        items_now.truncate(items);
        let step = Step {
            kind: Kind::Learned,
            imports: import_set(&items_now),
            items: items_now,
            files: Vec::new(),
            folders: std::sync::Arc::default(),
            left: BTreeSet::new(),
            expected: BTreeMap::new(),
        };
        let why = vec![("shared".to_owned(), "a thread".to_owned())];
        lessons.refuse(&step.items, Refusal::Names(why));
        assert_eq!(names(&lessons.learned).len(), left);
    }
}
