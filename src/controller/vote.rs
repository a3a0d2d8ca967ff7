//! The vote: which term this node knows of, and whom it follows or votes for in it.
//!
//! ```text
//! __cluster_metadata-0/quorum-state
//! {"leaderId":-1,"leaderEpoch":7,"votedId":2,"votedDirectoryId":"...","data_version":1}     voted for 2 in term 7
//! {"leaderId":2,"leaderEpoch":7,"votedId":-1,"votedDirectoryId":"AAAA...","data_version":1}  2 leads in term 7
//! ```
//! Kafka's own file. It is replaced as a whole, and synced before it counts: a vote that was given is never given again.
//!
//! Crash: the old file or the new one is there. The old one says less than was answered to nobody, as the answer waits
//! for the sync. A leader that comes back does not go on leading: it has to be elected, in a new term.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::ControllerError;
use super::types::{Vote, Voter, epoch};
use crate::common::ids::{NodeId, Uuid};
use crate::log::fs::{Durability, FileSystem, read_file, replace_file};

/// The file's name.
pub(super) const FILE: &str = "quorum-state";
const MAX_LEN: usize = 64 << 10;

/// The vote in `dir`, where there is one. A node that led has only its own vote for itself.
pub(super) fn read(fs: &dyn FileSystem, dir: &Path, us: NodeId) -> Result<Option<Vote>, ControllerError> {
    let path = dir.join(FILE);
    let bytes = read_file(fs, &path, MAX_LEN).map_err(|error| failed(&path, error.to_string()))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let state: Value = serde_json::from_slice(&bytes).map_err(|error| failed(&path, error.to_string()))?;
    let number = |name: &str| state.get(name).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    let term = number("leaderEpoch").and_then(|epoch| u64::try_from(epoch).ok());
    let term = term.ok_or_else(|| failed(&path, "leaderEpoch must be a number of at least 0".to_owned()))?;
    let (leader, voted) = (number("leaderId").unwrap_or(-1), number("votedId").unwrap_or(-1));
    Ok(Some(match (leader, voted) {
        (leader, _) if leader >= 0 && leader != us => Vote::new_committed(term, leader),
        (leader, _) if leader >= 0 => Vote::new(term, leader),
        (_, voted) if voted >= 0 => Vote::new(term, voted),
        _ => nobody(term),
    }))
}

/// A term in which nobody was voted for.
pub(super) fn nobody(term: u64) -> Vote {
    let mut vote = Vote::default();
    vote.leader_id.term = term;
    vote
}

/// Writes the vote down; safe when this returns, if `durability` says so. `directory` is that of the one voted for.
pub(super) fn write(
    fs: &dyn FileSystem,
    dir: &Path,
    vote: &Vote,
    directory: Uuid,
    durability: Durability,
) -> Result<(), ControllerError> {
    let path = dir.join(FILE);
    let whom = vote.leader_id.voted_for.unwrap_or(-1);
    let (leader, voted) = if vote.committed { (whom, -1) } else { (-1, whom) };
    let directory = if vote.committed { Uuid::ZERO } else { directory };
    let state = json!({
        "leaderId": leader,
        "leaderEpoch": epoch(vote.leader_id.term),
        "votedId": voted,
        "votedDirectoryId": directory.to_string(),
        "data_version": 1,
    });
    replace_file(fs, &path, state.to_string().as_bytes(), durability).map_err(|error| failed(&path, error.to_string()))
}

/// The directory of the one voted for, as far as the membership knows it.
pub(super) fn directory_of<'a>(vote: &Vote, mut voters: impl Iterator<Item = &'a Voter>) -> Uuid {
    let whom = vote.leader_id.voted_for;
    voters.find(|voter| Some(voter.id) == whom).map_or(Uuid::ZERO, |voter| voter.directory_id)
}

fn failed(path: &Path, problem: String) -> ControllerError {
    ControllerError::Vote { path: PathBuf::from(path).display().to_string(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fs::memory::MemoryFs;

    #[test]
    fn a_vote_survives_its_file_and_a_leader_has_to_be_elected_again() {
        let (fs, dir) = (MemoryFs::new(), Path::new("/data"));
        fs.create_dir_all(dir).unwrap();
        assert_eq!(read(&fs, dir, 1).unwrap(), None);
        for (vote, found) in [
            (Vote::new(7, 2), Vote::new(7, 2)),
            (Vote::new_committed(8, 2), Vote::new_committed(8, 2)),
            (Vote::new_committed(9, 1), Vote::new(9, 1)),
            (nobody(10), nobody(10)),
        ] {
            write(&fs, dir, &vote, Uuid::METADATA_TOPIC, Durability::Synced).unwrap();
            assert_eq!(read(&fs, dir, 1).unwrap(), Some(found));
        }
    }

    #[test]
    fn kafkas_files_are_read() {
        let (fs, dir) = (MemoryFs::new(), Path::new("/data"));
        fs.create_dir_all(dir).unwrap();
        let old = r#"{"clusterId":"","leaderId":1,"leaderEpoch":3,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
        let new = r#"{"leaderId":-1,"leaderEpoch":4,"votedId":2,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAQ","data_version":1}"#;
        for (text, vote) in [(old, Vote::new_committed(3, 1)), (new, Vote::new(4, 2))] {
            replace_file(&fs, &dir.join(FILE), text.as_bytes(), Durability::Synced).unwrap();
            assert_eq!(read(&fs, dir, 9).unwrap(), Some(vote));
        }
        replace_file(&fs, &dir.join(FILE), b"{\"leaderEpoch\":-4}", Durability::Synced).unwrap();
        assert!(read(&fs, dir, 9).unwrap_err().to_string().contains("quorum-state: leaderEpoch"));
    }
}
