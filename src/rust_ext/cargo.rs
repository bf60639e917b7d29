//! Runs cargo and reads what it says. Decides nothing about when.
//!
//! cargo's own progress, and rustc's diagnostics as they come, go to the screen at once; diagnostics are kept as well, for
//! the error. What is no message of cargo's (a procedural macro that prints) goes to the screen as it is.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;

use super::error::BuildError;
use super::heard::{listen, listen_to_text, Heard, Said};
use super::sources::home_of;
use super::{Interpreter, Settings};

const OLDEST: &str = "MACOSX_DEPLOYMENT_TARGET";
const ATTENTION: Duration = Duration::from_millis(50);

/// Where a build is watched, and where it can be given up.
pub trait Screen {
    /// Shows what cargo and rustc say, with the colours of a terminal where this is one.
    fn show(&self, text: &[u8]);
    /// How wide the terminal is; none where there is none, and then nothing is coloured and no progress is shown.
    fn width(&self) -> Option<u16>;
    /// Whether the one who waits has had enough (Ctrl-C).
    fn is_over(&self) -> bool;
}

/// One run.
pub(super) struct Run<'a> {
    pub(super) cargo: &'a Path,
    pub(super) manifest: &'a Path,
    pub(super) target: &'a Path,
    pub(super) place: &'a Path,
    pub(super) cwd: &'a Path,
    pub(super) interpreter: &'a Interpreter,
    pub(super) settings: &'a Settings,
    /// Arguments that the project asks for itself.
    pub(super) own_arguments: &'a [String],
    /// The oldest macOS that the project wants to be built for.
    pub(super) oldest: Option<&'a str>,
    /// What only the library itself is compiled with.
    pub(super) rustc_arguments: &'a [String],
    /// Warnings that were shown by earlier runs: cargo repeats those of what it does not build anew.
    pub(super) shown: HashSet<u64>,
}

/// What came of it.
pub(super) struct Outcome {
    /// The extension module, where cargo has put it.
    pub(super) artifact: PathBuf,
    /// cargo has built it before, and saw nothing to do.
    pub(super) is_old: bool,
    /// The warnings, as a terminal shows them.
    pub(super) warnings: String,
    pub(super) shown: Vec<u64>,
}

/// The cargo to use: an embedding host may have no PATH.
pub(super) fn find(settings: &Settings) -> Option<PathBuf> {
    if let Some(named) = &settings.cargo {
        return Some(named.clone());
    }
    let named = env::var_os("CARGO").filter(|value| !value.is_empty());
    let path = env::var_os("PATH").unwrap_or_default();
    let mut all = named.map(PathBuf::from).into_iter().chain(
        env::split_paths(&path)
            .chain(home_of("CARGO_HOME", ".cargo").map(|home| home.join("bin")))
            .chain(env::home_dir().map(|home| home.join(".cargo/bin")))
            .map(|folder| folder.join("cargo")),
    );
    all.find(|file| is_program(file))
}

pub(super) fn is_program(file: &Path) -> bool {
    let found = file.metadata();
    file.is_absolute()
        && found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

impl Run<'_> {
    /// Builds, and waits for the end.
    pub(super) fn go(self, screen: &dyn Screen) -> Result<Outcome, BuildError> {
        let mut child = self
            .command(screen)
            .spawn()
            .map_err(|source| BuildError::Spawn {
                cargo: self.cargo.to_owned(),
                source,
            })?;
        let said = listen(&mut child);
        let mut heard = Heard {
            shown: self.shown.clone(),
            ..Heard::default()
        };
        heed(&mut child, &said, &mut heard, self.manifest, screen)?;
        match child.wait() {
            Ok(status) => self.judge(status, heard),
            Err(source) => Err(BuildError::Spawn {
                cargo: self.cargo.to_owned(),
                source,
            }),
        }
    }

    fn judge(&self, status: ExitStatus, heard: Heard) -> Result<Outcome, BuildError> {
        if !status.success() {
            let tail = String::from_utf8_lossy(&heard.tail).into_owned();
            // Where rustc has said why, cargo only counts errors.
            let diagnostics = if heard.errors.is_empty() {
                tail
            } else {
                heard.errors
            };
            // Ended from outside, it has not come to say why: whoever is short of memory ends what builds.
            let is_silent = diagnostics.trim().is_empty() || status.signal().is_some();
            return Err(BuildError::Failed {
                place: self.place.to_owned(),
                is_of_sources: heard.is_of_sources == Some(true) && !is_silent,
                diagnostics: if is_silent {
                    format!("{diagnostics}cargo ended with {status}")
                } else {
                    diagnostics
                },
            });
        }
        let artifact = heard.artifact.ok_or_else(|| BuildError::NoArtifact {
            place: self.place.to_owned(),
        })?;
        Ok(Outcome {
            artifact,
            is_old: heard.is_old,
            warnings: heard.warnings,
            shown: heard.seen,
        })
    }

    /// What the project asks for, but for a profile where the settings name one: cargo takes it once.
    fn project_arguments(&self) -> impl Iterator<Item = &String> {
        let is_ours = self.settings.release || self.settings.profile.is_some();
        let at = self
            .own_arguments
            .iter()
            .position(|each| each == "--profile");
        let skipped = at.filter(|_| is_ours);
        let all = self.own_arguments.iter().enumerate();
        all.filter(move |(index, _)| skipped.is_none_or(|at| *index != at && *index != at + 1))
            .map(|(_, each)| each)
    }

    fn command(&self, screen: &dyn Screen) -> Command {
        let mut command = Command::new(self.cargo);
        command
            .current_dir(self.cwd)
            .args(["rustc", "--lib", "--message-format"])
            .arg(match screen.width() {
                Some(_) => "json-diagnostic-rendered-ansi",
                None => "json",
            })
            .arg("--manifest-path")
            .arg(self.manifest)
            .arg("--target-dir")
            .arg(self.target)
            .args(self.project_arguments())
            .args(self.settings.arguments());
        if let Some(jobs) = self.settings.jobs {
            command.arg("--jobs").arg(jobs.to_string());
        }
        command
            .arg("--")
            .args(self.rustc_arguments)
            .args(link_arguments());
        self.surround(&mut command, screen.width());
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The environment of a build: the same whoever asks for it, or cargo would build everything anew.
    fn surround(&self, command: &mut Command, width: Option<u16>) {
        let executable = &self.interpreter.executable;
        command
            .env("PYO3_PYTHON", executable)
            .env("PYTHON_SYS_EXECUTABLE", executable)
            .env("PYO3_BUILD_EXTENSION_MODULE", "1")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_BUILD_TARGET_DIR");
        for name in ["PYO3_ENVIRONMENT_SIGNATURE", "PYTHONHOME", "PYTHONPATH"] {
            command.env_remove(name);
        }
        // As maturin does; who sets the variable knows better.
        let oldest = self.oldest.filter(|_| cfg!(target_os = "macos"));
        if let Some(oldest) = oldest.filter(|_| env::var_os(OLDEST).is_none()) {
            command.env(OLDEST, oldest);
        }
        match width {
            Some(width) => command
                .env("CARGO_TERM_COLOR", "always")
                .env("CARGO_TERM_PROGRESS_WHEN", "always")
                .env("CARGO_TERM_PROGRESS_WIDTH", width.to_string()),
            None => command
                .env("CARGO_TERM_COLOR", "never")
                .env("CARGO_TERM_PROGRESS_WHEN", "never"),
        };
        add_path(command, self.cargo.parent());
    }
}

/// rustc and the linker are found by name, also where there is no PATH.
pub(super) fn add_path(command: &mut Command, bin: Option<&Path>) {
    let path =
        env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    let path = env::split_paths(&path).chain(bin.map(Path::to_owned));
    if let Ok(path) = env::join_paths(path) {
        command.env("PATH", path);
    }
}

/// Runs what speaks to people only; its last words are the error when it fails.
pub(super) fn run_for_text(
    mut command: Command,
    program: &Path,
    place: &Path,
    screen: &dyn Screen,
) -> Result<(), BuildError> {
    let failed = |source| BuildError::Spawn {
        cargo: program.to_owned(),
        source,
    };
    let mut child = command.spawn().map_err(failed)?;
    let said = listen_to_text(&mut child);
    let mut heard = Heard::default();
    heed(&mut child, &said, &mut heard, Path::new(""), screen)?;
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(BuildError::Failed {
        place: place.to_owned(),
        diagnostics: String::from_utf8_lossy(&heard.tail).into_owned(),
        is_of_sources: false,
    })
}

/// Hears to the end, or to that of the patience of the one who waits.
fn heed(
    child: &mut Child,
    said: &Receiver<Said>,
    heard: &mut Heard,
    manifest: &Path,
    screen: &dyn Screen,
) -> Result<(), BuildError> {
    loop {
        match said.recv_timeout(ATTENTION) {
            Ok(said) => heard.hear(said, manifest, screen),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if screen.is_over() {
            end(child);
            return Err(BuildError::Interrupted);
        }
    }
}

/// An extension module finds the interpreter's names when it is loaded: only macOS has to be told.
fn link_arguments() -> &'static [&'static str] {
    if cfg!(target_os = "macos") {
        &["-C", "link-arg=-undefined", "-C", "link-arg=dynamic_lookup"]
    } else {
        &[]
    }
}

/// Ends cargo with all that it has started: a compiler that goes on would keep its target folder locked.
fn end(child: &mut Child) {
    // It has ended by itself, at worst.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_of_the_settings_takes_the_place_of_the_projects() {
        let own = ["--features", "a", "--profile", "release", "--locked"].map(str::to_owned);
        let interpreter = Interpreter {
            executable: PathBuf::from("python"),
            suffix: String::new(),
            free_threaded: false,
            venv: None,
        };
        let with = |settings: &Settings| {
            let path = Path::new("/");
            let run = Run {
                cargo: path,
                manifest: path,
                target: path,
                place: path,
                cwd: path,
                interpreter: &interpreter,
                settings,
                own_arguments: &own,
                oldest: None,
                rustc_arguments: &[],
                shown: HashSet::new(),
            };
            run.project_arguments().cloned().collect::<Vec<_>>()
        };
        assert_eq!(with(&Settings::default()), own);
        let named = Settings {
            profile: Some("dev".to_owned()),
            ..Settings::default()
        };
        assert_eq!(with(&named), ["--features", "a", "--locked"]);
    }
}
