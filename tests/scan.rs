//! Scans of small trees on disk, through the public API alone.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::symlink;

use firehot::scan::{ScanError, Scanner, Severity};

mod project;
use project::{modules, Project};

fn app_of(files: &[(&str, &str)]) -> Vec<String> {
    let scan = Project::new(files).app();
    assert_eq!(scan.problems, []);
    modules(&scan.imports)
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn third_party_modules_are_found_with_their_places() {
    let project = Project::new(&[(
        "root/app/__init__.py",
        "\nif x:\n    import a.b as c  # why\n",
    )]);
    let scan = project.app();
    assert_eq!((scan.files, scan.parsed), (1, 1));
    let [import] = scan.imports.imports.as_slice() else {
        panic!("{:?}", scan.imports);
    };
    assert_eq!(import.module, "a.b");
    assert_eq!(import.names, strings(&[]));
    assert_eq!(import.sites.len(), 1);
    assert_eq!(import.sites[0].file, project.path("root/app/__init__.py"));
    assert_eq!(import.sites[0].line, 3);
    assert_eq!(import.sites[0].text, "import a.b as c  # why");
}

#[test]
fn the_package_does_not_own_names_that_only_begin_like_it() {
    assert_eq!(
        app_of(&[
            (
                "root/app/__init__.py",
                "import app.web, apptools, app_2\nfrom app import web\nfrom apptools.app import x"
            ),
            ("root/app/web.py", "import b"),
        ]),
        ["b", "apptools", "app_2", "apptools.app:x"]
    );
}

#[test]
fn ignored_files_are_left_out_without_a_repository_too() {
    let files = [
        ("root/.gitignore", "build/\n/app/made.py\n"),
        ("root/app/__init__.py", "import a"),
        ("root/app/made.py", "import b"),
        ("root/app/build/x.py", "import c"),
        ("root/app/sub/.gitignore", "*\n!kept.py\n"),
        ("root/app/sub/kept.py", "import d"),
        ("root/app/sub/lost.py", "import e"),
        ("root/app/.hidden/x.py", "import f"),
        ("root/app/.x.py", "import g"),
        ("root/app/.ignore", "seen.py"),
        ("root/app/seen.py", "import h"),
    ];
    assert_eq!(app_of(&files), ["a", "h", "d"]);
}

#[test]
fn an_ignored_module_is_read_when_it_is_imported() {
    let files = [
        ("root/.gitignore", "*_pb2.py\nmade/\n"),
        (
            "root/app/__init__.py",
            "from . import x_pb2\nimport app.made.z",
        ),
        ("root/app/x_pb2.py", "import a"),
        ("root/app/y_pb2.py", "import b"),
        ("root/app/made/__init__.py", "import c"),
        ("root/app/made/z.py", "import d"),
    ];
    assert_eq!(app_of(&files), ["a", "c", "d"]);
}

#[test]
fn a_root_that_is_ignored_itself_is_scanned_whole() {
    for rule in ["*\n", "app/\n", "/app\n", "root\n"] {
        let files = [
            (".gitignore", rule),
            ("root/.gitignore", rule),
            ("root/app/__init__.py", "import a"),
            ("root/app/sub/x.py", "import b"),
            ("root/app/node_modules/x.py", "import c"),
        ];
        assert_eq!(app_of(&files), ["a", "b"], "{rule}");
    }
}

#[test]
fn environments_and_caches_are_never_entered() {
    let files = [
        ("root/app/__init__.py", "import a"),
        ("root/app/.venv/lib/x.py", "import b"),
        ("root/app/env/pyvenv.cfg", ""),
        ("root/app/env/lib/x.py", "import c"),
        ("root/app/node_modules/x.py", "import d"),
        ("root/app/__pycache__/x.py", "import e"),
        ("root/app/site-packages/x.py", "import f"),
        ("root/app/dist-packages/x.py", "import g"),
    ];
    assert_eq!(app_of(&files), ["a"]);
}

#[test]
fn an_environment_inside_the_root_stays_third_party() {
    let project = Project::new(&[
        ("root/app/__init__.py", "import tool, helper"),
        ("root/helper.py", "import a"),
        ("root/.venv/lib/site-packages/tool/__init__.py", "import b"),
    ]);
    let mut request = project.request("app", &["root/app"]);
    let site = project.path("root/.venv/lib/site-packages");
    request.sys_path.push(site.clone());
    request.site_folders.push(site);
    let scan = Scanner::new(request).scan().unwrap();
    assert_eq!(modules(&scan.imports), ["tool", "a"]);
}

#[test]
fn links_are_followed_and_loops_survived() {
    let project = Project::new(&[
        ("root/app/__init__.py", "import a"),
        ("root/app/one/x.py", "import b"),
        ("root/app/two/y.py", "import c"),
        ("elsewhere/z.py", "import d"),
        ("elsewhere/deep/w.py", "import e"),
    ]);
    for (target, link) in [
        ("root/app", "root/app/loop"),
        ("root", "root/app/one/up"),
        ("root/app/two", "root/app/one/two"),
        ("root/app/one", "root/app/two/one"),
        ("elsewhere", "root/app/away"),
        ("elsewhere/deep", "root/app/away_again"),
        ("root/app/one/x.py", "root/app/twice.py"),
        ("nowhere", "root/app/broken.py"),
    ] {
        symlink(project.path(target), project.path(link)).unwrap();
    }
    symlink("/", project.path("root/app/disk")).unwrap();
    let scan = project.app();
    assert_eq!(scan.problems, []);
    assert_eq!(scan.files, 5);
    let mut found = modules(&scan.imports);
    found.sort();
    assert_eq!(found, ["a", "b", "c", "d", "e"]);
    let files: Vec<_> = scan
        .imports
        .imports
        .iter()
        .map(|import| &import.sites[0].file)
        .collect();
    assert!(
        files.contains(&&project.path("root/app/one/x.py")),
        "{files:?}"
    );
}

#[test]
fn a_linked_package_is_scanned() {
    let project = Project::new(&[
        ("elsewhere/app/__init__.py", "import a"),
        ("root/b.py", "import c"),
    ]);
    project.write("elsewhere/app/x.py", "import b");
    symlink(project.path("elsewhere/app"), project.path("root/app")).unwrap();
    assert_eq!(modules(&project.app().imports), ["a", "c"]);
}

#[test]
fn a_namespace_package_has_all_its_portions_scanned() {
    let project = Project::new(&[
        ("root/ns/one/__init__.py", "import a, ns.two"),
        ("more/ns/two.py", "import b"),
        ("site/ns/three.py", "import c"),
    ]);
    let mut request = project.request("ns", &["root/ns", "more/ns"]);
    request.sys_path.push(project.path("more"));
    let scan = Scanner::new(request).scan().unwrap();
    assert_eq!(modules(&scan.imports), ["b", "a"]);
}

#[test]
fn a_package_in_a_shared_namespace_owns_only_its_part() {
    let project = Project::new(&[
        (
            "root/ns/mine/__init__.py",
            "import ns.theirs, ns.ours\nfrom ns import theirs, ours, absent",
        ),
        ("root/ns/ours.py", "import a"),
        ("site/ns/theirs/__init__.py", "import b"),
    ]);
    let scan = project.scan("ns.mine", &["root/ns/mine"]);
    assert_eq!(modules(&scan.imports), ["ns.theirs", "a", "ns:theirs"]);
}

#[test]
fn a_dotted_package_reaches_its_neighbours_only_by_import() {
    let project = Project::new(&[
        ("root/app/__init__.py", "import a"),
        (
            "root/app/web/__init__.py",
            "from ..core import x\nfrom .. import used",
        ),
        ("root/app/core/__init__.py", "import b"),
        ("root/app/core/inner.py", "import c"),
        ("root/app/used.py", "import d"),
        ("root/app/unused.py", "import e"),
    ]);
    let scan = project.scan("app.web", &["root/app/web"]);
    assert_eq!(modules(&scan.imports), ["a", "b", "d", "c"]);
}

#[test]
fn a_single_file_is_a_package_too() {
    let project = Project::new(&[
        ("root/tool.py", "import a, other"),
        ("root/other.py", "import b"),
        ("root/unrelated.py", "import c"),
    ]);
    let scan = project.scan("tool", &["root/tool.py"]);
    assert_eq!(modules(&scan.imports), ["a", "b"]);
    assert_eq!(scan.files, 2);
}

#[test]
fn modules_beside_the_package_are_first_party_and_followed() {
    let files = [
        ("root/app/__init__.py", "import helper, tests.util"),
        ("root/helper.py", "import a, further"),
        ("root/further.py", "import b"),
        ("root/unreached.py", "import c"),
        ("root/tests/__init__.py", ""),
        ("root/tests/util.py", "from . import deep\nimport d"),
        ("root/tests/deep.py", "import e"),
        ("root/tests/beside.py", "import f"),
    ];
    assert_eq!(app_of(&files), ["a", "b", "e", "d", "f"]);
}

#[test]
fn a_package_among_distributions_owns_only_itself() {
    let project = Project::new(&[
        ("site/.gitignore", "*"),
        ("site/app/__init__.py", "import app.inner, neighbour"),
        ("site/app/inner.py", "import a"),
        ("site/app/.hidden.py", "import b"),
        ("site/neighbour.py", "import c"),
    ]);
    let scan = project.scan("app", &["site/app"]);
    assert_eq!(modules(&scan.imports), ["a", "neighbour"]);
}

#[test]
fn more_names_can_be_made_first_party_and_are_scanned() {
    let project = Project::new(&[
        ("root/app/__init__.py", "import plug.a, plugs"),
        ("site/plug/__init__.py", "import b"),
        ("site/plug/a.py", "import c"),
        ("site/plugs.py", "import d"),
        ("site/solo.py", "import e"),
    ]);
    let mut request = project.request("app", &["root/app"]);
    request.first_party = strings(&["plug", "solo", "absent"]);
    let scan = Scanner::new(request).scan().unwrap();
    assert_eq!(modules(&scan.imports), ["b", "c", "plugs", "e"]);
}

#[test]
fn some_modules_are_never_preloaded() {
    let project = Project::new(&[
        (
            "root/app/__init__.py",
            "from __future__ import x\nimport __main__, this, antigravity, idlelib.x, test.support, \
             a, a.b, c.d, c, cc\nfrom c import d, e\nif TYPE_CHECKING:\n    import g\nelse:\n    import h\n",
        ),
        ("lib/this.py", ""),
        ("lib/test/__init__.py", ""),
    ]);
    let mut request = project.request("app", &["root/app"]);
    request.ignored = strings(&["a", "c.d"]);
    let scan = Scanner::new(request).scan().unwrap();
    assert_eq!(modules(&scan.imports), ["c", "cc", "c:e", "h"]);
}

#[test]
fn a_distribution_named_test_is_no_part_of_the_standard_library() {
    let project = Project::new(&[
        ("root/app/__init__.py", "import test.a, this"),
        ("site/test/__init__.py", ""),
        ("root/this.py", "import b"),
    ]);
    assert_eq!(modules(&project.app().imports), ["test.a", "b"]);
}

#[test]
fn preload_comes_first_and_never_holds_user_code() {
    let project = Project::new(&[
        ("root/app/__init__.py", "import a, z"),
        ("root/mine.py", ""),
    ]);
    let mut request = project.request("app", &["root/app"]);
    request.preload = strings(&["z", "app", "mine", "y", "x.w"]);
    request.ignored = strings(&["x"]);
    let scan = Scanner::new(request).scan().unwrap();
    assert_eq!(modules(&scan.imports), ["z", "y", "a"]);
    assert_eq!(scan.imports.imports[0].sites, []);
    assert_eq!(scan.imports.imports[0].severity(), Severity::Warn);
}

#[test]
fn the_order_is_that_of_a_cold_start() {
    let files = [
        (
            "root/app/__init__.py",
            "import a\nfrom .late import x\nimport b\ndef f():\n    import m\nclass C:\n    import c\n",
        ),
        ("root/app/aa.py", "import d\ndef f():\n    import a, n\n"),
        ("root/app/late.py", "from app.sub import deep, missing\nimport e\ntry:\n    import f\nfinally:\n    pass\n"),
        ("root/app/sub/__init__.py", "import g\nfrom app import late"),
        ("root/app/sub/deep.py", "import h\nif __name__ == '__main__':\n    import o\n"),
    ];
    let expected = ["a", "g", "h", "e", "f", "b", "c", "d", "m", "o", "n"];
    assert_eq!(app_of(&files), expected);
    assert_eq!(app_of(&files), expected);
}

#[test]
fn a_very_long_chain_of_modules_is_followed() {
    let project = Project::new(&[("root/app/__init__.py", "from . import m0")]);
    for number in 0..3000 {
        let text = format!("from . import m{}\nimport t{number}\n", number + 1);
        project.write(&format!("root/app/m{number}.py"), text);
    }
    let found = modules(&project.app().imports);
    assert_eq!(found.len(), 3000);
    assert_eq!(found[0], "t2999");
}

#[test]
fn names_that_are_surely_attributes_do_not_count() {
    let project = Project::new(&[
        (
            "root/app/__init__.py",
            "from file import A\nfrom native import A\nfrom pack import A, sub, folder, made\nfrom pack import *\n\
             from dynamic import A\nfrom gone import A\nfrom sys import A\nfrom pack.sub import A",
        ),
        ("site/file.py", ""),
        ("site/native.cpython-311-x86_64-linux-gnu.so", ""),
        ("site/pack/__init__.py", ""),
        ("site/pack/sub.py", ""),
        ("site/pack/folder/data.txt", ""),
        ("site/pack/made.abi3.so", ""),
        ("site/dynamic/__init__.py", "def __getattr__(name): ..."),
    ]);
    assert_eq!(
        modules(&project.app().imports),
        [
            "file",
            "native",
            "pack:sub,folder,made",
            "pack:*",
            "dynamic:A",
            "gone:A",
            "sys",
            "pack.sub"
        ]
    );
}

#[test]
fn the_interpreters_own_search_order_decides_whose_a_name_is() {
    let files = [
        ("root/app/__init__.py", "import sys, both, os, data, xml"),
        ("root/sys.py", "import a"),
        ("root/both.py", "import b"),
        ("site/both.py", ""),
        // Folders without `__init__` come last, wherever they are.
        ("root/data/x.txt", ""),
        ("site/data/__init__.py", ""),
        ("root/os/x.py", "import c"),
        ("root/xml/x.py", "import d"),
    ];
    assert_eq!(app_of(&files), ["sys", "b", "os", "data", "d"]);
}

#[test]
fn failures_that_a_cold_start_survives_are_told_quietly() {
    let project = Project::new(&[(
        "root/app/__init__.py",
        "import a\ntry:\n    import a, b, c\nexcept ImportError:\n    import d\ndef f():\n    import e, c\n\
         if sys.platform == 'win32':\n    import f\nimport c\n",
    )]);
    let scan = project.app();
    let quiet: Vec<_> = scan
        .imports
        .imports
        .iter()
        .filter(|import| import.severity() == Severity::Info)
        .map(|import| import.module.as_str())
        .collect();
    assert_eq!(quiet, ["b", "d", "f", "e"]);
}

#[test]
fn every_encoding_is_read() {
    let project = Project::new(&[("root/app/__init__.py", "")]);
    project.write("root/app/bom.py", b"\xef\xbb\xbfimport a\n");
    project.write(
        "root/app/latin.py",
        b"# -*- coding: latin-1 -*-\n'\xe9'\nimport b\n",
    );
    project.write(
        "root/app/new.py",
        "f'{x['a']}' f'{'\\n'}'\nimport c\ntype X[T = int] = T\nlazy import d\n",
    );
    let scan = project.app();
    assert_eq!(scan.problems, []);
    assert_eq!(modules(&scan.imports), ["a", "b", "c", "d"]);
}

#[test]
fn broken_files_are_told_and_read_as_far_as_possible() {
    let project = Project::new(&[("root/app/__init__.py", "")]);
    project.write("root/app/a.py", "import a\nx = (1,\nimport b\n");
    project.write("root/app/b.py", b"import c\n'\xff'\nimport d\n");
    project.write("root/app/c.py", "import e\nfrom x import\nimport f\n");
    let scan = project.app();
    let told: Vec<_> = scan
        .problems
        .iter()
        .map(|problem| {
            (
                problem.file.file_name().unwrap().to_str().unwrap(),
                problem.line,
            )
        })
        .collect();
    assert_eq!(
        told,
        [("a.py", Some(2)), ("b.py", Some(2)), ("c.py", Some(2))]
    );
    assert_eq!(modules(&scan.imports), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn a_file_with_an_open_string_keeps_its_last_good_imports() {
    let project = Project::new(&[("root/app/__init__.py", "import a\n")]);
    let mut scanner = project.scanner("app", &["root/app"]);
    scanner.scan().unwrap();
    project.write(
        "root/app/__init__.py",
        "'''\nimport a\n'''\n'''\nimport b\n",
    );
    for _ in 0..2 {
        let scan = scanner.scan().unwrap();
        assert_eq!(modules(&scan.imports), ["a"]);
        assert_eq!(scan.problems.len(), 1, "{:?}", scan.problems);
        assert_eq!(scan.problems[0].line, Some(4));
    }
    project.write("root/app/__init__.py", "import b\n");
    let scan = scanner.scan().unwrap();
    assert_eq!(modules(&scan.imports), ["b"]);
    assert_eq!(scan.problems, []);
}

#[test]
fn a_second_scan_parses_only_what_changed() {
    let project = Project::new(&[
        ("root/app/__init__.py", "import a\n"),
        ("root/app/b.py", "import b\n"),
        ("root/app/c.py", "import c\n"),
    ]);
    let mut scanner = project.scanner("app", &["root/app"]);
    let first = scanner.scan().unwrap();
    assert_eq!((first.files, first.parsed), (3, 3));
    let second = scanner.scan().unwrap();
    assert_eq!((second.files, second.parsed), (3, 0));
    assert_eq!(first.imports, second.imports);
    // The same size, and maybe the same time.
    project.write("root/app/b.py", "import d\n");
    let third = scanner.scan().unwrap();
    assert_eq!((third.files, third.parsed), (3, 1));
    assert_eq!(modules(&third.imports), ["a", "d", "c"]);
    assert_ne!(first.imports.key(), third.imports.key());
    fs::remove_file(project.path("root/app/c.py")).unwrap();
    let fourth = scanner.scan().unwrap();
    assert_eq!((fourth.files, fourth.parsed), (2, 0));
    assert_eq!(modules(&fourth.imports), ["a", "d"]);
    project.write("root/app/c.py", "'''\n");
    assert_eq!(modules(&scanner.scan().unwrap().imports), ["a", "d"]);
}

#[test]
fn moving_an_import_does_not_change_the_key() {
    let one = Project::new(&[(
        "root/app/__init__.py",
        "import a\nfrom b import c\nimport a\n",
    )])
    .app();
    let two = Project::new(&[("root/app/x.py", "\n\nfrom b import c\nimport a, b\n")]).app();
    assert_eq!(one.imports.key(), two.imports.key());
    let three = Project::new(&[("root/app/x.py", "from b import c, d\nimport a, b\n")]).app();
    assert_ne!(one.imports.key(), three.imports.key());
}

#[test]
fn a_missing_location_is_an_error_only_when_there_is_no_other() {
    let project = Project::new(&[("root/ns/a.py", "import a")]);
    let mut scanner = project.scanner("ns", &["root/ns", "gone/ns"]);
    let scan = scanner.scan().unwrap();
    assert_eq!(modules(&scan.imports), ["a"]);
    assert_eq!(scan.problems.len(), 1);
    assert_eq!(scan.problems[0].file, project.path("gone/ns"));
    fs::remove_dir_all(project.path("root/ns")).unwrap();
    let error = scanner.scan().unwrap_err();
    assert!(matches!(error, ScanError::Unreadable { .. }), "{error}");
    project.write("root/ns/a.py", "import b");
    assert_eq!(modules(&scanner.scan().unwrap().imports), ["b"]);
    let error = project.scanner("ns", &[]).scan().unwrap_err();
    assert!(matches!(error, ScanError::NoLocation { .. }), "{error}");
}

#[test]
fn a_pipe_with_a_source_files_name_blocks_nothing() {
    let project = Project::new(&[("root/app/__init__.py", "import a")]);
    let pipe = project.path("root/app/pipe.py");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(modules(&project.app().imports), ["a"]);
}

#[test]
fn a_thousand_import_lines_are_read() {
    let mut text = String::new();
    for number in 0..1000 {
        text.push_str(&format!("import m{number}\n"));
    }
    let project = Project::new(&[("root/app/__init__.py", text.as_str())]);
    let scan = project.app();
    assert_eq!(scan.imports.imports.len(), 1000);
    assert_eq!(scan.imports.imports[999].sites[0].line, 1000);
}

#[test]
fn a_neighbour_found_by_a_hook_alone_is_still_user_code() {
    let project = Project::new(&[
        ("src/app/__init__.py", "import beside"),
        ("src/beside/__init__.py", "import a"),
    ]);
    let scan = project.scan("app", &["src/app"]);
    assert_eq!(modules(&scan.imports), ["a"]);
}

#[test]
fn a_script_folder_inside_the_package_does_not_make_it_foreign() {
    let project = Project::new(&[
        ("root/app/__init__.py", ""),
        ("root/app/main.py", "import part"),
        ("root/app/part.py", "import a"),
    ]);
    let mut request = project.request("app", &["root/app"]);
    request.sys_path.insert(0, project.path("root/app"));
    let scan = Scanner::new(request).scan().unwrap();
    assert_eq!(modules(&scan.imports), ["a"]);
}

#[test]
fn files_that_no_import_can_name_are_read_too() {
    let project = Project::new(&[
        ("root/app/__init__.py", ""),
        ("root/app/my-script.py", "from . import x\nimport a"),
        ("root/app/window.pyw", "import b"),
        ("root/app/notes.txt", "import c"),
    ]);
    assert_eq!(modules(&project.app().imports), ["a", "b"]);
}

#[test]
fn the_projects_own_modules_are_told_with_what_their_import_runs() {
    let project = Project::new(&[
        ("root/app/__init__.py", "from .core import run\n"),
        ("root/app/core.py", "import os\nimport thing\nfrom app import fast, base, Missing\ndef f():\n    import app.late\n"),
        ("root/app/base.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import app.core\n"),
        ("root/app/late.py", "try:\n    from other.deep import x\nexcept ImportError:\n    pass\n"),
        ("root/app/fast.cpython-311-x86_64-linux-gnu.so", ""),
        ("root/other/deep.py", ""),
        ("site/thing.py", ""),
    ]);
    let scanner = || project.scanner("app", &["root/app"]);
    assert_eq!(scanner().scan().unwrap().own, None);
    let own = scanner()
        .with_own_modules(true)
        .scan()
        .unwrap()
        .own
        .unwrap();
    let shown: Vec<String> = own
        .0
        .iter()
        .map(|(name, module)| {
            let file = module.file.file_name().unwrap().to_str().unwrap();
            let mark = if module.is_opaque { "!" } else { "" };
            format!("{name}{mark} ({file}): {}", module.imports.join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "app (__init__.py): app.core",
            "app.base (base.py): app",
            "app.core (core.py): app app.fast app.base",
            "app.fast! (fast.cpython-311-x86_64-linux-gnu.so): ",
            "app.late (late.py): app other.deep",
            "other.deep (deep.py): ",
        ]
    );
}
