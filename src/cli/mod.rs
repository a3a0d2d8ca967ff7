//! The command line: `strandline serve | format | cluster | topics | groups | produce | consume | scan | dump-log`.
//!
//! One file a command. [`run`] is the whole program: the binary calls it, and so does the Python package's `strandline`
//! script. Answers go to stdout, everything else to stderr; the exit code is 0, 1 for a failure told in a sentence, or
//! 2 for a command line that makes no sense.

mod cluster;
mod connect;
mod consume;
mod datetime;
mod dump_log;
mod escape;
mod format;
mod groups;
mod output;
mod produce;
mod reassign;
mod rows;
mod scan;
mod serve;
mod storage;
mod table;
mod topics;
mod voters;

use std::ffi::OsString;
use std::fmt;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "strandline",
    version,
    about = "Kafka-compatible event streaming, in one small binary",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker until SIGTERM or Ctrl-C
    Serve(serve::Serve),
    /// Make a data dir one of a cluster of several brokers, before the first start
    Format(storage::Format),
    /// Send a year of flights round (comes with the Python package)
    Demo(Demo),
    /// Show the brokers, and the partitions that need an eye
    Cluster(cluster::Cluster),
    /// List, make, show, change, move and unmake topics
    Topics(topics::Topics),
    /// List, show, move and unmake groups
    Groups(groups::Groups),
    /// Send the lines of stdin or of files to a topic
    Produce(produce::Produce),
    /// Write the records of topics to stdout
    Consume(consume::Consume),
    /// Write a topic as a table to stdout: aligned, as JSON, CSV or Arrow
    Scan(scan::ScanTopic),
    /// Show and check the files of a partition: segments, indexes, snapshots, checkpoints
    DumpLog(dump_log::DumpLog),
}

/// Why a command ends without success.
#[derive(Debug)]
enum Failure {
    /// A sentence for the user.
    Sentence(String),
    /// The sentences are out already.
    Told,
    /// Whoever read our stdout has gone, as `head` does: that is no error.
    Unread,
}

impl<E: fmt::Display> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Sentence(error.to_string())
    }
}

/// Runs the command that `args` (program name first) ask for and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            let _ = error.print();
            return error.exit_code();
        }
    };
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Format(format) => format.run(),
        Command::Demo(demo) => demo.run(),
        Command::Cluster(cluster) => cluster.run(),
        Command::Topics(topics) => topics.run(),
        Command::Groups(groups) => groups.run(),
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Scan(scan) => scan.run(),
        Command::DumpLog(dump_log) => dump_log.run(),
    };
    match done {
        Ok(()) | Err(Failure::Unread) => 0,
        Err(Failure::Told) => 1,
        Err(Failure::Sentence(sentence)) => {
            eprintln!("strandline: {sentence}");
            1
        }
    }
}

/// The demo needs Python, so the binary only says where it is.
#[derive(Debug, Args)]
struct Demo {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Demo {
    fn run(self) -> Result<(), Failure> {
        let args: String = self.args.iter().map(|arg| format!(" {}", arg.display())).collect();
        Err(Failure::Sentence(format!(
            "the demo comes with the Python package: pip install 'strandline[demo]', then python -m strandline demo{args}"
        )))
    }
}
