//! What must hold between keys, each rule with the sentence that says so.

use super::error::ConfigError;
use super::key::Scope;
use super::values::Values;
use super::{broker, client, listener, topic};

/// Checks the rules of the configuration's scope.
pub(super) fn check(values: &Values) -> Result<(), ConfigError> {
    let broken = match values.owner().scope {
        Scope::Topic => topic_rules(values),
        Scope::Broker => broker_rules(values),
        Scope::Producer => producer_rules(values),
        Scope::Consumer => consumer_rules(values),
        Scope::Client | Scope::Admin => None,
    };
    match broken {
        None => Ok(()),
        Some(sentence) => Err(ConfigError::Conflict { owner: values.owner().clone(), sentence }),
    }
}

fn topic_rules(values: &Values) -> Option<String> {
    let (least, most) = (values.get(topic::MIN_COMPACTION_LAG_MS), values.get(topic::MAX_COMPACTION_LAG_MS));
    (least > most).then(|| {
        format!("min.compaction.lag.ms is {least} and max.compaction.lag.ms is {most}: the first must not be larger")
    })
}

fn broker_rules(values: &Values) -> Option<String> {
    let (id, old_id) = (values.get(broker::NODE_ID), values.get(broker::BROKER_ID));
    if old_id != -1 && values.is_set(broker::NODE_ID) && old_id != id {
        return Some(format!("node.id is {id} and broker.id is {old_id}: they must agree, or broker.id be left out"));
    }
    if let Some(sentence) = quorum_rules(values) {
        return Some(sentence);
    }
    let (least, most) =
        (values.get(broker::GROUP_MIN_SESSION_TIMEOUT_MS), values.get(broker::GROUP_MAX_SESSION_TIMEOUT_MS));
    if least > most {
        return Some(format!(
            "group.min.session.timeout.ms is {least} and group.max.session.timeout.ms is {most}: the first must not be larger"
        ));
    }
    let (least, most) =
        (values.get(broker::LOG_CLEANER_MIN_COMPACTION_LAG_MS), values.get(broker::LOG_CLEANER_MAX_COMPACTION_LAG_MS));
    if least > most {
        return Some(format!(
            "log.cleaner.min.compaction.lag.ms is {least} and log.cleaner.max.compaction.lag.ms is {most}: the first must \
             not be larger"
        ));
    }
    let (all, one) = (values.get(broker::QUEUED_MAX_REQUEST_BYTES), values.get(broker::SOCKET_REQUEST_MAX_BYTES));
    if all > 0 && all < one {
        return Some(format!(
            "queued.max.request.bytes is {all} and socket.request.max.bytes is {one}: the first must not be smaller"
        ));
    }
    let dirs = data_dirs(values);
    if dirs.len() != 1 {
        let dirs = dirs.join(",");
        return Some(format!("log.dirs is {dirs}: it must name one directory, for several are not served yet"));
    }
    listener::check(values)
}

/// A node is a broker, a controller, or both; one that is named among the voters is a controller.
fn quorum_rules(values: &Values) -> Option<String> {
    let roles = values.get(broker::PROCESS_ROLES);
    let has = |role: &str| roles.iter().any(|known| known == role);
    let text = roles.join(",");
    let voters = match listener::voters(values) {
        Ok(voters) => voters,
        Err(sentence) => return Some(sentence),
    };
    let id = node_id(values);
    let votes = voters.iter().any(|(voter, ..)| *voter == id);
    let servers = match listener::bootstrap_servers(values) {
        Ok(servers) => servers,
        Err(sentence) => return Some(sentence),
    };
    if voters.is_empty() && servers.is_empty() && !has("controller") {
        let must = "a node without controller must be told where those are that have that role, in \
                    controller.quorum.bootstrap.servers";
        return Some(format!("process.roles is {text}: {must}"));
    }
    if values.get(broker::CONTROLLER_QUORUM_AUTO_JOIN_ENABLE) && !has("controller") {
        return Some(format!(
            "controller.quorum.auto.join.enable is true and process.roles is {text}: only a controller can have a vote"
        ));
    }
    if !voters.is_empty() && votes != has("controller") {
        let (is, must) = if votes { ("is", "hold controller") } else { ("is not", "be broker") };
        return Some(format!(
            "node.id {id} {is} among controller.quorum.voters and process.roles is {text}: it must {must}"
        ));
    }
    let alone = has("broker") && voters.iter().all(|(voter, ..)| *voter == id) && servers.is_empty();
    if !alone && has("controller") && listener::controllers(values).is_ok_and(|listeners| listeners.is_empty()) {
        return Some(
            "there are other nodes: listeners must have one for them too, which controller.listener.names names"
                .to_owned(),
        );
    }
    None
}

/// The data dirs: `log.dirs`, or `log.dir` when that is not set. A checked configuration has one.
pub fn data_dirs(values: &Values) -> Vec<String> {
    values.get(broker::LOG_DIRS).unwrap_or_else(|| values.get(broker::LOG_DIR))
}

/// The broker's id: `node.id`, or `broker.id` when only that is set.
pub fn node_id(values: &Values) -> i32 {
    match values.get(broker::BROKER_ID) {
        old_id if old_id != -1 && !values.is_set(broker::NODE_ID) => old_id,
        _ => values.get(broker::NODE_ID),
    }
}

/// Whether a producer is idempotent: as asked; when it was not said, unless another key rules it out (as in Kafka).
pub fn idempotence(values: &Values) -> bool {
    values.get(client::producer::ENABLE_IDEMPOTENCE)
        && (values.is_set(client::producer::ENABLE_IDEMPOTENCE) || against_idempotence(values).is_none())
}

/// How long after `send` a record is given up, in milliseconds: as asked; when it was not said, at least as long as one try takes.
pub fn delivery_timeout_ms(values: &Values) -> i64 {
    let one_try = values.get(client::producer::LINGER_MS).saturating_add(values.get(client::REQUEST_TIMEOUT_MS));
    let asked = values.get(client::producer::DELIVERY_TIMEOUT_MS);
    if values.is_set(client::producer::DELIVERY_TIMEOUT_MS) { asked } else { asked.max(one_try) }
}

fn against_idempotence(values: &Values) -> Option<String> {
    let acks = values.get(client::producer::ACKS);
    if acks != "all" && acks != "-1" {
        return Some(format!("acks is {acks} (it must be all)"));
    }
    if values.get(client::producer::RETRIES) == 0 {
        return Some("retries is 0 (it must be at least 1)".to_owned());
    }
    let in_flight = values.get(client::producer::MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION);
    (in_flight > 5).then(|| format!("max.in.flight.requests.per.connection is {in_flight} (it must be at most 5)"))
}

fn producer_rules(values: &Values) -> Option<String> {
    if values.is_set(client::producer::ENABLE_IDEMPOTENCE)
        && values.get(client::producer::ENABLE_IDEMPOTENCE)
        && let Some(against) = against_idempotence(values)
    {
        return Some(format!("enable.idempotence is true and {against}"));
    }
    // Kafka disables idempotence by itself for acks and retries, but not for too many requests in flight.
    if !values.is_set(client::producer::ENABLE_IDEMPOTENCE)
        && matches!(values.get(client::producer::ACKS).as_str(), "all" | "-1")
        && values.get(client::producer::RETRIES) != 0
        && let Some(against) = against_idempotence(values)
    {
        return Some(format!("enable.idempotence is true by default and {against}"));
    }
    let timeout = delivery_timeout_ms(values);
    let (linger, request) = (values.get(client::producer::LINGER_MS), values.get(client::REQUEST_TIMEOUT_MS));
    (timeout < linger.saturating_add(request)).then(|| {
        format!(
            "delivery.timeout.ms is {timeout}: it must be at least linger.ms ({linger}) plus request.timeout.ms ({request})"
        )
    })
}

fn consumer_rules(values: &Values) -> Option<String> {
    let (beat, session) =
        (values.get(client::consumer::HEARTBEAT_INTERVAL_MS), values.get(client::consumer::SESSION_TIMEOUT_MS));
    (beat >= session).then(|| {
        format!("heartbeat.interval.ms is {beat} and session.timeout.ms is {session}: the first must be smaller")
    })
}
