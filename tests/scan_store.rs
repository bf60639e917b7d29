//! What one process has scanned spares the next one the reading.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::thread;

use firehot::scan::{Scan, Scanner};

mod project;
use project::{modules, Project};

/// As a process does: opens, scans once, ends.
fn open(project: &Project) -> Scan {
    let mut scanner = project
        .scanner("app", &["root/app"])
        .with_store(&project.path("cache"));
    scanner.scan().unwrap()
}

fn stored(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.path("cache")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn two_files() -> Project {
    let project = Project::new(&[
        ("root/app/__init__.py", "import a\nfrom app import b\n"),
        ("root/app/b.py", "if x:\n    y = (\nimport c as e\n"),
    ]);
    project.settle();
    project
}

#[test]
fn an_unchanged_project_is_not_parsed_again() {
    let project = two_files();
    let first = open(&project);
    assert_eq!((first.files, first.parsed), (2, 2));
    assert_eq!(stored(&project).len(), 1);
    let second = open(&project);
    assert_eq!((second.files, second.parsed), (2, 0));
    assert_eq!(first.imports, second.imports);
    assert_eq!(first.problems, second.problems);
    project.write("root/app/b.py", "import n\n");
    let third = open(&project);
    assert_eq!((third.files, third.parsed), (2, 1));
    assert_eq!(modules(&third.imports), ["a", "n"]);
}

#[test]
fn a_file_that_was_read_when_it_was_young_is_read_again() {
    let project = Project::new(&[("root/app/__init__.py", "import a\n")]);
    assert_eq!(open(&project).parsed, 1);
    project.settle();
    assert_eq!(open(&project).parsed, 1);
    assert_eq!(open(&project).parsed, 0);
}

#[test]
fn what_is_damaged_is_passed_over_and_replaced() {
    let project = two_files();
    open(&project);
    let [file] = stored(&project).try_into().unwrap();
    let good = fs::read(&file).unwrap();
    for at in 0..good.len() {
        if at % 7 == 0 || at < 16 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, bad).unwrap();
            assert_eq!(open(&project).parsed, 2, "byte {at}");
        }
    }
    for length in [0, 7, 8, good.len() - 1] {
        fs::write(&file, &good[..length]).unwrap();
        assert_eq!(open(&project).parsed, 2, "{length} bytes");
        assert_eq!(open(&project).parsed, 0, "{length} bytes");
    }
}

#[test]
fn deleted_files_are_forgotten() {
    let project = two_files();
    open(&project);
    let [file] = stored(&project).try_into().unwrap();
    let before = fs::read(&file).unwrap();
    fs::remove_file(project.path("root/app/b.py")).unwrap();
    assert_eq!(open(&project).parsed, 0);
    let after = fs::read(&file).unwrap();
    assert!(after.len() < before.len());
    assert!(!after.windows(4).any(|part| part == b"b.py"));
}

#[test]
fn a_broken_file_keeps_its_last_good_imports_in_the_next_process() {
    let project = two_files();
    open(&project);
    project.write("root/app/b.py", "'''\nimport c\n'''\n'''\nimport wrong\n");
    for _ in 0..2 {
        let scan = open(&project);
        assert_eq!(modules(&scan.imports), ["a", "c"]);
        assert_eq!(scan.problems.len(), 1);
    }
    project.settle();
    for parsed in [1, 0] {
        let scan = open(&project);
        assert_eq!(
            (scan.parsed, modules(&scan.imports)),
            (parsed, vec!["a".into(), "c".into()])
        );
        assert!(
            scan.problems[0].message.contains("kept"),
            "{:?}",
            scan.problems
        );
    }
}

#[test]
fn a_folder_that_can_not_be_had_is_no_error() {
    let project = two_files();
    project.write("cache", "a file");
    for _ in 0..2 {
        assert_eq!(open(&project).parsed, 2);
    }
    let mut scanner = project
        .scanner("app", &["root/app"])
        .with_store("/proc/none".as_ref());
    assert_eq!(scanner.scan().unwrap().parsed, 2);
}

#[test]
fn processes_that_write_at_once_do_no_harm() {
    let project = two_files();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(modules(&open(&project).imports), ["a", "c"]));
        }
    });
    assert_eq!(open(&project).parsed, 0);
    assert_eq!(stored(&project).len(), 1);
}

#[test]
fn what_killed_writers_left_is_removed() {
    let project = two_files();
    let left = project.path("cache/scan-0.0.0-0.bin.0.tmp");
    let other = project.path("cache/verdicts.tmp");
    for path in [&left, &other] {
        project.write(path.to_str().unwrap(), "x");
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    open(&project);
    assert!(!left.exists());
    assert!(other.exists());
}

#[test]
fn two_projects_do_not_share_what_is_kept() {
    let project = two_files();
    project.write("root/other/__init__.py", "import z\n");
    let scan = |locations: &[&str]| {
        let request = project.request("app", locations);
        Scanner::new(request)
            .with_store(&project.path("cache"))
            .scan()
            .unwrap()
    };
    scan(&["root/app"]);
    scan(&["root/app", "root/other"]);
    assert_eq!(stored(&project).len(), 2);
}
