//! A small tree on disk to scan, for the tests of scans.
#![forbid(unsafe_code)]
#![allow(dead_code)] // Not every test needs all of it.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use firehot::scan::{ImportSet, Scan, ScanRequest, Scanner};
use tempfile::TempDir;

/// A project's folder (on the search path), and a folder of installed distributions beside it.
pub struct Project {
    pub folder: TempDir,
}

impl Project {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let project = Self {
            folder: TempDir::new().unwrap(),
        };
        for name in ["root", "site", "lib"] {
            fs::create_dir(project.path(name)).unwrap();
        }
        project.write("lib/os.py", "");
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Waits until the stamps of all that was written can be trusted: what is younger than two seconds may change
    /// again without a new one.
    pub fn settle(&self) {
        thread::sleep(Duration::from_millis(3100));
    }

    pub fn request(&self, package: &str, locations: &[&str]) -> ScanRequest {
        ScanRequest {
            package: package.to_owned(),
            locations: locations.iter().map(|path| self.path(path)).collect(),
            sys_path: vec![self.path("root"), self.path("lib"), self.path("site")],
            site_folders: vec![self.path("lib"), self.path("site")],
            builtin_modules: vec!["sys".to_owned()],
            stdlib_modules: vec!["sys".to_owned(), "os".to_owned()],
            ..ScanRequest::default()
        }
    }

    pub fn scanner(&self, package: &str, locations: &[&str]) -> Scanner {
        Scanner::new(self.request(package, locations))
    }

    pub fn scan(&self, package: &str, locations: &[&str]) -> Scan {
        self.scanner(package, locations).scan().unwrap()
    }

    pub fn app(&self) -> Scan {
        self.scan("app", &["root/app"])
    }
}

pub fn modules(set: &ImportSet) -> Vec<String> {
    set.imports
        .iter()
        .map(|import| match import.names.as_slice() {
            [] => import.module.clone(),
            names => format!("{}:{}", import.module, names.join(",")),
        })
        .collect()
}
