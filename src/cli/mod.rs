//! The arguments of the command `firehot`, as a typed command. Executes nothing; what a wrong one means is clap's.
//!
//! Every sub-command is a variant, so that whoever executes them can't forget one.
#![forbid(unsafe_code)]

mod daemon;
mod python;
mod rust;
mod serve;

use std::ffi::OsString;
use std::iter;

use clap::{CommandFactory, Parser, Subcommand};

pub use self::daemon::{
    Completion, ImportsArguments, PytestArguments, Report, RunArguments, Stop, Words,
};
pub use self::python::{read, Line, Target};
pub use self::rust::{CacheCommand, RustCommand, SiteCommand};
pub use self::serve::{GenerationArguments, Interface, ServeArguments};

/// Start large Python projects in milliseconds, while their code is being edited.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(
    name = "firehot",
    version,
    max_term_width = 80,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What the user wants.
#[derive(Debug, PartialEq, Eq, Subcommand)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub enum Command {
    /// Run a program as `python` does, with its imports done
    #[command(after_help = RUN_HELP, override_usage = "firehot run [--watch] [PYTHON OPTIONS] <PROGRAM> [ARGS]...")]
    Run(RunArguments),
    /// Run pytest with what tests and plug-ins import done
    Pytest(PytestArguments),
    /// Serve an ASGI or WSGI application, and each save of its code
    Serve(ServeArguments),
    /// One process of `firehot serve`, which starts it
    #[command(hide = true)]
    Generation(GenerationArguments),
    /// Open a Python prompt (IPython where it is installed)
    Shell,
    /// Build the template of a program before its first run
    #[command(
        after_help = "Starts the daemon where there is none, and waits. Exit status 1 if the template can't be\nbuilt."
    )]
    Warm(Words),
    /// Tell what is preloaded here, what it costs and who imports it
    Imports(ImportsArguments),
    /// Tell why the last runs were warm or cold
    Why(Report),
    /// Tell whether firehot is worth it here, and what stands in its way
    #[command(
        after_help = "Exit status 1 if something needs a hand. Where no template is there to look at, imports\nonce what the project's files import."
    )]
    Doctor(Report),
    /// List the daemons: project, process, memory, runs, seconds saved
    Status(Report),
    /// Stop the project's daemon, and what it runs
    Stop(Stop),
    /// Stop the project's daemon and start another one
    Restart,
    /// Print the log of the project's daemon
    Logs,
    /// Print a completion script for a shell
    Completion(Completion),
    /// Make, build and look after Rust extensions
    #[command(subcommand)]
    Rust(RustCommand),
}

const RUN_HELP: &str = "\
A PROGRAM is a script, a folder or an archive, `-m MODULE`, `-c CODE`, or
`package.module:function`. The first run of one is cold, and builds its template.";

/// The completion script for a shell.
#[must_use]
pub fn completion(shell: clap_complete::Shell) -> Vec<u8> {
    let whole = Arguments::command();
    // A script names what is hidden, too.
    let shown = whole.get_subcommands().filter(|one| !one.is_hide_set());
    let mut told = clap::Command::new("firehot")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .subcommands(shown.cloned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut told, "firehot", &mut script);
    script
}

/// There is nothing to execute: help or the version was asked for, or the arguments make no sense.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Answer(#[from] clap::Error);

impl Answer {
    /// Prints it: to stdout what was asked for, to stderr what is wrong, with colours on a terminal. Returns the exit
    /// status.
    #[must_use]
    pub fn print(&self) -> i32 {
        // A closed pipe: nobody reads it.
        let _ = self.0.print();
        self.0.exit_code()
    }
}

/// Reads the arguments behind the command's name.
///
/// # Errors
/// There is nothing to execute; see [`Answer`].
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Answer> {
    let whole = iter::once(OsString::from("firehot")).chain(arguments);
    Ok(Arguments::try_parse_from(whole)?.command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::path::PathBuf;

    fn parsed(line: &str) -> Result<Command, Answer> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn rust(line: &str) -> RustCommand {
        let Command::Rust(command) = parsed(&format!("rust {line}")).unwrap() else {
            panic!("{line}");
        };
        command
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn roots_are_the_working_directory_unless_they_are_named() {
        for (line, roots) in [
            ("build", vec!["."]),
            ("build a --release b", vec!["a", "b"]),
            ("build --jobs 2 -- --odd", vec!["--odd"]),
        ] {
            let RustCommand::Build { roots: found, .. } = rust(line) else {
                panic!("{line}");
            };
            let roots: Vec<PathBuf> = roots.into_iter().map(PathBuf::from).collect();
            assert_eq!(found, roots, "{line}");
        }
    }

    #[test]
    fn each_command_has_its_form() {
        for (line, command) in [
            (
                "new fast.rs",
                RustCommand::New {
                    path: "fast.rs".into(),
                    mixed: false,
                },
            ),
            (
                "build --release --force --jobs 3 x",
                RustCommand::Build {
                    roots: vec!["x".into()],
                    release: true,
                    force: true,
                    jobs: Some(3),
                },
            ),
            (
                "status --json",
                RustCommand::Status {
                    roots: vec![".".into()],
                    release: false,
                    json: true,
                },
            ),
            (
                "show fast.rs",
                RustCommand::Show {
                    path: "fast.rs".into(),
                },
            ),
            (
                "cache clear --json",
                RustCommand::Cache(CacheCommand::Clear { json: true }),
            ),
            (
                "site install --user",
                RustCommand::Site(SiteCommand::Install {
                    user: true,
                    json: false,
                }),
            ),
        ] {
            assert_eq!(rust(line), command);
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "",
            "rust",
            "rust cache",
            "rust site",
            "nonsense",
            "rust new",
            "rust new a b",
            "rust show",
            "rust build --jobs 0",
            "rust build --jobs x",
            "rust status --force",
            "serve",
            "serve app:app --interface odd",
            "serve app:app --root-path /api",
            "generation app:app",
            "rust cache info --user",
        ] {
            let answer = parsed(line).unwrap_err();
            assert_eq!(answer.0.exit_code(), 2, "{line}: {answer}");
        }
        for line in ["--version", "--help", "rust build -h"] {
            assert_eq!(parsed(line).unwrap_err().0.exit_code(), 0, "{line}");
        }
    }
}
