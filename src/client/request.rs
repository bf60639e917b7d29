//! What a client says to a daemon, as frames. Knows the command, not how it is run.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::surroundings::{blocked, file_mode_mask, Surroundings};
use super::PROTOCOL;
use crate::protocol::message::encode;

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A script, a folder or an archive with a `__main__`.
    Script,
    /// `-m`.
    Module,
    /// `-c`.
    Code,
    /// `pkg.mod:function`.
    Function,
}

/// A program, and the interpreter that it is for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The interpreter.
    pub executable: PathBuf,
    /// Its `sys.prefix`: which virtual environment it is.
    pub prefix: PathBuf,
    /// The folder of firehot.
    pub package: PathBuf,
    /// What the target is.
    pub kind: Kind,
    /// The script as given, the module, "-c", or module and function.
    pub target: OsString,
    /// The text of `-c`.
    pub code: Vec<u8>,
    /// What follows the target.
    pub args: Vec<OsString>,
    /// Python's own options.
    pub options: Vec<OsString>,
    /// All that stood behind `python`, as it was typed; nothing where python has no such words for it.
    pub words: Vec<OsString>,
    /// `sys.path` without the script's folder; nothing where the options change it.
    pub path: Vec<OsString>,
    /// The command: "run", "debugpy", "pytest", "shell".
    pub asked: String,
    /// When what it is run for was saved, in seconds since 1970, where it says how long after that it began.
    pub saved: Option<f64>,
    /// The signals that are ignored here.
    pub ignored: Vec<i32>,
    /// Which build of firehot this is.
    pub build: String,
    /// The descriptors above the standard ones that the program would inherit.
    pub descriptors: Vec<RawFd>,
}

#[derive(Serialize)]
struct Hello<'r> {
    r#type: &'static str,
    protocol: u32,
    firehot: &'static str,
    build: &'r str,
}

#[derive(Serialize)]
struct Run<'r> {
    r#type: &'static str,
    kind: Kind,
    options: Vec<String>,
    umask: u32,
    ignored: &'r [i32],
    blocked: Vec<i32>,
    #[serde(flatten)]
    surroundings: Surroundings,
    terminal: Option<String>,
    asked: &'r str,
    saved: Option<f64>,
    descriptors: &'r [RawFd],
    sections: Vec<(&'static str, usize)>,
}

/// The first frame of every connection.
pub(super) fn hello(build: &str) -> Vec<u8> {
    let hello = Hello {
        r#type: "hello",
        protocol: PROTOCOL,
        firehot: env!("CARGO_PKG_VERSION"),
        build,
    };
    // The header is far below its cap.
    encode(&hello, 0).unwrap_or_default()
}

impl Request {
    /// The script's path, if its folder says which project it belongs to; that of pytest is the interpreter's.
    #[must_use]
    pub fn script(&self) -> Option<&Path> {
        let is_own = self.kind == Kind::Script && self.asked != "pytest";
        is_own.then(|| Path::new(&self.target))
    }

    /// Both frames of `run`, of which the first says who asks.
    ///
    /// # Errors
    /// Why it can't be said.
    pub(super) fn frames(&self, terminal: Option<&Path>) -> Result<Vec<u8>, String> {
        self.asking("run", terminal)
    }

    /// Both frames of a question about the program (`warm`), of which the first says who asks.
    ///
    /// # Errors
    /// Why it can't be said.
    pub fn question(&self, kind: &'static str) -> Result<Vec<u8>, String> {
        self.asking(kind, None)
    }

    fn asking(&self, kind: &'static str, terminal: Option<&Path>) -> Result<Vec<u8>, String> {
        let cwd = std::env::current_dir()
            .map_err(|error| format!("the working directory can't be found: {error}"))?;
        let mut body = Body::default();
        body.add("target", [self.target.as_bytes()]);
        body.add("code", [self.code.as_slice()]);
        body.add("cwd", [cwd.as_os_str().as_bytes()]);
        body.add("args", self.args.iter().map(|arg| arg.as_bytes()));
        body.add("words", self.words.iter().map(|word| word.as_bytes()));
        body.add_variables();
        body.add("path", self.path.iter().map(|entry| entry.as_bytes()));
        body.add("executable", [self.executable.as_os_str().as_bytes()]);
        if body.broken {
            return Err("the code holds a NUL character".into());
        }
        let options = self.options.iter().map(|option| text(option)).collect();
        let header = Run {
            r#type: kind,
            kind: self.kind,
            options,
            umask: file_mode_mask(),
            ignored: &self.ignored,
            blocked: blocked(),
            surroundings: Surroundings::now(),
            terminal: terminal.map(|name| name.display().to_string()),
            asked: &self.asked,
            saved: self.saved,
            descriptors: &self.descriptors,
            sections: body.sections,
        };
        let mut bytes = hello(&self.build);
        bytes.extend(encode(&header, body.bytes.len()).map_err(|error| error.to_string())?);
        bytes.extend(body.bytes);
        Ok(bytes)
    }

    /// The command that runs it with nothing of firehot.
    #[must_use]
    pub fn cold_command(&self) -> Vec<OsString> {
        let mut command = vec![self.executable.clone().into_os_string()];
        if !self.words.is_empty() {
            command.extend(self.words.iter().cloned());
            return command;
        }
        command.extend(self.options.iter().cloned());
        match self.kind {
            Kind::Script => command.push(self.target.clone()),
            Kind::Module => command.extend(["-m".into(), self.target.clone()]),
            Kind::Code => command.extend(["-c".into(), OsString::from_vec(self.code.clone())]),
            Kind::Function => command.extend(["-c".into(), self.call()]),
        }
        command.extend(self.args.iter().cloned());
        command
    }

    /// A program that calls the function.
    fn call(&self) -> OsString {
        let target = text(&self.target);
        let (module, function) = target.split_once(':').unwrap_or((&target, "main"));
        format!(
            "import sys; sys.argv[0] = '{target}'; from importlib import import_module as m; \
             sys.exit(m('{module}').{function}())"
        )
        .into()
    }
}

fn text(given: &OsStr) -> String {
    given.to_string_lossy().into_owned()
}

/// Strings, each with a NUL behind it, in named sections.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    sections: Vec<(&'static str, usize)>,
    /// A string had a NUL in it.
    broken: bool,
}

impl Body {
    fn add<'s>(&mut self, section: &'static str, strings: impl IntoIterator<Item = &'s [u8]>) {
        let mut count = 0;
        for string in strings {
            self.broken |= string.contains(&0);
            self.bytes.extend(string);
            self.bytes.push(0);
            count += 1;
        }
        self.sections.push((section, count));
    }

    /// The whole environment, `NAME=VALUE`.
    fn add_variables(&mut self) {
        let mut count = 0;
        for (name, value) in std::env::vars_os() {
            self.bytes.extend(name.as_bytes());
            self.bytes.push(b'=');
            self.bytes.extend(value.as_bytes());
            self.bytes.push(0);
            count += 1;
        }
        self.sections.push(("environ", count));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::protocol::frame::Decoder;

    /// A request for something that nobody runs.
    pub(in crate::client) fn request(kind: Kind, target: &str, args: &[&str]) -> Request {
        Request {
            executable: "/usr/bin/python".into(),
            prefix: "/usr".into(),
            package: "/nowhere/firehot".into(),
            kind,
            target: target.into(),
            code: b"pass".to_vec(),
            args: args.iter().map(OsString::from).collect(),
            options: vec!["-X".into(), "dev".into()],
            words: Vec::new(),
            path: vec!["/a".into(), OsString::from_vec(vec![b'/', 0xff])],
            asked: "run".into(),
            saved: None,
            ignored: vec![1],
            build: "0+0+0".into(),
            descriptors: Vec::new(),
        }
    }

    #[test]
    fn the_cold_twin_is_what_a_user_would_have_typed() {
        let command = |kind, target| {
            let whole = request(kind, target, &["-v", "x"]).cold_command();
            let words: Vec<String> = whole.iter().skip(3).map(|word| text(word)).collect();
            words.join(" ")
        };
        assert_eq!(command(Kind::Script, "a b.py"), "a b.py -v x");
        assert_eq!(command(Kind::Module, "pkg.mod"), "-m pkg.mod -v x");
        assert_eq!(command(Kind::Code, "-c"), "-c pass -v x");
        let call = command(Kind::Function, "pkg.mod:run");
        assert!(call.contains("sys.argv[0] = 'pkg.mod:run'"), "{call}");
        assert!(
            call.ends_with("sys.exit(m('pkg.mod').run()) -v x"),
            "{call}"
        );
        let mut typed = request(Kind::Module, "pkg.mod", &["x"]);
        typed.words = ["-BXdev", "-mpkg.mod", "x"].map(OsString::from).to_vec();
        assert_eq!(typed.cold_command()[1..], typed.words);
    }

    #[test]
    fn the_body_holds_every_string_of_every_section() {
        let bytes = request(Kind::Script, "x.py", &["", "two words"])
            .frames(Some("/dev/pts/7".as_ref()))
            .unwrap();
        let mut decoder = Decoder::default();
        let mut input = bytes.as_slice();
        let hello = decoder.next(&mut input).unwrap().unwrap();
        assert!(hello
            .header
            .starts_with(b"{\"type\":\"hello\",\"protocol\":1"));
        let run = decoder.next(&mut input).unwrap().unwrap();
        let header: serde_json::Value = serde_json::from_slice(&run.header).unwrap();
        assert_eq!(header["terminal"], "/dev/pts/7");
        assert_eq!(header["options"], serde_json::json!(["-X", "dev"]));
        assert!(header["limits"]["RLIMIT_NOFILE"][0].is_i64());
        let strings: Vec<&[u8]> = run.body.split(|byte| *byte == 0).collect();
        let mut at = 0;
        let mut found = std::collections::BTreeMap::new();
        for section in header["sections"].as_array().unwrap() {
            let count = usize::try_from(section[1].as_u64().unwrap()).unwrap();
            let name = section[0].as_str().unwrap().to_owned();
            found.insert(name, strings[at..at + count].to_vec());
            at += count;
        }
        // Behind the last NUL is nothing.
        assert_eq!(at + 1, strings.len());
        assert_eq!(found["args"], [&b""[..], b"two words"]);
        assert_eq!(found["path"], [&b"/a"[..], b"/\xff"]);
        assert_eq!(found["environ"].len(), std::env::vars_os().count());
    }
}
