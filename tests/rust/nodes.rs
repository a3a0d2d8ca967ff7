//! Nodes as processes, which talk over sockets: formatted, let in, given a vote.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use strandline::log::fs::RealFs;
use strandline::log::meta_properties::MetaProperties;
use strandline::protocol::ErrorCode;
use strandline::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, PartitionData, PartitionQuorum, ReplicaState, TopicData,
};
use tempfile::TempDir;

use crate::wire::Wire;

pub(crate) const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";
/// What comes about takes no longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody has now.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
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
