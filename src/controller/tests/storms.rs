//! Random days of a quorum: links cut one way and both, nodes killed, with and without their power, disks that fail, slow ways,
//! votes taken and given; and all the while somebody wishes something.
//!
//! What holds on each of them:
//! - an epoch has one leader;
//! - what was answered is in every image in the end, and all images are the same;
//! - once the weather is fair a leader comes, and what is wished then is done.
//!
//! Of two voters none is taken out. The one that stays must write down that it votes alone; where its disk fails at just that
//! write, and who led then falls, it needs a vote of the other, which knows that it has none and has the longer log. So nobody
//! is elected any more: openraft goes by the newest voters in a log, agreed on or not, and lets nobody else stand.
//!
//! `STRANDLINE_STORMS` is how many are played (50), `STRANDLINE_FIRST_STORM` the first, and `STRANDLINE_STORM` tells of one.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;

use super::quorum::Quorum;
use super::*;
use crate::common::ids::LeaderEpoch;
use crate::log::fs::memory::{Fault, choices};

const STEPS: usize = 80;

/// Whom the nodes called the leader of each epoch, and what contradicts that.
type Reigns = Arc<Mutex<(BTreeMap<LeaderEpoch, NodeId>, Vec<String>)>>;

struct Storm {
    quorum: Quorum,
    random: StdRng,
    wishes: Vec<(String, JoinHandle<Result<(), Refusal>>)>,
    reigns: Reigns,
    story: Vec<String>,
}

impl Storm {
    async fn begin(seed: u64) -> Storm {
        let mut random = StdRng::seed_from_u64(seed);
        let count = if random.random_bool(0.25) { 5 } else { 3 };
        let limits = if random.random_bool(0.5) { OFTEN } else { NEVER };
        let quorum = Quorum::start(count, limits).await;
        let storm = Storm { quorum, random, wishes: Vec::new(), reigns: Reigns::default(), story: Vec::new() };
        for id in storm.quorum.ids.clone() {
            storm.watch(id);
        }
        storm
    }

    /// Takes down whenever a node says that it leads.
    fn watch(&self, id: NodeId) {
        let (mut leadership, reigns) = (self.quorum.nodes[&id].leader(), self.reigns.clone());
        tokio::spawn(async move {
            loop {
                let seen = leadership.borrow_and_update().clone();
                if seen.is_us {
                    let (known, wrong) = &mut *reigns.lock();
                    let first = *known.entry(seen.epoch).or_insert(id);
                    if first != id {
                        wrong.push(format!("{first} and {id} both lead in epoch {}", seen.epoch));
                    }
                }
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn any(&mut self, ids: &[NodeId]) -> NodeId {
        ids[self.random.random_range(0..ids.len())]
    }

    fn chance(&mut self, of: f64) -> bool {
        self.random.random_bool(of)
    }

    fn up(&self) -> Vec<NodeId> {
        self.quorum.ids.iter().copied().filter(|id| self.quorum.nodes.contains_key(id)).collect()
    }

    fn down(&self) -> Vec<NodeId> {
        self.quorum.ids.iter().copied().filter(|id| !self.quorum.nodes.contains_key(id)).collect()
    }

    fn tell(&mut self, what: String) {
        self.story.push(what);
    }

    /// How each node stands, for the story.
    fn tell_of_all(&mut self) {
        let mut nodes: Vec<_> = self.quorum.nodes.iter().collect();
        nodes.sort_by_key(|(id, _)| **id);
        let tell = |(id, node): (&NodeId, &Arc<Controller>)| {
            let seen = node.core.raft().metrics().borrow().clone();
            let applied = seen.last_applied.map(|applied| applied.index);
            let failed = node.core.store.failure.lock().is_some();
            let (state, vote, last) = (seen.state, seen.vote, seen.last_log_index);
            format!("{id}: {state:?} {vote} last {last:?} applied {applied:?}{}", if failed { " failed" } else { "" })
        };
        let told: Vec<String> = nodes.into_iter().map(tell).collect();
        self.story.push(format!("    {}", told.join("; ")));
    }

    /// Somebody wishes something of whoever says that it leads, or of anybody.
    fn wish(&mut self) {
        let up = self.up();
        let leads = up.iter().copied().find(|id| self.quorum.nodes[id].leader().borrow().is_us);
        let Some(of) = leads.or_else(|| (!up.is_empty()).then(|| self.any(&up))) else { return };
        let name = format!("wish {}", self.wishes.len());
        let (node, records) = (self.quorum.nodes[&of].clone(), topic(&name));
        self.tell(format!("{name} of {of}"));
        self.wishes.push((name, tokio::spawn(async move { node.propose(move |_| Ok(((), records))).await })));
    }

    fn cut(&mut self) {
        let ids = self.quorum.ids.clone();
        let one = self.any(&ids);
        let others: Vec<NodeId> = self.quorum.others(one).into_iter().filter(|_| self.chance(0.7)).collect();
        if self.chance(0.5) {
            self.tell(format!("{one} and {others:?} do not hear each other"));
            self.quorum.net.cut(one, &others);
        } else {
            self.tell(format!("{others:?} do not hear {one}"));
            self.quorum.net.cut.lock().extend(others.iter().map(|other| (one, *other)));
        }
    }

    async fn kill(&mut self) {
        let up = self.up();
        if up.is_empty() {
            return;
        }
        let id = self.any(&up);
        let power = self.chance(0.5);
        self.tell(format!("{id} is killed{}", if power { ", with its power" } else { "" }));
        self.quorum.kill(id).await;
        if power {
            let disk = &self.quorum.disks[&id];
            let left = disk.crash(disk.operations(), &mut choices(self.random.random()));
            self.quorum.disks.insert(id, left);
        }
    }

    async fn run(&mut self, id: NodeId) {
        self.tell(format!("{id} runs"));
        self.quorum.disks[&id].fail_at(None);
        self.quorum.run(id).await;
        self.watch(id);
    }

    /// A vote is taken or given; a node without one goes on as an observer.
    fn change_voters(&mut self) {
        let up = self.up();
        let Some(leads) = up.iter().copied().find(|id| self.quorum.nodes[id].leader().borrow().is_us) else { return };
        let node = self.quorum.nodes[&leads].clone();
        let ids = self.quorum.ids.clone();
        let one = voter(self.any(&ids));
        let voters = node.quorum().voters;
        let votes = voters.iter().any(|replica| replica.voter.id == one.id);
        if votes && voters.len() < 3 {
            return;
        }
        self.tell(format!("{} {} a vote", one.id, if votes { "loses" } else { "gets" }));
        // What becomes of it is a wish like any other, but nothing that an image tells of.
        tokio::spawn(async move {
            let done = match votes {
                true => node.remove_voter(one.id, one.directory_id).await,
                false => node.add_voter(one, Duration::from_secs(5)).await,
            };
            tracing::debug!(?done, "voters");
        });
    }

    fn break_disk(&mut self) {
        let ids = self.quorum.ids.clone();
        let id = self.any(&ids);
        let fault = Fault {
            at: self.quorum.disks[&id].operations() + self.random.random_range(0..6),
            kind: std::io::ErrorKind::StorageFull,
            stays: self.chance(0.5),
            written: self.random.random_range(0..40),
        };
        self.tell(format!("the disk of {id}: {fault:?}"));
        self.quorum.disks[&id].fail_at(Some(fault));
    }

    fn mend_disks(&mut self) {
        self.tell("all disks are well".to_owned());
        self.quorum.disks.values().for_each(|disk| disk.fail_at(None));
    }

    fn heal(&mut self) {
        self.tell("all hear each other".to_owned());
        self.quorum.net.heal();
    }

    async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => self.wish(),
            45..55 => self.cut(),
            55..63 => self.heal(),
            63..72 => self.kill().await,
            72..84 => {
                let down = self.down();
                if !down.is_empty() {
                    let id = self.any(&down);
                    self.run(id).await;
                }
            }
            84..90 => self.break_disk(),
            90..94 => self.mend_disks(),
            94..98 => self.change_voters(),
            _ => {
                let way = Duration::from_millis(self.random.random_range(0..50));
                self.tell(format!("each way takes {way:?}"));
                *self.quorum.net.way.lock() = way;
            }
        }
        SystemClock::shared().sleep(Duration::from_millis(self.random.random_range(0..400))).await;
        let wrong = &self.reigns.lock().1;
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// A log whose sync has failed takes no writes until it is opened again: a broker ends then, and is started by somebody.
    async fn start_anew(&mut self) {
        // Who can go on by itself has done so.
        SystemClock::shared().sleep(Duration::from_secs(3)).await;
        for id in self.up() {
            let stands_still = self.quorum.nodes[&id].core.store.failure.lock().is_some();
            if stands_still {
                self.quorum.kill(id).await;
                self.run(id).await;
            }
        }
    }

    /// The weather is fair: tells how many wishes were answered.
    async fn end(&mut self) -> usize {
        self.heal();
        self.mend_disks();
        *self.quorum.net.way.lock() = Duration::ZERO;
        for id in self.down() {
            self.run(id).await;
        }
        self.start_anew().await;
        let ids = self.quorum.ids.clone();
        let last = async {
            loop {
                let leader = self.quorum.leader(&ids).await;
                if make(&self.quorum.nodes[&leader], "last").await.is_ok() {
                    return;
                }
                SystemClock::shared().sleep(Duration::from_millis(100)).await;
            }
        };
        within(Duration::from_secs(60), last).await;
        self.quorum.arrived("last").await;
        let images: Vec<(NodeId, Image)> = self.quorum.nodes.iter().map(|(id, node)| (*id, image(node))).collect();
        for (id, other) in &images {
            assert!(*other == images[0].1, "{id} and {} do not have the same image", images[0].0);
        }
        let mut answered = 0;
        for (name, wish) in std::mem::take(&mut self.wishes) {
            if within(Duration::from_secs(60), wish).await.unwrap().is_ok() {
                answered += 1;
                assert!(images[0].1.topic(&name).is_some(), "{name} was answered, and is not there");
            }
        }
        answered
    }
}

/// Plays one, and tells how many wishes were answered.
fn play(seed: u64, aloud: bool) -> usize {
    let lived = std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut storm = Storm::begin(seed).await;
            for _ in 0..STEPS {
                storm.step().await;
                if aloud {
                    storm.tell_of_all();
                    storm.story.drain(..).for_each(|line| println!("{line}"));
                }
            }
            let answered = storm.end().await;
            storm.quorum.stop().await;
            answered
        })
    });
    lived.unwrap_or_else(|panic| {
        println!("storm {seed} fails: STRANDLINE_STORM={seed} tells its story");
        std::panic::resume_unwind(panic);
    })
}

#[test]
fn nothing_that_was_answered_is_lost_in_any_storm() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("STRANDLINE_STORM") {
        println!("storm {seed}: {} answered", play(seed, true));
        return;
    }
    let first = number("STRANDLINE_FIRST_STORM").unwrap_or(0);
    let storms = number("STRANDLINE_STORMS").unwrap_or(50);
    let answered: usize = (first..first + storms).map(|seed| play(seed, false)).sum();
    println!("{storms} storms from {first} on: {answered} wishes answered");
    // Where nothing is answered, nothing can be lost.
    assert!(
        answered >= usize::try_from(storms).unwrap() * 5,
        "only {answered} wishes were answered in {storms} storms"
    );
}
