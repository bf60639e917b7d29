//! `firehot serve`. Each doc comment is a line of the help; how the words behind `--` are read is uvicorn's.
#![forbid(unsafe_code)]

use clap::Args;

/// What `firehot serve` is given.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct ServeArguments {
    /// The application, as `module:attribute`
    pub target: String,
    /// Where to listen [default: 127.0.0.1]
    #[arg(long)]
    pub host: Option<String>,
    /// Where to listen; 0 for a free one [default: 8000]
    #[arg(long)]
    pub port: Option<u16>,
    /// Listen on a unix socket [default: host and port]
    #[arg(long, value_name = "PATH")]
    pub uds: Option<String>,
    /// Listen on this descriptor [default: host and port]
    #[arg(long)]
    pub fd: Option<i32>,
    /// What is served: auto, asgi or wsgi [default: auto]
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    pub interface: Option<Interface>,
    /// TARGET makes it when called [default: it is it]
    #[arg(long)]
    pub factory: bool,
    /// Where TARGET is found [default: here]
    #[arg(long, value_name = "DIR")]
    pub app_dir: Option<String>,
    /// What is watched [default: the project]
    #[arg(long, value_name = "DIR")]
    pub reload_dir: Vec<String>,
    /// Errors are told here only [default: on pages, too]
    #[arg(long)]
    pub no_overlay: bool,
    /// Open pages follow each save [default: they stay]
    #[arg(long)]
    pub live_reload: bool,
    /// What uvicorn logs [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Log no requests [default: uvicorn logs them]
    #[arg(long)]
    pub no_access_log: bool,
    /// Other options of uvicorn
    #[arg(last = true, value_name = "UVICORN OPTIONS")]
    pub words: Vec<String>,
}

/// What kind of application it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "lower")]
pub enum Interface {
    /// Found out.
    Auto,
    /// ASGI, of either version.
    Asgi,
    /// WSGI.
    Wsgi,
}

impl Interface {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Asgi => "asgi",
            Self::Wsgi => "wsgi",
        }
    }
}

/// What `firehot serve` gives to each process that it starts.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct GenerationArguments {
    /// The application, as `module:attribute`
    pub target: String,
    /// The rest, JSON
    pub settings: String,
}
