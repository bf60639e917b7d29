//! The rules against the walk of the `ignore` crate; the worker where the system tells too little.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, unbounded, Receiver, Sender};
use ignore::WalkBuilder;
use notify::event::{Event, EventKind, Flag};
use proptest::prelude::*;

use super::answers::Told;
use super::plan::Plan;
use super::queue::{Next, Queue};
use super::rules::{Root, Rules, Verdict};
use super::tree::{Refused, Tree, Watch};
use super::worker::{Message, Worker};
use super::Changes;
use crate::scan::ScanRequest;

const NAMES: [&str; 6] = ["a", "b.py", "c.log", "build", ".hidden", "d.py"];

fn rule() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("*.py"),
        Just("*.log"),
        Just("build"),
        Just("a"),
        Just("a/b.py"),
        Just("**/d.py"),
        Just("a/**"),
        Just(".hidden"),
        Just("?.py"),
        Just("*"),
    ];
    (any::<bool>(), any::<bool>(), any::<bool>(), name).prop_map(|(not, top, folder, name)| {
        let (not, top, folder) = (
            if not { "!" } else { "" },
            if top { "/" } else { "" },
            if folder { "/" } else { "" },
        );
        format!("{not}{top}{name}{folder}\n")
    })
}

fn path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4)
        .prop_map(|parts| parts.iter().collect())
}

fn write(path: &Path, text: &str) {
    // A file may be in the way of a folder.
    if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.is_dir() {
        fs::write(path, text).unwrap();
    }
}

/// What the scan's walk enters and finds, but for its own rules about names.
fn walked(root: &Path) -> BTreeSet<PathBuf> {
    let walk = WalkBuilder::new(root)
        .require_git(false)
        .ignore(false)
        .git_global(false)
        .build();
    walk.flatten()
        .filter(|entry| entry.depth() > 0)
        .map(|entry| entry.path().to_owned())
        .collect()
}

fn allowed(rules: &mut Rules, root: &Root, folder: &Path, found: &mut BTreeSet<PathBuf>) {
    rules.load(folder);
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let is_folder = path.is_dir();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let is_shown = match rules.verdict(root, &path, is_folder) {
            Verdict::Ignored => false,
            Verdict::Kept => true,
            Verdict::Nothing => !is_hidden,
        };
        if is_shown {
            found.insert(path.clone());
            if is_folder {
                allowed(rules, root, &path, found);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn rules_are_those_of_the_walk(
        files in prop::collection::vec(path(), 1..12),
        rules in prop::collection::vec((prop::option::of(path()), prop::collection::vec(rule(), 1..4)), 0..4),
        exclude in prop::option::of(rule()),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        let root = top.join("root");
        fs::create_dir(&root).unwrap();
        for file in files {
            write(&root.join(file), "");
        }
        for (place, lines) in rules {
            // Those of the folder above count as well.
            let place = place.map_or(top.clone(), |place| root.join(place));
            write(&place.join(".gitignore"), &lines.concat());
        }
        if let Some(exclude) = exclude {
            write(&root.join(".git/info/exclude"), &exclude);
        }
        let asked = Root { path: root.clone(), real: root.clone(), obeys: true };
        let mut rules = Rules::default();
        rules.load_above(&asked);
        let mut found = BTreeSet::new();
        allowed(&mut rules, &asked, &root, &mut found);
        prop_assert_eq!(found, walked(&root));
    }
}

/// A worker that hears of nothing but what a test tells it.
struct Deaf {
    messages: Sender<Message>,
    folder: tempfile::TempDir,
    thread: Option<std::thread::JoinHandle<()>>,
    _nowhere: Receiver<Message>,
}

impl Deaf {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("app");
        fs::create_dir(&app).unwrap();
        fs::write(app.join("a.py"), "").unwrap();
        let request = ScanRequest {
            package: "app".to_owned(),
            locations: vec![app],
            ..ScanRequest::default()
        };
        let plan = Plan::new(&request, &BTreeSet::new());
        let (messages, inbox) = unbounded();
        let (elsewhere, nowhere) = unbounded();
        let thread = std::thread::spawn(move || Worker::start(&elsewhere, plan, false).run(&inbox));
        Self {
            messages,
            folder,
            thread: Some(thread),
            _nowhere: nowhere,
        }
    }

    fn ask(&self) -> Told {
        let (answer, told) = bounded(1);
        self.messages.send(Message::Ask(answer)).unwrap();
        told.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn overflow(&self) {
        let event = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        self.messages.send(Message::Event(Ok(event))).unwrap();
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.messages.send(Message::Close).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn where_the_system_does_not_answer_the_scan_looks_at_everything() {
    let deaf = Deaf::start();
    let began = Instant::now();
    assert_eq!(deaf.ask(), Told::Anything);
    assert_eq!(deaf.ask(), Told::Anything);
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[test]
fn an_overflow_has_everything_looked_at() {
    let deaf = Deaf::start();
    let queue = Arc::new(Queue::default());
    let (answer, done) = bounded(1);
    deaf.messages
        .send(Message::Subscribe(Arc::clone(&queue), answer))
        .unwrap();
    done.recv_timeout(Duration::from_secs(20)).unwrap();
    let app = deaf.folder.path().join("app");
    fs::create_dir(app.join("new")).unwrap();
    fs::write(app.join("new/b.py"), "x").unwrap();
    fs::write(app.join("a.py"), "x").unwrap();
    deaf.overflow();
    let expected = Changes {
        added: BTreeSet::from([app.join("new/b.py")]),
        changed: BTreeSet::from([app.join("a.py")]),
        removed: BTreeSet::new(),
    };
    assert_eq!(queue.wait(Duration::from_secs(20)), Next::Changes(expected));
    assert_eq!(deaf.ask(), Told::Anything);
}

#[test]
fn a_flood_of_events_ends_with_the_truth() {
    // Four writers against one reader: 400,000 events. Whether the queue overflows or not, the end is told.
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    fs::create_dir(&app).unwrap();
    let request = ScanRequest {
        package: "app".to_owned(),
        locations: vec![app.clone()],
        ..ScanRequest::default()
    };
    let watcher = super::Watcher::start(Plan::new(&request, &BTreeSet::new()), false).unwrap();
    let watch = watcher.subscribe(&mut || Ok(())).unwrap();
    let files: Vec<PathBuf> = (0..4)
        .map(|thread| app.join(format!("{thread}.py")))
        .collect();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(move || {
                for _ in 0..10_000 {
                    fs::write(file, "x").unwrap();
                    fs::remove_file(file).unwrap();
                }
                fs::write(file, "last").unwrap();
            });
        }
    });
    let mut seen = BTreeSet::new();
    while seen.len() < files.len() {
        let next = watch.next(Some(Duration::from_secs(60)), &mut || Ok(()));
        let Next::Changes(changes) = next.unwrap() else {
            panic!("only {seen:?} were told");
        };
        seen.extend(changes.added.into_iter().chain(changes.changed));
        seen.retain(|file| !changes.removed.contains(file));
    }
    watcher.close();
    assert!(watcher.is_done(Duration::from_secs(20)));
}

/// A tree whose watch is only written down.
#[derive(Default)]
struct Written(BTreeSet<PathBuf>);

impl Watch for Written {
    fn watch(&mut self, folder: &Path, _: u64) -> Result<(), Refused> {
        self.0.insert(folder.to_owned());
        Ok(())
    }

    fn unwatch(&mut self, folder: &Path) {
        self.0.remove(folder);
    }
}

fn request_of(app: &Path) -> ScanRequest {
    ScanRequest {
        package: "app".to_owned(),
        locations: vec![app.to_owned()],
        ..ScanRequest::default()
    }
}

#[test]
fn a_folder_that_was_moved_into_a_new_one_is_watched_whatever_is_heard_first() {
    for order in [["new", "sub"], ["sub", "new"]] {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("app");
        fs::create_dir_all(app.join("sub/deep")).unwrap();
        fs::write(app.join("sub/deep/a.py"), "").unwrap();
        let (mut tree, mut watch) = (Tree::default(), Written::default());
        let plan = Plan::new(&request_of(&app), &BTreeSet::new());
        tree.follow(plan, &mut watch).unwrap();
        fs::create_dir(app.join("new")).unwrap();
        fs::rename(app.join("sub"), app.join("new/moved")).unwrap();
        for name in order {
            tree.note(&app.join(name), &mut watch).unwrap();
        }
        let changes = tree.settle();
        assert_eq!(
            changes.added,
            BTreeSet::from([app.join("new/moved/deep/a.py")])
        );
        assert_eq!(changes.removed, BTreeSet::from([app.join("sub/deep/a.py")]));
        assert!(watch.0.contains(&app.join("new/moved/deep")), "{order:?}");
        assert!(!watch.0.contains(&app.join("sub")), "{order:?}");
    }
}

#[test]
fn a_scan_that_came_to_a_new_place_is_followed_by_one_of_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (app, lib) = (folder.path().join("app"), folder.path().join("lib"));
    fs::create_dir(&app).unwrap();
    fs::create_dir(&lib).unwrap();
    let mut nobody = || Ok(());
    let plan = Plan::new(&request_of(&app), &BTreeSet::new());
    let watcher = super::Watcher::start(plan, false).unwrap();
    let nothing = Told::Changed(BTreeSet::new());
    assert_eq!(
        watcher.ask(&mut nobody).unwrap(),
        Told::Anything,
        "the first"
    );
    assert_eq!(watcher.ask(&mut nobody).unwrap(), nothing);
    let wider = Plan::new(&request_of(&app), &BTreeSet::from([lib.clone()]));
    watcher.follow(wider.clone());
    assert_eq!(watcher.ask(&mut nobody).unwrap(), Told::Anything);
    watcher.follow(wider);
    assert_eq!(watcher.ask(&mut nobody).unwrap(), nothing);
    fs::write(lib.join("a.py"), "").unwrap();
    let told = Told::Changed(BTreeSet::from([lib.join("a.py")]));
    assert_eq!(watcher.ask(&mut nobody).unwrap(), told);
    watcher.doubt();
    assert_eq!(watcher.ask(&mut nobody).unwrap(), Told::Anything);
    watcher.close();
    assert!(watcher.is_done(Duration::from_secs(20)));
}
