//! Thousands of unlucky days: one partition on three of four brokers, or on others, real logs on disks in memory, Kafka's rules
//! for who leads, and a network, clocks, disks and machines that fail at random.
//!
//! ```text
//!   controllers: one log of decisions  --- each broker at its own pace ------------------->  broker: its image, its partition
//!   broker: fetch, heartbeat, ISR wish --- a message, later or never --------------------->  leader, the active controller
//!   clients: batches, some sent twice  --- to whoever believes to lead ------------------->  broker
//!   a group: commits                   --- to whoever believes to lead ------------------->  broker: its coordinator
//! ```
//! All of it is one thread and one stream of random numbers: a seed that fails fails again in the same way. What is acknowledged
//! is written down, and held against what the replicas hold, after each step and at the end:
//!
//! | always | |
//! |---|---|
//! | one leader an epoch | whatever brokers believe |
//! | agreement | replicas hold the same below both their high watermarks, and offsets have no gap |
//! | sequences | of an idempotent producer each record is there once, in its order, in every log; and its next is taken |
//! | no step back | the high watermark of a leader never falls in its reign |
//! | nothing lost | what was acknowledged at acks=all is where it was acknowledged, on whoever leads or may lead by the image, unless it was deleted |
//! | commits | what a group was told is committed is there, or what it committed later, on whoever leads and is asked |
//! | nothing taken back | the same holds for what was below a high watermark, which readers were shown |
//! | healing | when all is well again, replicas are where they are to be, in sync, and hold the same |
//!
//! Half of the seeds have a cluster that keeps replicas eligible that leave the ISR (KIP-966), half have one that does not; what
//! each promises, and so what may happen, is told in [`promise`].
//!
//! What happens meanwhile:
//!
//! | | |
//! |---|---|
//! | a log has many segments, or one | by the seed; it is synced, and old records are deleted ([`housekeeping`]) |
//! | replicas move | to other brokers, more or fewer, or back: see [`moves`] |
//! | a broker is killed | what it wrote is there when it starts again |
//! | it loses power | what it had not synced is lost, or torn ([`World::may_fall`] says when it may) |
//! | it is stopped | others lead first, or it goes as it is; power may be lost meanwhile, or behind it, which loses nothing |
//! | its disk is full | from the middle of some write on; it stops, and has room when it starts again |
//! | it is slow | it comes to do a tenth of what it is to do, and is put out of the ISR for it |
//! | its clock leaps | forward by seconds, or the time of day by hours and back |
//! | links are cut | in one direction or both, also those to the controller; messages are lost, late, and out of order |
//! | the controller crashes | what it had decided is agreed on or lost, unanswered; another takes over, from a snapshot and the log |
//!
//! Rules that are broken on purpose ([`Wrong`]) must be noticed by some seed.
//!
//! `STRANDLINE_SEEDS=100000 cargo test --release --lib -- simulation` runs as many, from `STRANDLINE_FIRST_SEED` (0) on;
//! `STRANDLINE_SEED=7` runs that one and tells it.

mod brokers;
mod checks;
mod clients;
mod commits;
mod controllers;
mod failures;
mod housekeeping;
mod moves;
mod promise;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::brokers::{Message, Node};
use self::clients::Producer;
use self::commits::Committer;
use self::controllers::Controllers;
use crate::common::ids::{NodeId, Offset, Timestamp};
use crate::log::LogConfig;
use crate::log::fs::memory::choices;
use crate::metadata::Image;
use crate::metadata::plan::{self, CreateTopic, Election};

const NOW: Timestamp = 1_700_000_000_000;
const TOPIC: &str = "flights";
const NODES: [NodeId; 4] = [0, 1, 2, 3];
/// Those that hold the partition at first.
const REPLICAS: [NodeId; 3] = [0, 1, 2];
const CONTROLLER: NodeId = -1;
const STEPS: usize = 5_000;
/// How long the weather stays as it is.
const WEATHER: usize = 100;
/// What goes by on a broker's clock until it comes to do something again.
const TURN: Duration = Duration::from_millis(60);
/// Steps in good weather after which all must be well.
const HEALING: usize = 3_000;
const MIN_IN_SYNC: i32 = 2;

struct World {
    choose: Box<dyn FnMut(usize) -> usize>,
    controllers: Controllers,
    nodes: BTreeMap<NodeId, Node>,
    producers: Vec<Producer>,
    committer: Committer,
    /// Links that are cut, by who sends and who does not hear.
    cut: BTreeSet<(NodeId, NodeId)>,
    messages: VecDeque<Message>,
    acknowledged: BTreeMap<Offset, String>,
    /// What was below some high watermark, from the first record on.
    readable: Vec<String>,
    /// The offset before which some leader has deleted all.
    deleted: Offset,
    led: BTreeMap<i32, NodeId>,
    /// What the topic's configs say to the log.
    log: LogConfig,
    /// Whether replicas that leave the ISR stay eligible.
    keeps_eligible: bool,
    /// Who lost power, and may still be counted on; and the epochs that they had then.
    damaged: BTreeMap<NodeId, i64>,
    /// What is done wrong.
    wrong: Wrong,
    seen: Seen,
    story: Vec<String>,
}

/// A rule that is broken on purpose: what is checked here must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Who fell says that it was stopped cleanly, and so stays eligible.
    HidesItsFall,
    /// Leaders acknowledge what nobody else has, though the controller goes by `min.insync.replicas`.
    AcknowledgesAlone,
    /// Who follows a log that begins behind its own goes on where that one ends.
    BeginsAtTheEnd,
    /// Brokers write down that they have synced what they have not.
    TrustsWhatIsNotSynced,
    /// Controllers take for in sync whom they bring.
    MovesTooSoon,
    /// Coordinators are loaded with what readers are shown.
    LoadsWhatIsShown,
}

/// What came about, in how many ways something could have been lost.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    acknowledged: usize,
    committed: usize,
    lost_power: usize,
    stopped: usize,
    deleted: usize,
    /// How often the partition went elsewhere, and stayed where it was after all.
    moved: usize,
    cancelled: usize,
    /// How often one led that was not in sync and yet eligible, and the last leader because nobody was.
    eligible_led: usize,
    last_led: usize,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, more: Seen) {
        self.acknowledged += more.acknowledged;
        self.committed += more.committed;
        self.lost_power += more.lost_power;
        self.stopped += more.stopped;
        self.deleted += more.deleted;
        self.moved += more.moved;
        self.cancelled += more.cancelled;
        self.eligible_led += more.eligible_led;
        self.last_led += more.last_led;
    }
}

impl World {
    fn new(seed: u64, wrong: Wrong) -> World {
        let mut choose = choices(seed);
        let keeps_eligible = choose(2) == 1;
        let log = World::log_config(&mut choose);
        let mut world = World {
            choose: Box::new(choose),
            controllers: Controllers::default(),
            nodes: NODES.iter().map(|id| (*id, Node::new())).collect(),
            producers: [-1, 0, 1].map(Producer::new).into_iter().collect(),
            committer: Committer::default(),
            cut: BTreeSet::new(),
            messages: VecDeque::new(),
            acknowledged: BTreeMap::new(),
            readable: Vec::new(),
            deleted: 0,
            led: BTreeMap::new(),
            log,
            keeps_eligible,
            damaged: BTreeMap::new(),
            wrong,
            seen: Seen::default(),
            story: Vec::new(),
        };
        if keeps_eligible {
            world.commit(plan::bootstrap(MIN_IN_SYNC));
        }
        for id in NODES {
            world.start(id);
        }
        while !NODES.iter().all(|id| world.controllers.image.broker(*id).is_some_and(|broker| broker.is_active())) {
            for id in NODES {
                world.beat(id);
                world.agree();
                world.hear(id);
            }
        }
        let assignments = BTreeMap::from([(0, REPLICAS.to_vec())]);
        let wish = CreateTopic {
            name: TOPIC.into(),
            partitions: -1,
            replication_factor: -1,
            assignments,
            ..Default::default()
        };
        let none: [(&str, &str); 0] = [];
        let values = Arc::new(crate::config::Values::broker(none).unwrap().0);
        let records = plan::create_topic(&world.controllers.image, &wish, &values).unwrap();
        world.commit(records);
        world
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.story.capacity() > 0 {
            self.story.push(what());
        }
    }

    fn one_of(&mut self, count: usize) -> usize {
        (self.choose)(count)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.one_of(100) < percent
    }

    fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Other weather.
    fn turn(&mut self) -> bool {
        let calm = self.chance(50);
        if calm && self.chance(70) {
            self.cut.clear();
        }
        for id in NODES {
            let slow = !calm && self.chance(15);
            self.nodes.get_mut(&id).unwrap().slow = slow;
        }
        let slow: Vec<_> = NODES.into_iter().filter(|id| self.nodes[id].slow).collect();
        self.tell(|| format!("calm {calm}, slow {slow:?}"));
        calm
    }

    /// One event.
    fn live(&mut self, calm: bool) {
        self.mend();
        let calm = calm || !self.keeps_eligible && !self.damaged.is_empty();
        let id = NODES[self.one_of(NODES.len())];
        self.nodes[&id].clock.advance(TURN);
        // In a calm only the first of these happen.
        let dice = if calm { self.one_of(975) } else { self.one_of(1_013) };
        match dice {
            0..=169 => self.produce(),
            170..=189 => self.commit_offset(),
            190..=199 => self.echo(),
            200..=909 if self.is_slow(id) => {}
            200..=439 => self.fetch(id),
            440..=779 => self.deliver(),
            780..=879 => self.hear(id),
            880..=909 => self.beat(id),
            910..=919 => self.agree(),
            920..=929 => self.fence(id),
            930..=949 if !self.is_up(id) => self.start(id),
            950..=954 => self.take_over(),
            955..=956 => self.snapshot(),
            957..=959 => self.prefer_leader(),
            960..=961 => self.ask_to_stop(id),
            962..=969 => self.keep_house(id),
            970..=971 => self.delete_records(),
            972..=974 => self.reassign(),
            975..=982 => self.leap(id),
            983..=988 => {
                let power = self.chance(30) && self.may_fall(id, true);
                if power || self.may_fall(id, false) {
                    self.kill(id, power);
                }
            }
            989..=991 => self.fill(id),
            992..=994 => self.crash_controller(),
            995..=1_001 => {
                let other = [CONTROLLER, 0, 1, 2, 3][self.one_of(NODES.len() + 1)];
                if other != id {
                    self.tell(|| format!("{id} and {other} are cut off"));
                    self.cut.insert((id, other));
                    if self.chance(70) {
                        self.cut.insert((other, id));
                    }
                }
            }
            1_002..=1_009 => self.cut.clear(),
            1_010..=1_011 => self.lose_messages(),
            _ => {}
        }
        self.ask_controller(id);
        self.settle();
        self.settle_commits();
        self.stop_on_failures();
        self.check();
    }

    /// The first replica is to lead again, if it is in sync.
    fn prefer_leader(&mut self) {
        let preferred = |image: &Image| plan::elect_leader(image, TOPIC, 0, Election::Preferred);
        self.decide(None, |image| preferred(image).map_err(|refusal| refusal.code));
    }

    /// The controller has not heard of a broker for too long.
    fn fence(&mut self, id: NodeId) {
        if (!self.is_up(id) || !self.reaches(id, CONTROLLER))
            && self.decide(None, |image| Ok(plan::fence_broker(image, id)))
        {
            self.tell(|| format!("{id} is fenced"));
        }
    }

    /// Good weather: everybody is up, hears and is heard.
    fn heal(&mut self) {
        self.cut.clear();
        self.nodes.values_mut().for_each(|node| node.slow = false);
        for step in 0..HEALING {
            self.take_over();
            for id in NODES {
                if !self.is_up(id) {
                    self.start(id);
                }
                self.hear(id);
                self.beat(id);
                self.agree();
                self.fetch(id);
                self.ask_controller(id);
            }
            for _ in 0..self.messages.len().min(20) {
                self.deliver();
            }
            if step % 50 == 0 {
                self.pass();
            }
            self.settle();
            self.settle_commits();
            self.stop_on_failures();
            self.check();
            if self.is_well() {
                return;
            }
        }
        let partition = self.controllers.image.partition(TOPIC, 0).cloned();
        let ends: Vec<_> =
            NODES.iter().map(|id| self.partition(*id).map(|it| (it.log_end_offset(), it.high_watermark()))).collect();
        panic!("it does not heal: {partition:?}, ends and high watermarks {ends:?}");
    }
}

/// Lives through a seed, and says what came about in it.
fn run(seed: u64, wrong: Wrong, aloud: bool) -> Seen {
    let mut world = World::new(seed, wrong);
    if aloud {
        world.story.reserve(STEPS);
    }
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut calm = true;
        for step in 0..STEPS {
            if step % WEATHER == 0 {
                calm = world.turn();
            }
            world.live(calm);
            if step % 20 == 0 {
                world.check_logs();
            }
        }
        world.heal();
        world.check_logs();
        Seen { acknowledged: world.acknowledged.len(), ..world.seen }
    }));
    if aloud {
        world.story.iter().for_each(|line| println!("{line}"));
    }
    match lived {
        Ok(seen) => seen,
        Err(panic) => {
            if wrong == Wrong::Nothing {
                println!("seed {seed} fails: STRANDLINE_SEED={seed} tells its story");
            }
            std::panic::resume_unwind(panic);
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn simulation() {
    if let Some(seed) = number("STRANDLINE_SEED") {
        println!("seed {seed}: {:?}", run(seed, Wrong::Nothing, true));
        return;
    }
    let first = number("STRANDLINE_FIRST_SEED").unwrap_or(0);
    let seeds = number("STRANDLINE_SEEDS").unwrap_or(200);
    let mut seen = Seen::default();
    (first..first + seeds).for_each(|seed| seen += run(seed, Wrong::Nothing, false));
    println!("{seeds} seeds from {first} on: {seen:?}");
    // Where nothing comes through, nothing can be lost.
    let fewest = usize::try_from(seeds).unwrap() * 30;
    assert!(seen.acknowledged >= fewest, "fewer than {fewest} records were acknowledged in {seeds} seeds: {seen:?}");
    if seeds >= 200 {
        let Seen { committed, lost_power, stopped, deleted, moved, cancelled, eligible_led, last_led, .. } = seen;
        let each = [committed, lost_power, stopped, deleted, moved, cancelled, eligible_led, last_led];
        assert!(
            each.into_iter().all(|times| times >= 10),
            "something hardly ever comes about in {seeds} seeds: {seen:?}"
        );
    }
}

/// Some seed must lose what was acknowledged where a rule is broken.
fn some_seed_notices(wrong: Wrong) {
    let lost = (0..500).find_map(|seed| std::panic::catch_unwind(|| run(seed, wrong, false)).err());
    let told = lost.and_then(|panic| panic.downcast_ref::<String>().cloned());
    let told = told.unwrap_or_else(|| panic!("no seed notices that somebody {wrong:?}"));
    assert!(told.contains("has not got"), "{wrong:?} is noticed for another reason: {told}");
}

#[test]
fn a_fall_that_is_hidden_loses_what_was_acknowledged() {
    some_seed_notices(Wrong::HidesItsFall);
}

#[test]
fn what_a_leader_acknowledges_alone_is_lost() {
    some_seed_notices(Wrong::AcknowledgesAlone);
}

#[test]
fn who_begins_where_its_leader_ends_has_not_what_was_acknowledged() {
    some_seed_notices(Wrong::BeginsAtTheEnd);
}

#[test]
fn what_is_taken_for_synced_and_is_not_is_lost() {
    some_seed_notices(Wrong::TrustsWhatIsNotSynced);
}

#[test]
fn who_is_taken_for_in_sync_when_it_comes_has_not_what_was_acknowledged() {
    some_seed_notices(Wrong::MovesTooSoon);
}

#[test]
fn a_coordinator_that_is_loaded_with_what_readers_are_shown_has_not_what_was_committed() {
    some_seed_notices(Wrong::LoadsWhatIsShown);
}
