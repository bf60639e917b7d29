//! The commands below `firehot rust`. Each doc comment is a line of the help, which has to fit on a screen.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Subcommand;

/// A command about Rust extensions.
#[derive(Debug, PartialEq, Eq, Subcommand)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub enum RustCommand {
    /// Make a new extension that builds: a file, a crate or a mixed project
    #[command(after_help = "Nothing that exists is overwritten.")]
    New {
        /// PATH.rs makes a single file; any other PATH the folder of a crate
        path: PathBuf,
        /// Make a project of maturin, with Python in src/ and Rust in rust/
        /// [default: a crate that is imported from where it lies]
        #[arg(long)]
        mixed: bool,
    },
    /// Build every extension below some folders that is stale or was never built
    #[command(after_help = "Exit status 1 if one of them does not build; the others are built.")]
    Build {
        /// Folders or files to look in
        #[arg(value_name = "ROOT", default_value = ".")]
        roots: Vec<PathBuf>,
        /// Optimise, whatever the settings say [default: as the settings say]
        #[arg(long)]
        release: bool,
        /// Build what is fresh, too [default: only what is not]
        #[arg(long)]
        force: bool,
        /// How many jobs each cargo runs at once [default: one per processor]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        jobs: Option<u32>,
    },
    /// Tell which extensions are fresh, and why the others are stale
    #[command(after_help = "Builds nothing. Exit status 0 whatever there is to tell.")]
    Status {
        /// Folders or files to look in
        #[arg(value_name = "ROOT", default_value = ".")]
        roots: Vec<PathBuf>,
        /// Look at optimised builds [default: as the settings say]
        #[arg(long)]
        release: bool,
        /// Print JSON [default: text]
        #[arg(long)]
        json: bool,
    },
    /// Print the crate that is made for an extension: its Cargo.toml and lib.rs
    Show {
        /// A .rs file, or the folder of a crate
        path: PathBuf,
    },
    /// Look at the folder in which builds are kept, or empty it
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Have every start of this interpreter find Rust extensions
    #[command(subcommand)]
    Site(SiteCommand),
}

/// A command about the folder in which builds are kept.
#[derive(Debug, PartialEq, Eq, Subcommand)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub enum CacheCommand {
    /// Tell where the cache is, what is in it and how large that is
    Info {
        /// Print JSON [default: text]
        #[arg(long)]
        json: bool,
    },
    /// Remove all builds from the cache; refused while something is built
    Clear {
        /// Print JSON [default: text]
        #[arg(long)]
        json: bool,
    },
}

/// A command about what an interpreter does when it starts.
#[derive(Debug, PartialEq, Eq, Subcommand)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub enum SiteCommand {
    /// Tell whether this interpreter finds Rust extensions from its start
    Info {
        /// Look at usercustomize.py of the user [default: sitecustomize.py]
        #[arg(long)]
        user: bool,
        /// Print JSON [default: text]
        #[arg(long)]
        json: bool,
    },
    /// Put a marked block into sitecustomize.py that installs the finder
    Install {
        /// Use usercustomize.py of the user [default: sitecustomize.py]
        #[arg(long)]
        user: bool,
        /// Print JSON [default: text]
        #[arg(long)]
        json: bool,
    },
    /// Take the block out again; the file is what it was before
    Uninstall {
        /// Use usercustomize.py of the user [default: sitecustomize.py]
        #[arg(long)]
        user: bool,
        /// Print JSON [default: text]
        #[arg(long)]
        json: bool,
    },
}
