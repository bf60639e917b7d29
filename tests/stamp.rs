//! A stamp tells what has changed on the disk before the question, and looks at no more than it has to.
//!
//! Linux only where it counts what is looked at: elsewhere everything is.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firehot::stamp::{describe, Host, Listener, Stamp, Start, Touched, Watches};
use tempfile::TempDir;

type Outcome = Result<(), Box<dyn Error>>;

const NOTHING_ELSE: &str = r#"{"files": [], "written": [], "read_back": [], "listings": [], "suffixes": [],
    "missing": [], "variables": [], "cwd": null}"#;

struct Disk {
    // Its path has no link in it, unless a test puts one there.
    root: TempDir,
    watches: Arc<Watches>,
}

impl Disk {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            root: TempDir::new()?,
            watches: Watches::new(),
        })
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    fn write(&self, relative: &str, text: &str) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A stamp of files as they are now, and of a folder of `sys.path`.
    fn stamp(&self, files: &[&Path], folder: &Path) -> Result<Stamp, Box<dyn Error>> {
        self.stamp_with(files, folder, NOTHING_ELSE)
    }

    fn stamp_with(
        &self,
        files: &[&Path],
        folder: &Path,
        body: &str,
    ) -> Result<Stamp, Box<dyn Error>> {
        let path = [folder.to_owned()];
        let arguments: [OsString; 0] = [];
        let start = Start::take(Host {
            executable: &self.path("bin/python"),
            arguments: &arguments,
            environment: &[],
            cwd: self.root.path(),
            path: &path,
        });
        let read = files
            .iter()
            .filter_map(|file| Touched::now(file).to_message());
        let read: Vec<_> = read.collect();
        let listener = Listener::new(&self.watches);
        listener.expect(&read);
        Ok(Stamp::new(start, listener, read, body.as_bytes(), &[])?)
    }
}

/// What a change is called, and how it is made.
type Way = (&'static str, fn(&Disk) -> Outcome, &'static str);

/// All are about `lib/dep.py`, which is reached by `way/dep.py` as well, a link to the folder.
///
/// None hangs on a date: a file system's clock ticks so seldom that two may be the same.
const WAYS: [Way; 13] = [
    (
        "in place",
        |disk| Ok(fs::write(disk.path("lib/dep.py"), "22")?),
        "changed",
    ),
    (
        "appended",
        |disk| {
            use std::io::Write;
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(disk.path("lib/dep.py"))?;
            Ok(file.write_all(b"2")?)
        },
        "changed",
    ),
    (
        "cut",
        |disk| {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(disk.path("lib/dep.py"))?;
            Ok(file.set_len(0)?)
        },
        "changed",
    ),
    (
        "replaced",
        |disk| {
            Ok(fs::rename(
                disk.write("new", "2")?,
                disk.path("lib/dep.py"),
            )?)
        },
        "changed",
    ),
    (
        "removed",
        |disk| Ok(fs::remove_file(disk.path("lib/dep.py"))?),
        "removed",
    ),
    (
        "renamed",
        |disk| {
            Ok(fs::rename(
                disk.path("lib/dep.py"),
                disk.path("lib/other.py"),
            )?)
        },
        "removed",
    ),
    (
        "made a link",
        |disk| {
            let copy = disk.write("copy.py", "1")?;
            fs::remove_file(disk.path("lib/dep.py"))?;
            Ok(symlink(copy, disk.path("lib/dep.py"))?)
        },
        "changed",
    ),
    (
        "its folder removed",
        |disk| Ok(fs::remove_dir_all(disk.path("lib"))?),
        "removed",
    ),
    (
        "its folder replaced",
        |disk| {
            disk.write("fresh/dep.py", "1")?;
            fs::rename(disk.path("lib"), disk.path("old"))?;
            Ok(fs::rename(disk.path("fresh"), disk.path("lib"))?)
        },
        "changed",
    ),
    (
        "the link to its folder",
        |disk| {
            disk.write("fresh/dep.py", "1")?;
            symlink(disk.path("fresh"), disk.path("new"))?;
            Ok(fs::rename(disk.path("new"), disk.path("way"))?)
        },
        "changed",
    ),
    (
        "written through a name that it had",
        |disk| Ok(fs::write(disk.path("aside/hard"), "22")?),
        "changed",
    ),
    (
        "written through a name that it gets",
        |disk| {
            fs::create_dir(disk.path("late"))?;
            fs::hard_link(disk.path("lib/dep.py"), disk.path("late/hard"))?;
            Ok(fs::write(disk.path("late/hard"), "22")?)
        },
        "changed",
    ),
    (
        "given another date",
        |disk| {
            let file = fs::File::open(disk.path("lib/dep.py"))?;
            Ok(file.set_modified(std::time::SystemTime::UNIX_EPOCH)?)
        },
        "changed",
    ),
];

fn prepared() -> Result<Disk, Box<dyn Error>> {
    let disk = Disk::new()?;
    let dep = disk.write("lib/dep.py", "1")?;
    disk.write("lib/other.txt", "1")?;
    fs::create_dir(disk.path("aside"))?;
    fs::hard_link(dep, disk.path("aside/hard"))?;
    symlink("lib", disk.path("way"))?;
    Ok(disk)
}

#[test]
fn a_change_is_told_however_it_was_made_and_told_again() -> Outcome {
    for (way, change, what) in WAYS {
        let disk = prepared()?;
        let path = disk.path("way/dep.py");
        let stamp = disk.stamp(&[&path], &disk.path("site"))?;
        assert!(
            stamp.disk_changes().is_empty(),
            "{way}: nothing was done yet"
        );
        assert!(
            stamp.disk_changes().is_empty(),
            "{way}: nothing was done yet"
        );
        change(&disk)?;
        for time in ["first", "second", "third"] {
            let said = describe(&stamp.disk_changes());
            let expected = format!("{} {what}", path.display());
            assert_eq!(said, expected, "{way}, asked for the {time} time");
        }
    }
    Ok(())
}

#[test]
fn a_change_before_the_first_question_is_told() -> Outcome {
    for (way, change, what) in WAYS {
        let disk = prepared()?;
        let path = disk.path("way/dep.py");
        let stamp = disk.stamp(&[&path], &disk.path("site"))?;
        change(&disk)?;
        let said = describe(&stamp.disk_changes());
        assert_eq!(said, format!("{} {what}", path.display()), "{way}");
    }
    Ok(())
}

#[test]
fn what_one_stamp_hears_counts_for_all() -> Outcome {
    let disk = prepared()?;
    let (dep, other) = (disk.path("lib/dep.py"), disk.path("lib/other.txt"));
    let site = disk.path("site");
    let (one, two) = (
        disk.stamp(&[&dep], &site)?,
        disk.stamp(&[&dep, &other], &site)?,
    );
    assert!(one.disk_changes().is_empty() && two.disk_changes().is_empty());
    fs::write(&other, "22")?;
    assert!(one.disk_changes().is_empty());
    assert!(describe(&two.disk_changes()).ends_with("other.txt changed"));
    // What goes with one is kept for the other.
    drop(two);
    fs::write(&dep, "22")?;
    assert!(describe(&one.disk_changes()).ends_with("dep.py changed"));
    Ok(())
}

#[test]
fn what_was_missing_is_told_when_it_comes() -> Outcome {
    let disk = prepared()?;
    let (file, site) = (disk.path("not/yet/there.txt"), disk.path("later/site"));
    let missing = format!(
        r#"{{"files": [[{file:?}, null]], "written": [], "read_back": [], "listings": [], "suffixes": [".py"],
        "missing": [[{:?}, "dep_late"]], "variables": [], "cwd": null}}"#,
        disk.path("lib")
    );
    let stamp = disk.stamp_with(&[], &site, &missing)?;
    assert!(stamp.disk_changes().is_empty());
    disk.write("not/other.txt", "")?;
    assert!(stamp.disk_changes().is_empty());
    disk.write("not/yet/there.txt", "")?;
    assert!(describe(&stamp.disk_changes()).ends_with("there.txt appeared"));
    fs::remove_file(&file)?;
    assert!(stamp.disk_changes().is_empty());
    disk.write("lib/dep_late.py", "")?;
    assert_eq!(
        describe(&stamp.disk_changes()),
        "dep_late can be imported now"
    );
    fs::remove_file(disk.path("lib/dep_late.py"))?;
    disk.write("later/site/gadget-1.0.dist-info/METADATA", "")?;
    assert_eq!(describe(&stamp.disk_changes()), "gadget 1.0 installed");
    Ok(())
}

#[test]
fn a_file_that_a_folder_of_the_path_is_set_up_by_counts_when_it_is_edited() -> Outcome {
    let disk = prepared()?;
    let pth = disk.write("site/extra.pth", "import one")?;
    let old = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(disk.path("site"))?.set_modified(old)?;
    let stamp = disk.stamp(&[], &disk.path("site"))?;
    assert!(stamp.disk_changes().is_empty());
    fs::write(&pth, "import another")?;
    assert!(describe(&stamp.disk_changes()).ends_with("extra.pth changed"));
    Ok(())
}

#[test]
fn all_is_told_without_watches() -> Outcome {
    let disk = prepared()?;
    let path = disk.path("way/dep.py");
    let stamp = disk.stamp(&[&path], &disk.path("site"))?;
    assert!(stamp.disk_changes().is_empty());
    disk.watches.close();
    assert!(stamp.disk_changes().is_empty());
    fs::write(&path, "22")?;
    assert!(describe(&stamp.disk_changes()).ends_with("dep.py changed"));
    Ok(())
}

#[test]
fn a_queue_that_ran_over_hides_nothing() -> Outcome {
    let disk = prepared()?;
    let path = disk.path("way/dep.py");
    let stamp = disk.stamp(&[&path], &disk.path("site"))?;
    assert!(stamp.disk_changes().is_empty());
    let longest = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
    let longest = longest.map_or(1000, |text| text.trim().parse().unwrap_or(16_384));
    for number in 0..=longest / 2 {
        let name = disk.path(&format!("lib/noise{}", number % 2));
        fs::write(&name, "")?;
        fs::remove_file(&name)?;
    }
    fs::write(&path, "22")?;
    assert!(describe(&stamp.disk_changes()).ends_with("dep.py changed"));
    Ok(())
}

#[test]
fn names_that_come_into_folders_count_by_what_is_asked_of_these() -> Outcome {
    let disk = prepared()?;
    let site = disk.path("site");
    fs::create_dir(&site)?;
    fs::File::open(&site)?.set_modified(std::time::SystemTime::UNIX_EPOCH)?;
    let listed = format!(
        r#"{{"files": [], "written": [], "read_back": [], "listings": [[{:?}, 0, 0, 1, ["dep.py", "other.txt"], []]],
        "suffixes": [], "missing": [], "variables": [], "cwd": null}}"#,
        disk.path("lib")
    );
    let stamp = disk.stamp_with(&[], &site, &listed)?;
    assert!(stamp.disk_changes().is_empty());
    disk.write("site/unrelated.py", "")?;
    disk.write("lib/__pycache__/dep.pyc", "")?;
    assert!(stamp.disk_changes().is_empty());
    disk.write("lib/plugin.py", "")?;
    assert!(describe(&stamp.disk_changes()).ends_with("plugin.py appeared"));
    fs::remove_file(disk.path("lib/plugin.py"))?;
    assert!(stamp.disk_changes().is_empty());
    disk.write("site/gadget-1.0.dist-info/METADATA", "")?;
    assert_eq!(describe(&stamp.disk_changes()), "gadget 1.0 installed");
    Ok(())
}
