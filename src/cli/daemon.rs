//! The commands that run programs, and those about daemons. Each doc comment is a line of the help.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// What `firehot run` and its like are given.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct RunArguments {
    /// Run it again on each save, until Ctrl-C [default: run it once]
    #[arg(long)]
    pub watch: bool,
    /// Have the program wait for a debugger (debugpy) on this port [default:
    /// do not wait]
    #[arg(long, value_name = "PORT")]
    pub debugpy: Option<u16>,
    /// Options of python, then what is run, then its arguments
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<OsString>,
}

/// What `firehot pytest` is given.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct PytestArguments {
    /// Run again on each save: what failed first, then what the change can
    /// reach [default: run once]
    #[arg(long)]
    pub watch: bool,
    /// Arguments of pytest
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<OsString>,
}

/// Nothing but words for a program.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct Words {
    /// Options of python, then what is run, as for `firehot run`
    #[arg(
        value_name = "PROGRAM",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<OsString>,
}

/// How `firehot imports` reports.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct ImportsArguments {
    /// Print JSON [default: text]
    #[arg(long, conflicts_with = "html")]
    pub json: bool,
    /// Write a page for the browser to this file [default: print text]
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// The one option of those that report.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct Report {
    /// Print JSON [default: text]
    #[arg(long)]
    pub json: bool,
}

/// What `firehot stop` is given.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct Stop {
    /// Every daemon of this user [default: the project's]
    #[arg(long)]
    pub all: bool,
}

/// What `firehot completion` is given.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct Completion {
    /// For which shell
    pub shell: Shell,
}
