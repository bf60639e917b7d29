//! A scan that is told what changed finds what a scan of everything finds, however files are changed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use firehot::scan::{Scan, ScanRequest, Scanner};
use firehot::watch::{Plan, Told, Watcher};

/// A small generator of numbers, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

struct Project {
    _folder: tempfile::TempDir,
    source: PathBuf,
    outside: PathBuf,
    random: Random,
}

const FILES: [&str; 9] = [
    "app/__init__.py",
    "app/a.py",
    "app/b.py",
    "app/sub/__init__.py",
    "app/sub/c.py",
    "app/sub/deep/d.py",
    "app/data.txt",
    "lib/__init__.py",
    "single.py",
];
const FOLDERS: [&str; 5] = ["app/sub", "app/sub/deep", "app/new", "app/new/er", "lib"];
const MODULES: [&str; 8] = [
    "one",
    "two",
    "three",
    "lib",
    "lib.inner",
    "single",
    "app.sub.c",
    "other.part",
];

impl Project {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let (source, outside) = (root.join("source"), root.join("outside"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(outside.join("linked")).unwrap();
        let mut project = Self {
            _folder: folder,
            source,
            outside,
            random: Random(seed),
        };
        for file in FILES {
            project.write(&project.source.join(file));
        }
        project
    }

    fn request(&self) -> ScanRequest {
        ScanRequest {
            package: "app".to_owned(),
            locations: vec![self.source.join("app")],
            sys_path: vec![self.source.clone()],
            ..ScanRequest::default()
        }
    }

    fn text(&mut self) -> String {
        let count = self.random.below(3);
        (0..count)
            .map(|_| format!("import {}\n", self.random.pick(&MODULES)))
            .chain(["x = 1\n".to_owned()])
            .collect()
    }

    fn write(&mut self, path: &Path) {
        let text = self.text();
        if let Some(folder) = path.parent() {
            // What is in the way may be a file, or a link to nowhere.
            if fs::create_dir_all(folder).is_err() {
                return;
            }
        }
        let _ = fs::write(path, text);
    }

    fn file(&mut self) -> PathBuf {
        self.source.join(self.random.pick(&FILES))
    }

    fn folder(&mut self) -> PathBuf {
        self.source.join(self.random.pick(&FOLDERS))
    }

    /// One finished edit. What can't be done just now is none.
    fn edit(&mut self) -> String {
        let (file, folder) = (self.file(), self.folder());
        let (other, spare) = (self.file(), self.outside.join("spare"));
        let kind = self.random.below(18);
        match kind {
            0..=3 => self.write(&file),
            4 => {
                // A date that is put back.
                let before = fs::metadata(&file).and_then(|found| found.modified());
                self.write(&file);
                if let (Ok(before), Ok(open)) =
                    (before, fs::File::options().append(true).open(&file))
                {
                    open.set_modified(before).unwrap();
                }
            }
            5 => {
                let temporary = file.with_extension("py.tmp");
                self.write(&temporary);
                let _ = fs::rename(&temporary, &file);
            }
            6 => {
                let _ = fs::remove_file(&file);
            }
            7 => {
                let _ = fs::rename(&file, &other);
            }
            8 => {
                let inside = folder.join("fresh").join("e.py");
                self.write(&inside);
            }
            9 => {
                let _ = fs::remove_dir_all(&folder);
            }
            10 => {
                let _ = fs::remove_dir_all(&spare);
                let _ = fs::rename(&folder, &spare);
            }
            11 => {
                let _ = fs::rename(&spare, &folder);
            }
            12 => {
                let rules = ["", "sub/\n", "*.py\n!a.py\n", "c.py\nnew/\n"];
                let rules = self.random.pick(&rules);
                fs::write(self.source.join(".gitignore"), rules).unwrap();
            }
            13 => {
                let link = self.source.join("app/link");
                let _ = fs::remove_file(&link);
                let target = self.outside.join("linked");
                self.write(&target.join("f.py"));
                let _ = symlink(target, link);
            }
            14 => {
                // Through another name of the same file, which it had when it was last heard of: that it gets one is
                // told to nobody.
                let name = self.outside.join("name.py");
                if fs::metadata(&name).is_ok_and(|found| found.nlink() > 1) {
                    self.write(&name);
                } else {
                    let _ = fs::remove_file(&name);
                    if fs::hard_link(&file, &name).is_ok() {
                        self.write(&file);
                    }
                }
            }
            15 => {
                // Moved into a folder that nobody has heard of yet.
                let inside = self.source.join("app/moved/here");
                let _ = fs::create_dir_all(&inside);
                let _ = fs::rename(&folder, inside.join("again"));
            }
            16 => {
                let inside = self.source.join("app/moved/here/again");
                let _ = fs::rename(&inside, &folder);
                self.write(&folder.join("g.py"));
            }
            _ => {
                let target = self.outside.join("linked/f.py");
                self.write(&target);
            }
        }
        format!("{kind} {} {}", file.display(), folder.display())
    }
}

fn found(scan: &Scan) -> (Vec<String>, Vec<String>) {
    let imports = scan.imports.imports.iter();
    let imports = imports.map(|import| format!("{} {:?}", import.module, import.names));
    let problems = scan.problems.iter();
    let problems =
        problems.map(|problem| format!("{} {}", problem.file.display(), problem.message));
    (imports.collect(), problems.collect())
}

fn nobody() -> Result<(), firehot::error::Error> {
    Ok(())
}

/// The source files below a folder, and what tells that they have changed.
fn states(folder: &Path) -> BTreeSet<(PathBuf, SystemTime, u64)> {
    let walk = walkdir::WalkDir::new(folder)
        .follow_links(false)
        .into_iter();
    walk.flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "py"))
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| {
            let found = entry.metadata().ok()?;
            let changed = u64::try_from(found.ctime_nsec()).ok()?;
            Some((entry.path().to_owned(), found.modified().ok()?, changed))
        })
        .collect()
}

fn compare(seed: u64, edits: usize) -> (usize, usize) {
    let mut project = Project::new(seed);
    let mut scanner = Scanner::new(project.request());
    let plan = Plan::new(&project.request(), scanner.places());
    let watcher = Watcher::start(plan, false).unwrap();
    let (mut told, mut walked) = (0, 0);
    let mut known = states(&project.source.join("app"));
    let mut did = String::new();
    for number in 0..edits {
        let answer = watcher.ask(&mut nobody).unwrap();
        let now = states(&project.source.join("app"));
        let scan = match &answer {
            Told::Changed(paths) => {
                told += 1;
                // What a scan makes of it is its own matter: nothing is kept from it.
                for (path, ..) in known.symmetric_difference(&now) {
                    let is_told = |path: &Path| path.ancestors().any(|each| paths.contains(each));
                    let rules = project.source.join(".gitignore");
                    let is_ignored = fs::read(rules).is_ok_and(|rules| !rules.is_empty());
                    assert!(
                        is_told(path) || is_ignored,
                        "seed {seed}, edit {number}: {did}: {} is not among {paths:?}",
                        path.display()
                    );
                }
                scanner.rescan(paths)
            }
            Told::Anything => {
                walked += 1;
                scanner.scan()
            }
        };
        known = now;
        let plan = Plan::new(&project.request(), scanner.places());
        watcher.follow(plan);
        let cold = Scanner::new(project.request()).scan();
        match (&scan, &cold) {
            (Ok(scan), Ok(cold)) => {
                assert_eq!(
                    found(scan),
                    found(cold),
                    "seed {seed}, edit {number}: {did}"
                );
            }
            (Err(_), Err(_)) => watcher.doubt(),
            (scan, cold) => panic!("seed {seed}, edit {number}: {did}: {scan:?} {cold:?}"),
        }
        did = project.edit();
    }
    watcher.close();
    assert!(watcher.is_done(Duration::from_secs(10)));
    (told, walked)
}

#[test]
fn a_scan_that_is_told_at_once_after_each_of_1000_edits_finds_what_a_cold_scan_finds() {
    let (mut told, mut walked) = (0, 0);
    for seed in 1..=5 {
        let (one, other) = compare(seed * 7919, 200);
        told += one;
        walked += other;
    }
    if cfg!(target_os = "linux") {
        assert!(told > walked, "told {told}, walked {walked}");
    }
}
