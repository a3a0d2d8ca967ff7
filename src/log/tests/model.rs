//! A log against a list: whatever is done to both, they hold the same.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::log::ReadError;
use crate::log::fs::memory::{MemoryFs, choices};

#[derive(Debug, Clone)]
enum Step {
    Append {
        records: usize,
        size: usize,
    },
    Follow {
        leap: i64,
    },
    Roll,
    Flush,
    /// Of all but the last segment; meanwhile it is cut perhaps, and written to behind.
    FlushClosed {
        cut: Option<usize>,
    },
    Truncate {
        part: usize,
    },
    DeleteRecords {
        part: usize,
    },
    Retain {
        bytes: u64,
    },
    /// All is too old.
    Expire,
    /// What a kill finds of the log start offset.
    Checkpoint,
    Close,
    Kill,
    PowerLoss {
        seed: u64,
    },
    Read {
        part: usize,
        max: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1usize..5, 0usize..400).prop_map(|(records, size)| Step::Append { records, size }),
        1 => (0i64..50).prop_map(|leap| Step::Follow { leap }),
        1 => Just(Step::Roll),
        1 => Just(Step::Flush),
        2 => prop::option::of(0usize..100).prop_map(|cut| Step::FlushClosed { cut }),
        1 => (0usize..100).prop_map(|part| Step::Truncate { part }),
        1 => (0usize..100).prop_map(|part| Step::DeleteRecords { part }),
        1 => (0u64..20_000).prop_map(|bytes| Step::Retain { bytes }),
        1 => Just(Step::Expire),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(|seed| Step::PowerLoss { seed }),
        4 => (0usize..100, 0usize..3000).prop_map(|(part, max)| Step::Read { part, max }),
    ]
}

struct Model {
    fs: MemoryFs,
    log: Log,
    /// Also some from before `start`, which a kill may bring back.
    records: Vec<(Offset, String)>,
    start: Offset,
    /// As it was written down.
    checkpointed: Offset,
    end: Offset,
    /// Up to where a loss of power must spare it.
    safe: Offset,
}

impl Model {
    fn new() -> Model {
        let fs = MemoryFs::new();
        let (log, _) = open(&(Arc::new(fs.clone()) as SharedFs), small());
        Model { fs, log, records: Vec::new(), start: 0, checkpointed: 0, end: 0, safe: 0 }
    }

    fn reopen(&mut self, clean: bool) {
        let fs: SharedFs = Arc::new(self.fs.clone());
        let options = LogOptions {
            clean,
            recovery_point: self.safe,
            log_start_offset: self.checkpointed,
            ..options(&fs, "/flights-0", small())
        };
        self.log = Log::open(options).unwrap().0;
        assert!((self.checkpointed..=self.start).contains(&self.log.log_start_offset()));
        self.start = self.log.log_start_offset();
    }

    fn retain(&mut self, config: LogConfig, now: Timestamp) {
        self.log.set_config(config);
        self.log.enforce_retention(now, self.end).unwrap().delete().unwrap();
        assert!(self.log.log_start_offset() >= self.start);
        self.start = self.log.log_start_offset();
    }

    /// What is to be read.
    fn records(&self) -> Vec<(Offset, String)> {
        self.records.iter().filter(|record| record.0 >= self.start).cloned().collect()
    }

    fn at(&self, part: usize) -> Offset {
        self.start + (self.end - self.start) * part as i64 / 100
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Append { records, size } => {
                let values: Vec<String> = (0..records).map(|n| format!("{n}{}", "v".repeat(size))).collect();
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                let info = self.log.append_as_leader(batch(&values), 1, NOW).unwrap();
                assert_eq!(info.first_offset, self.end);
                self.note(&values);
            }
            Step::Follow { leap } => {
                let options = BatchOptions { base_offset: self.end + leap, leader_epoch: 1, ..BatchOptions::default() };
                let mut builder = BatchBuilder::new(options);
                builder.append(NOW, Some(b"key"), Some(b"followed"), std::iter::empty());
                self.log.append_as_follower(builder.build().unwrap(), NOW).unwrap();
                self.end += leap;
                self.note(&["followed"]);
            }
            Step::Roll => self.log.roll(NOW).unwrap(),
            Step::Flush => {
                self.log.flush(NOW).unwrap();
                self.safe = self.log.recovery_point();
            }
            Step::FlushClosed { cut } => {
                if let Some(job) = self.log.flush_closed_job() {
                    let ran = job.run();
                    if let Some(part) = cut {
                        self.apply(Step::Truncate { part });
                        self.apply(Step::Append { records: 3, size: 300 });
                    }
                    self.log.flushed(ran, NOW).unwrap();
                    // Nobody counts on more.
                    assert!(cut.is_some() || self.log.recovery_point() >= self.safe);
                    self.safe = self.log.recovery_point();
                }
            }
            Step::Truncate { part } => {
                let to = self.at(part);
                self.log.truncate_to(to, NOW).unwrap();
                // A batch that holds the offset goes as a whole.
                let last = all(&self.log).last().map_or(self.start - 1, |last| last.0);
                assert!(last < to && self.log.log_end_offset() <= to);
                self.records.retain(|(offset, _)| *offset <= last);
                self.end = self.log.log_end_offset();
                self.safe = self.safe.min(last + 1);
            }
            Step::DeleteRecords { part } => {
                let to = self.at(part);
                assert_eq!(self.log.delete_records(to), to > self.start);
                self.start = self.start.max(to);
            }
            Step::Retain { bytes } => self.retain(LogConfig { retention_bytes: Some(bytes), ..small() }, NOW),
            Step::Expire => {
                self.retain(LogConfig { retention_ms: Some(1000), ..small() }, NOW + 100_000);
                assert_eq!((self.log.size(), self.start), (0, self.end));
            }
            Step::Checkpoint => self.checkpointed = self.start,
            Step::Close => {
                self.log.close(NOW).unwrap();
                (self.safe, self.checkpointed) = (self.log.recovery_point(), self.start);
                self.reopen(true);
            }
            Step::Kill => self.reopen(false),
            Step::PowerLoss { seed } => {
                self.fs = self.fs.crash(self.fs.operations(), &mut choices(seed));
                self.reopen(false);
                self.end = self.log.log_end_offset();
                assert!(self.end >= self.safe);
                self.records.retain(|(offset, _)| *offset < self.end);
            }
            Step::Read { part, max } => self.read(self.at(part), max),
        }
    }

    fn note(&mut self, values: &[&str]) {
        for value in values {
            self.records.push((self.end, (*value).to_owned()));
            self.end += 1;
        }
    }

    fn read(&self, offset: Offset, max: usize) {
        let reader = self.log.reader();
        let read = reader.read(offset, max, Offset::MAX, true).unwrap();
        let found = records(&read.records);
        let records = self.records();
        let expected: Vec<_> = records.iter().filter(|record| record.0 >= offset).collect();
        let seen: Vec<_> = found.iter().filter(|record| record.0 >= offset).collect();
        assert!(seen == expected[..seen.len()], "other records from {offset}");
        assert!(!seen.is_empty() || expected.is_empty());
        assert!(matches!(reader.read(self.end + 1, max, Offset::MAX, true), Err(ReadError::OffsetOutOfRange { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_log_holds_what_a_list_holds(steps in proptest::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        for step in steps {
            model.apply(step);
            prop_assert_eq!((model.log.log_start_offset(), model.log.log_end_offset()), (model.start, model.end));
        }
        prop_assert!(all(&model.log) == model.records(), "other records");
    }
}
