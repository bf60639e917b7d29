//! Whatever is edited between two scans: a scanner that kept what it knew finds what a new one finds.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firehot::scan::{Scan, ScanRequest, Scanner};
use proptest::prelude::*;

mod project;
use project::{modules, Project};

#[derive(Debug, Clone)]
enum Edit {
    Write(&'static str, &'static str),
    Replace(&'static str, &'static str),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    Link(&'static str, &'static str),
    HardLink(&'static str, &'static str),
    Touch(&'static str),
}

const FILES: [&str; 18] = [
    "root/app/__init__.py",
    "root/app/a.py",
    "root/app/b.py",
    "root/app/sub/__init__.py",
    "root/app/sub/deep.py",
    "root/app/sub/more/x.py",
    "root/app/.gitignore",
    "root/app/sub/.gitignore",
    "root/.gitignore",
    "root/app/sub/pyvenv.cfg",
    "root/helper.py",
    "root/helper/__init__.py",
    "root/helper/inner.py",
    "site/tool/__init__.py",
    "site/tool/part.py",
    "site/helper.py",
    "elsewhere/z.py",
    "root/app/notes.txt",
];

const FOLDERS: [&str; 7] = [
    "root/app/sub",
    "root/app/sub/more",
    "root/app/other",
    "root/helper",
    "site/tool",
    "elsewhere",
    "root/app/linked",
];

const TEXTS: [&str; 14] = [
    "",
    "import t1\n",
    "import t2\nimport t1\n",
    "\nimport t1\n",
    "import helper\n",
    "import helper.inner, t3\n",
    "from app import a, b\n",
    "from .sub import deep\nimport t4\n",
    "from tool import part, other, absent\n",
    "from tool import *\n",
    "import t5\nx = (1,\nimport t6\n",
    "b.py\nmore/\n",
    "*\n!deep.py\n",
    "def __getattr__(name): ...\n",
];

fn edits() -> impl Strategy<Value = Edit> {
    let file = || prop::sample::select(FILES.to_vec());
    let folder = || prop::sample::select(FOLDERS.to_vec());
    let any = || prop_oneof![3 => file(), 1 => folder()];
    let text = || prop::sample::select(TEXTS.to_vec());
    prop_oneof![
        6 => (file(), text()).prop_map(|(file, text)| Edit::Write(file, text)),
        3 => (file(), text()).prop_map(|(file, text)| Edit::Replace(file, text)),
        2 => any().prop_map(Edit::Remove),
        1 => (file(), file()).prop_map(|(from, to)| Edit::Rename(from, to)),
        1 => (folder(), folder()).prop_map(|(from, to)| Edit::Rename(from, to)),
        1 => (any(), any()).prop_map(|(target, link)| Edit::Link(target, link)),
        1 => (file(), file()).prop_map(|(target, link)| Edit::HardLink(target, link)),
        1 => file().prop_map(Edit::Touch),
    ]
}

fn put(path: &Path, text: &str) {
    // A parent may be a file by now, or a link to nothing: then there is nothing to write.
    if fs::create_dir_all(path.parent().unwrap()).is_ok() {
        let _ = fs::write(path, text);
    }
}

fn folders(project: &Project) -> BTreeSet<PathBuf> {
    let all = walkdir::WalkDir::new(project.folder.path())
        .into_iter()
        .flatten();
    let folders = all.filter(|entry| entry.file_type().is_dir());
    folders.map(walkdir::DirEntry::into_path).collect()
}

/// Does it as far as it can be done, and tells the paths that a watcher would tell.
fn perform(project: &Project, edit: &Edit) -> Vec<PathBuf> {
    let before = folders(project);
    let path = |name: &str| project.path(name);
    let told = match edit {
        Edit::Write(file, text) => {
            put(&path(file), text);
            vec![path(file)]
        }
        Edit::Replace(file, text) => {
            let own = path("spare");
            fs::write(&own, text).unwrap();
            let _ = fs::rename(&own, path(file));
            vec![own, path(file)]
        }
        Edit::Remove(name) => {
            let _ = fs::remove_file(path(name)).or_else(|_| fs::remove_dir_all(path(name)));
            vec![path(name)]
        }
        Edit::Rename(from, to) => {
            let _ = fs::rename(path(from), path(to));
            vec![path(from), path(to)]
        }
        Edit::Link(target, link) => {
            let _ = fs::create_dir_all(path(link).parent().unwrap());
            let _ = symlink(path(target), path(link));
            vec![path(link)]
        }
        Edit::HardLink(target, link) => {
            let _ = fs::hard_link(path(target), path(link));
            vec![path(link)]
        }
        Edit::Touch(file) => {
            let _ = fs::File::options().append(true).open(path(file));
            vec![path(file)]
        }
    };
    // By way of a link, something else has changed: a watcher tells that by its own name.
    let real = told.iter().filter_map(|path| fs::canonicalize(path).ok());
    let parents = told.iter().filter_map(|path| {
        let parent = fs::canonicalize(path.parent()?).ok()?;
        Some(parent.join(path.file_name()?))
    });
    // New folders on the way.
    let after = folders(project);
    let fresh = after.difference(&before).cloned();
    // A file with several names is told by each of them.
    let identity = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let edited: BTreeSet<_> = told.iter().filter_map(|path| identity(path)).collect();
    let names = FILES.iter().map(|name| project.path(name));
    let names = names.filter(|path| identity(path).is_some_and(|id| edited.contains(&id)));
    let fresh = fresh.chain(names);
    let all: BTreeSet<PathBuf> = real.chain(parents).chain(fresh).collect();
    told.into_iter().chain(all).collect()
}

/// All that a scan tells, but for how much work it was.
fn told(scan: &Scan) -> (Vec<String>, String, usize) {
    let all = format!("{:?} {:?}", scan.imports, scan.problems);
    (modules(&scan.imports), all, scan.files)
}

fn request(project: &Project) -> ScanRequest {
    let mut request = project.request("app", &["root/app"]);
    request.preload = vec!["tool".to_owned(), "t9".to_owned()];
    request
}

fn start() -> Project {
    Project::new(&[
        ("root/app/__init__.py", "import app.a, helper, tool\n"),
        (
            "root/app/a.py",
            "from .sub import deep\nfrom tool import part\n",
        ),
        ("root/app/sub/__init__.py", "import t1\n"),
        ("root/app/sub/deep.py", "import t2\n"),
        ("root/app/other/y.py", "import t7\n"),
        ("root/helper.py", "import t3\n"),
        ("site/tool/__init__.py", ""),
        ("site/tool/part.py", ""),
        ("elsewhere/z.py", "import t8\n"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_scanner_that_is_told_of_changes_finds_what_a_new_one_finds(
        rounds in prop::collection::vec(prop::collection::vec(edits(), 1..3), 1..12)
    ) {
        let project = start();
        let mut told_of = Scanner::new(request(&project));
        let mut again = Scanner::new(request(&project));
        told_of.scan().unwrap();
        again.scan().unwrap();
        for round in rounds {
            let changed: BTreeSet<PathBuf> =
                round.iter().flat_map(|edit| perform(&project, edit)).collect();
            let expected = Scanner::new(request(&project)).scan();
            let by_scan = again.scan();
            let by_rescan = told_of.rescan(&changed);
            let Ok(expected) = expected else {
                prop_assert!(by_scan.is_err() && by_rescan.is_err());
                continue;
            };
            prop_assert_eq!(told(&by_scan.unwrap()), told(&expected), "scan after {:?}", round);
            prop_assert_eq!(told(&by_rescan.unwrap()), told(&expected), "rescan after {:?}", round);
        }
    }
}

#[test]
fn a_rescan_looks_at_nothing_but_what_it_is_told_of() {
    let project = start();
    let mut scanner = Scanner::new(request(&project));
    let first = scanner.scan().unwrap();
    project.write("root/app/a.py", "import n1\n");
    project.write("root/app/sub/deep.py", "import n2\n");
    let scan = scanner
        .rescan(&BTreeSet::from([project.path("root/app/sub/deep.py")]))
        .unwrap();
    assert_eq!(scan.parsed, 1);
    let found = modules(&scan.imports);
    assert!(
        found.contains(&"n2".to_owned()) && !found.contains(&"n1".to_owned()),
        "{found:?}"
    );
    // Nothing that matters: the same set, and no file read.
    project.write("root/app/notes.txt", "x");
    let same = scanner
        .rescan(&BTreeSet::from([project.path("root/app/notes.txt")]))
        .unwrap();
    assert!(Arc::ptr_eq(&scan.imports, &same.imports));
    assert!(!Arc::ptr_eq(&first.imports, &same.imports));
    assert_eq!(same.parsed, 0);
    assert!(modules(&scanner.scan().unwrap().imports).contains(&"n1".to_owned()));
}

#[test]
fn a_scan_without_changes_hands_out_the_same_set() {
    let project = start();
    let mut scanner = Scanner::new(request(&project));
    let first = scanner.scan().unwrap();
    let second = scanner.scan().unwrap();
    assert!(Arc::ptr_eq(&first.imports, &second.imports));
    // An edit that imports nothing else.
    project.write(
        "root/app/a.py",
        "from .sub import deep\nfrom tool import part\nx = 1\n",
    );
    let third = scanner.scan().unwrap();
    assert_eq!(third.parsed, 1);
    assert!(Arc::ptr_eq(&first.imports, &third.imports));
}

#[test]
fn two_names_of_a_file_that_are_parted_count_as_two_files() {
    let project = Project::new(&[
        ("root/app/__init__.py", ""),
        ("root/app/a.py", "import one\n"),
    ]);
    let (a, b) = (project.path("root/app/a.py"), project.path("root/app/b.py"));
    fs::hard_link(&a, b).unwrap();
    let mut scanner = Scanner::new(request(&project));
    let mut told_of = Scanner::new(request(&project));
    assert_eq!(scanner.scan().unwrap().files, 2);
    told_of.scan().unwrap();
    project.write("spare", "import two\n");
    fs::rename(project.path("spare"), &a).unwrap();
    for scan in [
        scanner.scan().unwrap(),
        told_of.rescan(&BTreeSet::from([a])).unwrap(),
    ] {
        assert_eq!(modules(&scan.imports)[2..], ["two", "one"]);
    }
}

#[test]
fn a_broken_file_that_nobody_imports_any_more_is_told_of_no_more() {
    let project = Project::new(&[
        ("root/app/__init__.py", "import helper\n"),
        ("root/helper.py", ""),
    ]);
    let mut scanner = Scanner::new(request(&project));
    let mut told_of = Scanner::new(request(&project));
    scanner.scan().unwrap();
    told_of.scan().unwrap();
    let names = ["root/app/__init__.py", "root/helper.py"];
    project.write(names[0], "import one\n");
    project.write(names[1], "x = (1,\nimport two\n");
    let changed = names.iter().map(|name| project.path(name)).collect();
    for scan in [scanner.scan().unwrap(), told_of.rescan(&changed).unwrap()] {
        assert_eq!(scan.problems, []);
    }
}
