//! Nodes as processes, which talk over sockets: formatted, let in, given a vote.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use strandline::log::fs::RealFs;
use strandline::log::meta_properties::MetaProperties;
use strandline::protocol::ErrorCode;
use strandline::protocol::messages::describe_cluster::DescribeClusterRequest;
use strandline::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, PartitionData, PartitionQuorum, ReplicaState, TopicData,
};
use tempfile::TempDir;

use crate::wire::{Wire, batch};

pub(crate) const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
/// What comes about takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody has, nor gets before it is listened at: the system gives those below 32768 to nobody who has not asked
/// for them, and each is told once.
pub(crate) fn free_port() -> u16 {
    static TOLD: AtomicU16 = AtomicU16::new(0);
    // Where another run of the tests is not likely to look at the same time.
    let first = std::process::id() as u16 % 100 * 200;
    loop {
        let port = 10_000 + (first + TOLD.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A node: its configuration, and its process while it runs.
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) controller_port: u16,
    options: Vec<String>,
    process: Option<Child>,
}

impl Node {
    /// A node of these roles, with a data dir and ports of its own.
    pub(crate) fn new(folder: &TempDir, id: i32, roles: &str, own: &[(&str, &str)]) -> Node {
        let (port, controller_port) = (free_port(), free_port());
        let mut node = Node {
            id,
            dir: folder.path().join(format!("node-{id}")),
            port,
            controller_port,
            options: Vec::new(),
            process: None,
        };
        let listeners: Vec<String> = [
            roles.contains("broker").then(|| format!("PLAINTEXT://127.0.0.1:{port}")),
            roles.contains("controller").then(|| format!("CONTROLLER://127.0.0.1:{controller_port}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        node.set("process.roles", roles);
        node.set("node.id", &id.to_string());
        node.set("listeners", &listeners.join(","));
        node.set("controller.listener.names", "CONTROLLER");
        node.set("log.dirs", node.dir.to_str().unwrap().to_owned().as_str());
        own.iter().for_each(|(key, value)| node.set(key, value));
        node
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.options.extend(["--override".to_owned(), format!("{key}={value}")]);
    }

    pub(crate) fn controller(&self) -> String {
        format!("127.0.0.1:{}", self.controller_port)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strandline"));
        command.arg(name).args(&self.options);
        command
    }

    /// Formats its data dir; what that says.
    pub(crate) fn format(&self, options: &[&str]) -> Output {
        self.command("format").args(["-t", CLUSTER]).args(options).output().unwrap()
    }

    /// Formats its data dir, which must succeed.
    pub(crate) fn formatted(&self, options: &[&str]) {
        let done = self.format(options);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Starts its process, which is not ready yet.
    pub(crate) fn spawn(&mut self) {
        let mut command = self.command("serve");
        command.args(["--log-level", "warn"]).stdout(Stdio::piped());
        self.process = Some(command.spawn().unwrap());
    }

    /// Waits until it serves.
    pub(crate) fn until_ready(&mut self) {
        let stdout = self.process.as_mut().unwrap().stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(line.contains("is ready at"), "node {}: {line:?}", self.id);
    }

    pub(crate) fn start(&mut self) {
        self.spawn();
        self.until_ready();
    }

    /// Ends it as kill -9 does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// A connection to its listener for clients.
    pub(crate) fn wire(&self) -> Wire {
        Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
    }

    /// The id of its log dir.
    pub(crate) fn directory_id(&self) -> strandline::common::ids::Uuid {
        MetaProperties::read(RealFs::shared().as_ref(), &self.dir).unwrap().unwrap().directory_id
    }

    /// The quorum, as this node answers for it.
    pub(crate) fn quorum(&self) -> PartitionQuorum {
        let partitions = vec![PartitionData { partition_index: 0 }];
        let topics = vec![TopicData { topic_name: "__cluster_metadata".into(), partitions }];
        let request = DescribeQuorumRequest { topics };
        let mut response = self.wire().call(&request, 2).unwrap();
        response.topics.remove(0).partitions.remove(0)
    }

    /// Waits until the quorum has these voters and observers.
    pub(crate) fn until_quorum(&self, voters: &[i32], observers: &[i32]) {
        let ids = |replicas: &[ReplicaState]| replicas.iter().map(|one| one.replica_id).collect::<Vec<_>>();
        until("the quorum is as it should be", || {
            let quorum = self.quorum();
            (ids(&quorum.current_voters), ids(&quorum.observers)) == (voters.to_vec(), observers.to_vec())
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks until it is so. Nothing says when a process has come to be so, so it is asked again and again.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never came about that {what}");
        std::thread::yield_now();
    }
}

fn said(output: &Output) -> (Option<i32>, String) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), format!("{out}{err}"))
}

#[test]
fn a_data_dir_is_formatted_in_kafkas_words() {
    let folder = tempfile::tempdir().unwrap();
    let node =
        |id, roles: &str| Node::new(&folder, id, roles, &[("controller.quorum.bootstrap.servers", "h:9093,i:9093")]);
    let told = |node: &Node, options: &[&str]| {
        let (code, text) = said(&node.format(options));
        (code, text.replace(node.dir.to_str().unwrap(), "DIR"))
    };
    let ok = |text: &str| (Some(0), format!("{text}\n"));
    let refused = |text: &str| (Some(1), format!("strandline: {text}\n"));
    let one = node(1, "broker,controller");
    let must = "Because controller.quorum.voters is not set on this controller, you must specify one of the following: \
                --standalone, --initial-controllers, or --no-initial-controllers.";
    assert_eq!(told(&one, &[]), refused(must));
    let voter = "Formatting dynamic metadata voter directory DIR with metadata.version 4.3-IV0.";
    assert_eq!(told(&one, &["--standalone"]), ok(voter));
    let again = "Log directory DIR is already formatted. Use --ignore-formatted to ignore this directory and format the others.";
    assert_eq!(told(&one, &["--standalone"]), refused(again));
    assert_eq!(told(&one, &["-s", "-g"]), ok("All of the log directories are already formatted."));
    let directory = "JEXY6aqzQY-32P5TStzaFg";
    let voters = format!("2@localhost:9093:{directory},3@[::1]:9093:MvDxzVmcRsaTz33bUuRU6A");
    let two = node(2, "controller,broker");
    assert_eq!(told(&two, &["-I", &voters]), ok(voter));
    assert_eq!(two.directory_id().to_string(), directory);
    let plain = "Formatting metadata directory DIR with metadata.version 4.3-IV0.";
    assert_eq!(told(&node(4, "broker,controller"), &["--no-initial-controllers"]), ok(plain));
    let other = "Formatting dynamic metadata directory DIR with metadata.version 4.3-IV0.";
    assert_eq!(told(&node(5, "broker,controller"), &["-I", &voters]), ok(other));
    assert_eq!(told(&node(6, "broker"), &["-s"]), refused("You can only use --standalone on a controller."));
    assert_eq!(told(&node(6, "broker"), &[]), ok(plain));
    for (wrong, sentence) in [
        ("7@h:9093", "it must be id@host:port:directory"),
        ("7@h:9093:nonsense", "it must be id@host:port:directory"),
        ("7@:9093:JEXY6aqzQY-32P5TStzaFg", "it must be id@host:port:directory"),
        ("", "names nobody"),
        ("7@h:1:JEXY6aqzQY-32P5TStzaFg,7@h:2:JEXY6aqzQY-32P5TStzaFg", "Node id 7 was specified more than once."),
    ] {
        let (code, text) = told(&node(7, "broker,controller"), &["-I", wrong]);
        assert!(code == Some(1) && text.contains(sentence), "{wrong}: {text}");
    }
    let named = Node::new(&folder, 8, "broker,controller", &[("controller.quorum.voters", "8@h:9093")]);
    assert!(told(&named, &["-s"]).1.contains("please remove controller.quorum.voters"));
}

#[test]
fn a_node_that_is_not_formatted_is_not_started_among_others() {
    let folder = tempfile::tempdir().unwrap();
    let others = [("controller.quorum.bootstrap.servers", "127.0.0.1:1,127.0.0.1:2")];
    let mut node = Node::new(&folder, 1, "broker,controller", &others);
    let (code, text) = said(&node.command("serve").output().unwrap());
    assert!(code == Some(1) && text.contains("is not formatted, and there are other nodes"), "{text}");
    // One that names nobody but itself has nobody to be told of.
    node.set("controller.quorum.bootstrap.servers", &node.controller());
    node.start();
    assert_eq!(node.wire().create("tide"), ErrorCode::NONE);
    node.kill();
    node.start();
    assert_eq!(node.wire().create("tide"), ErrorCode::TOPIC_ALREADY_EXISTS);
    node.until_quorum(&[1], &[]);
}

#[test]
fn nodes_that_know_a_bootstrap_server_become_observers() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Node::new(&folder, 1, "broker,controller", &[]);
    let server = first.controller();
    let servers = [("controller.quorum.bootstrap.servers", server.as_str())];
    first.set(servers[0].0, servers[0].1);
    first.formatted(&["--standalone"]);
    first.start();
    assert_eq!(first.wire().create("tide"), ErrorCode::NONE);
    // A controller that has no vote, and a broker whose properties are those of Apache Kafka's: without a controller listener.
    let mut second = Node::new(&folder, 2, "broker,controller", &servers);
    let mut third = Node::new(&folder, 3, "broker", &servers);
    second.formatted(&["--no-initial-controllers"]);
    third.formatted(&[]);
    for node in [&mut second, &mut third] {
        node.start();
        assert_eq!(node.wire().create("tide"), ErrorCode::TOPIC_ALREADY_EXISTS);
    }
    third.until_quorum(&[1], &[2, 3]);
    let directories: Vec<_> = third.quorum().observers.iter().map(|one| one.replica_directory_id).collect();
    assert_eq!(directories, [second.directory_id(), third.directory_id()]);
    // They come back as they were.
    third.kill();
    third.start();
    third.until_quorum(&[1], &[2, 3]);
    assert_eq!(third.wire().create("ebb"), ErrorCode::NONE);
}

/// Three nodes that are controllers only and were formatted together, and brokers that know them.
struct Apart {
    controllers: Vec<Node>,
    brokers: Vec<Node>,
    _folder: TempDir,
}

impl Apart {
    fn start(brokers: i32) -> Apart {
        let folder = tempfile::tempdir().unwrap();
        let mut controllers: Vec<Node> = (101..=103).map(|id| Node::new(&folder, id, "controller", &[])).collect();
        let servers: Vec<String> = controllers.iter().map(Node::controller).collect();
        let servers = servers.join(",");
        let directory = |id| strandline::common::ids::Uuid([id as u8; 16]);
        let voters = controllers.iter().map(|node| format!("{}@{}:{}", node.id, node.controller(), directory(node.id)));
        let voters = voters.collect::<Vec<_>>().join(",");
        for node in &mut controllers {
            node.set("controller.quorum.bootstrap.servers", &servers);
            node.formatted(&["--initial-controllers", &voters]);
            node.spawn();
        }
        controllers.iter_mut().for_each(Node::until_ready);
        let own = [("controller.quorum.bootstrap.servers", servers.as_str())];
        let mut brokers: Vec<Node> = (1..=brokers).map(|id| Node::new(&folder, id, "broker", &own)).collect();
        for node in &mut brokers {
            node.formatted(&[]);
            node.spawn();
        }
        brokers.iter_mut().for_each(Node::until_ready);
        Apart { controllers, brokers, _folder: folder }
    }

    /// The place of the active controller.
    fn active(&self) -> usize {
        let leader = self.brokers[0].quorum().leader_id;
        self.controllers.iter().position(|node| node.id == leader).unwrap()
    }

    /// Writes to a topic, wherever it is led.
    fn produce(&self, topic: &str) {
        until("somebody leads", || {
            let written = |node: &Node| node.wire().produce(topic, batch(&["a"])).error_code == ErrorCode::NONE;
            self.brokers.iter().any(written)
        });
    }

    /// The brokers that are not fenced.
    fn live(&self) -> Vec<i32> {
        let request = DescribeClusterRequest { include_fenced_brokers: true, endpoint_type: 1, ..Default::default() };
        let response = self.brokers[0].wire().call(&request, 2).unwrap();
        response.brokers.iter().filter(|broker| !broker.is_fenced).map(|broker| broker.broker_id).collect()
    }
}

#[test]
fn controllers_apart_from_their_brokers_are_replaced_at_once() {
    let mut cluster = Apart::start(2);
    assert_eq!(cluster.brokers[1].wire().create("before"), ErrorCode::NONE);
    cluster.brokers[0].until_quorum(&[101, 102, 103], &[1, 2]);
    assert_eq!(cluster.live(), [1, 2]);
    // A controller tells of controllers, and of nothing else.
    let mut wire = Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.controllers[0].controller_port)));
    let told = wire.call(&DescribeClusterRequest { endpoint_type: 2, ..Default::default() }, 1).unwrap();
    assert_eq!(told.brokers.iter().map(|one| one.broker_id).collect::<Vec<_>>(), [101, 102, 103]);
    let brokers = wire.call(&DescribeClusterRequest { endpoint_type: 1, ..Default::default() }, 1).unwrap();
    assert_eq!(brokers.error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE);

    let active = cluster.active();
    cluster.controllers[active].kill();
    let began = Instant::now();
    assert_eq!(cluster.brokers[0].wire().create("after"), ErrorCode::NONE);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "a topic took {took:?} after the active controller was killed");
    assert_eq!(cluster.live(), [1, 2], "the brokers live on");
    cluster.produce("before");

    // A minority changes nothing, and goes on when it is none any more.
    let second = cluster.active();
    assert_ne!(second, active);
    cluster.controllers[second].kill();
    let mut wire = cluster.brokers[0].wire();
    assert!(wire.stream.set_read_timeout(Some(Duration::from_secs(3))).is_ok());
    let request = DescribeQuorumRequest::default();
    wire.call(&request, 2).expect_err("nobody leads");
    cluster.produce("before");
    cluster.controllers[active].start();
    assert_eq!(cluster.brokers[0].wire().create("again"), ErrorCode::NONE);
    cluster.controllers[second].start();
    cluster.brokers[0].until_quorum(&[101, 102, 103], &[1, 2]);
    assert_eq!(cluster.live(), [1, 2]);
}

#[test]
fn a_voter_that_lost_its_data_dir_comes_back_and_gets_its_vote() {
    let mut cluster = Apart::start(1);
    assert_eq!(cluster.brokers[0].wire().create("tide"), ErrorCode::NONE);
    let lost = (cluster.active() + 1) % 3;
    let old = cluster.controllers[lost].directory_id();
    cluster.controllers[lost].kill();
    std::fs::remove_dir_all(&cluster.controllers[lost].dir).unwrap();
    cluster.controllers[lost].formatted(&["--no-initial-controllers"]);
    cluster.controllers[lost].start();
    let id = cluster.controllers[lost].id;
    let new = cluster.controllers[lost].directory_id();
    // It is refused until its old vote is taken.
    let server = format!("127.0.0.1:{}", cluster.brokers[0].port);
    let tool = |args: &[&str], node: Option<&Node>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strandline"));
        command.args(["cluster"]).args(args);
        if let Some(node) = node {
            command.args(&node.options);
        }
        said(&command.output().unwrap())
    };
    let (id_text, old_text) = (id.to_string(), old.to_string());
    let remove = ["remove-voter", "-i", &id_text, "-d", &old_text, "-b", &server];
    assert_eq!(tool(&remove, None), (Some(0), format!("Removed KRaft controller {id} with directory id {old}\n")));
    assert!(tool(&remove, None).1.contains("VOTER_NOT_FOUND"));
    let mut left: Vec<i32> = vec![101, 102, 103];
    left.retain(|one| *one != id);
    cluster.brokers[0].until_quorum(&left, &[1, id]);
    let controllers = cluster.controllers[(lost + 1) % 3].controller();
    let added = tool(&["add-voter", "-C", &controllers], Some(&cluster.controllers[lost]));
    let endpoint = cluster.controllers[lost].controller();
    let expected = format!("Added controller {id} with directory id {new} and endpoints: CONTROLLER://{endpoint}\n");
    assert_eq!(added, (Some(0), expected));
    cluster.brokers[0].until_quorum(&[101, 102, 103], &[1]);
    let status = tool(&["status", "-b", &server], None).1;
    assert!(status.contains("Quorum of 3 voters and 1 observer"), "{status}");
    // Its vote counts.
    let active = cluster.active();
    cluster.controllers[(0..3).find(|place| *place != lost && *place != active).unwrap()].kill();
    assert_eq!(cluster.brokers[0].wire().create("ebb"), ErrorCode::NONE);
}
