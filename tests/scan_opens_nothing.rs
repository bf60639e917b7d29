//! A scan of a tree that has not changed opens no file and no folder. Alone in its process, whose limit of open files
//! it takes away.
#![forbid(unsafe_code)]

use std::fs::File;
use std::sync::Arc;

use nix::sys::resource::{getrlimit, setrlimit, Resource};

mod project;
use project::Project;

#[test]
fn a_scan_without_changes_opens_nothing() {
    let project = Project::new(&[
        ("root/.gitignore", "made/\n"),
        (
            "root/app/__init__.py",
            "import a, helper, tool\nfrom tool import part\n",
        ),
        ("root/app/sub/.gitignore", "x.py\n"),
        ("root/app/sub/b.py", "import b\n"),
        ("root/helper.py", "import c\n"),
        ("site/tool/__init__.py", "def __getattr__(name): ...\n"),
    ]);
    for number in 0..200 {
        project.write(&format!("root/app/many/m{number}.py"), "import d\n");
    }
    project.settle();
    let mut scanner = project.scanner("app", &["root/app"]);
    let first = scanner.scan().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let opened = File::open(project.path("root/helper.py"));
    let second = scanner.scan();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert!(opened.is_err(), "files can be opened all the same");
    let second = second.unwrap();
    assert_eq!(second.problems, []);
    assert_eq!((second.files, second.parsed), (203, 0));
    assert!(Arc::ptr_eq(&first.imports, &second.imports));
}
