//! `strandline dump-log`: what is in the files of a partition, ours or Kafka's, and whether it holds together.
//!
//! The lines are those of Kafka's DumpLogSegments, so that what reads them reads these. What is wrong is told on stderr,
//! a sentence each, and makes the exit code 1; what is only worth knowing (offsets that compaction left out) is told on
//! stderr too and does not. `--verify` reads every record and prints one line a file.

mod checkpoints;
mod fields;
mod index;
mod segment;

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::output::Output;
use crate::log::{leader_epoch, partition_metadata};
use fields::Fields;

#[derive(Debug, Args)]
#[command(
    after_help = "Example: strandline dump-log --print-data-log data/flights-0/00000000000000000000.log\n         \
                  strandline dump-log --verify data/flights-0/*"
)]
pub(super) struct DumpLog {
    /// Files of a partition's folder (.log, .index, .timeindex, .txnindex, .snapshot, leader-epoch-checkpoint,
    /// partition.metadata) or of a data dir's root (*-offset-checkpoint)
    #[arg(value_name = "FILE", required_unless_present = "listed")]
    files: Vec<PathBuf>,
    /// The same, as Kafka's tool takes them
    #[arg(long = "files", value_name = "FILE,..", value_delimiter = ',', hide = true)]
    listed: Vec<PathBuf>,
    /// Show each record, with its key and value
    #[arg(long)]
    print_data_log: bool,
    /// Show each record, without key and value
    #[arg(long)]
    deep_iteration: bool,
    /// With --print-data-log: only the key and value of a record
    #[arg(long)]
    skip_record_metadata: bool,
    /// Check everything and print one line a file
    #[arg(long, conflicts_with_all = ["print_data_log", "deep_iteration", "json"])]
    verify: bool,
    /// Read no further than this many bytes into a segment
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What is shown of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Depth {
    /// Each record.
    records: bool,
    /// Its offset, timestamp and sizes.
    metadata: bool,
    /// Its key and value.
    data: bool,
    /// Nothing is shown, and everything checked.
    verify: bool,
    /// How far into a segment to read.
    max_bytes: Option<u64>,
}

/// What is found in a file besides its content.
#[derive(Debug, Default)]
struct Findings {
    /// What is wrong.
    wrong: Vec<String>,
    /// What is worth knowing, and right.
    notes: Vec<String>,
    /// What there is, for the line that `--verify` prints.
    summary: String,
}

/// The kinds of files, told apart by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Segment,
    OffsetIndex,
    TimeIndex,
    TransactionIndex,
    ProducerSnapshot,
    LeaderEpochs,
    Offsets,
    PartitionMetadata,
}

impl Kind {
    /// A segment that was renamed, to be deleted or swapped in, is still a segment.
    fn of(path: &Path) -> Option<Kind> {
        let name = path.file_name()?.to_str()?;
        let name = [".deleted", ".cleaned", ".swap"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        match name {
            leader_epoch::FILE => Some(Kind::LeaderEpochs),
            partition_metadata::FILE => Some(Kind::PartitionMetadata),
            _ if name.ends_with("-offset-checkpoint") => Some(Kind::Offsets),
            _ => match name.rsplit_once('.')?.1 {
                "log" | "checkpoint" => Some(Kind::Segment),
                "index" => Some(Kind::OffsetIndex),
                "timeindex" => Some(Kind::TimeIndex),
                "txnindex" => Some(Kind::TransactionIndex),
                "snapshot" => Some(Kind::ProducerSnapshot),
                _ => None,
            },
        }
    }
}

impl DumpLog {
    pub(super) fn run(self) -> Result<(), Failure> {
        let depth = Depth {
            records: self.deep_iteration || self.print_data_log || self.verify,
            metadata: !self.skip_record_metadata,
            data: self.print_data_log,
            verify: self.verify,
            max_bytes: self.max_bytes,
        };
        let mut output = Output::stdout();
        let mut all_right = true;
        for path in self.files.iter().chain(&self.listed) {
            let Some(kind) = Kind::of(path) else {
                eprintln!("strandline: {}: not a file that this command knows by its name", path.display());
                all_right &= depth.verify;
                continue;
            };
            let mut findings = Findings::default();
            if self.json {
                writeln!(output, "{}", serde_json::json!({"kind": "file", "file": path.display().to_string()}))?;
            } else if !depth.verify {
                writeln!(output, "Dumping {}", path.display())?;
            }
            let mut fields = Fields::new(&mut output, self.json, depth.verify);
            let dumped = match kind {
                Kind::Segment => segment::dump(path, depth, &mut fields, &mut findings),
                Kind::OffsetIndex => index::dump_offsets(path, &mut fields, &mut findings),
                Kind::TimeIndex => index::dump_times(path, &mut fields, &mut findings),
                Kind::TransactionIndex => checkpoints::dump_transactions(path, &mut fields, &mut findings),
                Kind::ProducerSnapshot => checkpoints::dump_producers(path, &mut fields, &mut findings),
                Kind::LeaderEpochs => checkpoints::dump_epochs(path, &mut fields, &mut findings),
                Kind::Offsets => checkpoints::dump_offsets(path, &mut fields, &mut findings),
                Kind::PartitionMetadata => checkpoints::dump_topic_id(path, &mut fields, &mut findings),
            };
            match dumped {
                Ok(()) => {}
                Err(Failure::Sentence(sentence)) => findings.wrong.push(sentence),
                Err(other) => return Err(other),
            }
            if depth.verify {
                let verdict = if findings.wrong.is_empty() { "sound" } else { "DAMAGED" };
                writeln!(output, "{}: {verdict}{}", path.display(), findings.summary)?;
            }
            // What is wrong with a file stands behind its content, also where both go to one terminal.
            output.flush()?;
            for sentence in findings.wrong.iter().chain(&findings.notes) {
                eprintln!("strandline: {}: {sentence}", path.display());
            }
            all_right &= findings.wrong.is_empty();
        }
        if all_right { Ok(()) } else { Err(Failure::Told) }
    }
}

/// The offset in the name of a file: `00000000000000000042.log`.
fn offset_in_name(path: &Path) -> Option<i64> {
    let name = path.file_name()?.to_str()?;
    name.split(['.', '-']).next().filter(|digits| digits.len() == 20)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        let kind = |name: &str| Kind::of(Path::new(name));
        assert_eq!(kind("a/00000000000000000000.log"), Some(Kind::Segment));
        assert_eq!(kind("a/00000000000000000000.log.deleted"), Some(Kind::Segment));
        assert_eq!(kind("00000000000000000000-0000000000.checkpoint"), Some(Kind::Segment));
        assert_eq!(kind("00000000000000000000.timeindex"), Some(Kind::TimeIndex));
        assert_eq!(kind("t-0/leader-epoch-checkpoint"), Some(Kind::LeaderEpochs));
        assert_eq!(kind("recovery-point-offset-checkpoint"), Some(Kind::Offsets));
        assert_eq!((kind("log"), kind("notes.txt"), kind("..")), (None, None, None));
    }

    #[test]
    fn a_name_tells_the_offset() {
        assert_eq!(offset_in_name(Path::new("a/00000000000000000042.log")), Some(42));
        assert_eq!(offset_in_name(Path::new("00000000000000000042-0000000007.checkpoint")), Some(42));
        assert_eq!(offset_in_name(Path::new("42.log")), None);
    }
}
