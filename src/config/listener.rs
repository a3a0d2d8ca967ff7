//! Listeners: `NAME://host:port`, which the broker binds, and which clients are told.

use std::collections::HashMap;
use std::fmt;

use super::broker;
use super::values::Values;

/// The only protocol that is served yet.
const PLAINTEXT: &str = "PLAINTEXT";

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, in capitals.
    pub name: String,
    /// The host; empty for every address (of what clients are told: for this machine's own name).
    pub host: String,
    /// The port; 0 for any free one.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// Reads `NAME://host:port`; a host that is an IPv6 address stands in brackets. The error says what it must be.
pub fn parse(text: &str) -> Result<Endpoint, String> {
    let must = || format!("{text} is not a listener: it must be NAME://host:port, as in PLAINTEXT://127.0.0.1:9092");
    let (name, rest) = text.split_once("://").ok_or_else(must)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(must)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or_else(must)?,
        None if host.contains(':') => return Err(must()),
        None => host,
    };
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(word) || host.contains(['/', ' ', '[', ']']) {
        return Err(must());
    }
    let port = port.parse().map_err(|_| must())?;
    Ok(Endpoint { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
}

/// The listeners for clients that the broker binds: `listeners` without the controller's.
pub fn bound(values: &Values) -> Result<Vec<Endpoint>, String> {
    let listeners = parse_all(&values.get(broker::LISTENERS))?;
    Ok(without_controller(values, listeners))
}

/// The listeners for brokers and controllers among themselves: those of `listeners` that `controller.listener.names` names.
pub fn controllers(values: &Values) -> Result<Vec<Endpoint>, String> {
    let mut listeners = parse_all(&values.get(broker::LISTENERS))?;
    listeners.retain(|endpoint| is_controllers(values, endpoint));
    Ok(listeners)
}

/// The voters of `controller.quorum.voters`: id, host and port.
pub fn voters(values: &Values) -> Result<Vec<(i32, String, u16)>, String> {
    values.get(broker::CONTROLLER_QUORUM_VOTERS).iter().map(|text| voter(text)).collect()
}

fn voter(text: &str) -> Result<(i32, String, u16), String> {
    let must = || format!("controller.quorum.voters has {text}: it must be id@host:port, as in 1@localhost:9093");
    let (id, at) = text.split_once('@').ok_or_else(must)?;
    match (id.parse(), place(at)) {
        (Ok(id), Some((host, port))) if id >= 0 => Ok((id, host, port)),
        _ => Err(must()),
    }
}

/// Where other nodes reach the controllers' listener that is bound at `host` and `port`: `advertised.listeners` says so, or
/// else it is where it is bound. An empty host: at this machine's own name.
pub fn told_controller(values: &Values, host: &str, port: u16) -> Result<(String, u16), String> {
    let told = parse_all(&values.get(broker::ADVERTISED_LISTENERS).unwrap_or_default())?;
    let told = told.into_iter().find(|endpoint| is_controllers(values, endpoint));
    let everywhere = |host: &str| host == "0.0.0.0" || host == "::";
    Ok(match told {
        Some(told) => (told.host, if told.port == 0 { port } else { told.port }),
        None if everywhere(host) => (String::new(), port),
        None => (host.to_owned(), port),
    })
}

/// The servers of `controller.quorum.bootstrap.servers`: host and port.
pub fn bootstrap_servers(values: &Values) -> Result<Vec<(String, u16)>, String> {
    let servers = values.get(broker::CONTROLLER_QUORUM_BOOTSTRAP_SERVERS);
    let server = |text: &String| {
        let must =
            || format!("controller.quorum.bootstrap.servers has {text}: it must be host:port, as in localhost:9093");
        place(text).ok_or_else(must)
    };
    servers.iter().map(server).collect()
}

/// Where a controller is whose only bootstrap server it is itself: it has nobody to look for.
pub fn names_itself_alone(values: &Values) -> Result<Option<(String, u16)>, String> {
    let servers = bootstrap_servers(values)?;
    let own = controllers(values)?;
    let ([(host, port)], [own]) = (servers.as_slice(), own.as_slice()) else { return Ok(None) };
    let (told, at) = told_controller(values, &own.host, own.port)?;
    let is_local = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "::1");
    let is_it = *host == told || *host == own.host || is_local(host) && (is_local(&told) || told.is_empty());
    Ok((has_role(values, "controller") && *port == at && is_it).then(|| (host.clone(), *port)))
}

/// Whether `process.roles` holds this one.
pub fn has_role(values: &Values, role: &str) -> bool {
    values.get(broker::PROCESS_ROLES).iter().any(|known| known == role)
}

/// `host:port`; a host that is an IPv6 address stands in brackets.
pub fn place(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok()?;
    (!host.is_empty() && port > 0).then(|| (host.to_owned(), port))
}

/// What clients are told, listener by listener: `advertised.listeners`, or what is bound when that is not set.
pub fn advertised(values: &Values) -> Result<Vec<Endpoint>, String> {
    match values.get(broker::ADVERTISED_LISTENERS) {
        Some(texts) => Ok(without_controller(values, parse_all(&texts)?)),
        None => bound(values),
    }
}

fn parse_all(texts: &[String]) -> Result<Vec<Endpoint>, String> {
    texts.iter().map(|text| parse(text)).collect()
}

fn without_controller(values: &Values, mut listeners: Vec<Endpoint>) -> Vec<Endpoint> {
    listeners.retain(|endpoint| !is_controllers(values, endpoint));
    listeners
}

fn is_controllers(values: &Values, endpoint: &Endpoint) -> bool {
    let controllers = values.get(broker::CONTROLLER_LISTENER_NAMES);
    controllers.iter().any(|name| name.eq_ignore_ascii_case(&endpoint.name))
}

/// The protocol of each listener name.
fn protocols(values: &Values) -> Result<HashMap<String, String>, String> {
    let text = values.get(broker::LISTENER_SECURITY_PROTOCOL_MAP);
    super::value::split_list(&text)
        .iter()
        .map(|pair| match pair.split_once(':') {
            Some((name, protocol)) => Ok((name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase())),
            None => Err(format!("listener.security.protocol.map has {pair}: it must be NAME:PROTOCOL pairs")),
        })
        .collect()
}

/// The name of the listener by which brokers reach each other: `inter.broker.listener.name`; without it the one that is called as
/// their protocol is, PLAINTEXT, or where none is, the first.
pub fn inter_broker(values: &Values) -> Result<String, String> {
    if let Some(name) = values.get(broker::INTER_BROKER_LISTENER_NAME) {
        return Ok(name.to_ascii_uppercase());
    }
    let told = advertised(values)?;
    let first = || told.first().map(|endpoint| endpoint.name.clone());
    Ok(match told.iter().any(|endpoint| endpoint.name == PLAINTEXT) {
        true => PLAINTEXT.to_owned(),
        false => first().unwrap_or_else(|| PLAINTEXT.to_owned()),
    })
}

/// What is wrong with the listeners, if anything.
pub(super) fn check(values: &Values) -> Option<String> {
    try_check(values).err()
}

fn try_check(values: &Values) -> Result<(), String> {
    let bound = bound(values)?;
    if !has_role(values, "broker") {
        return match bound.first() {
            Some(endpoint) => Err(format!(
                "listeners has {endpoint} and process.roles is controller: a node that is no broker has no clients, and \
                 listeners must have those alone that controller.listener.names names"
            )),
            None => Ok(()),
        };
    }
    if bound.is_empty() {
        return Err("listeners is empty but for the controller's: it must name one for clients".to_owned());
    }
    let protocols = protocols(values)?;
    for (index, endpoint) in bound.iter().enumerate() {
        match protocols.get(&endpoint.name).map(String::as_str) {
            Some(PLAINTEXT) => {}
            Some(protocol) => {
                return Err(format!("listener {endpoint} is {protocol}: only PLAINTEXT is served yet"));
            }
            None => {
                let name = &endpoint.name;
                return Err(format!(
                    "listener.security.protocol.map does not say what {name} is: add {name}:PLAINTEXT"
                ));
            }
        }
        for other in &bound[..index] {
            if other.name == endpoint.name {
                return Err(format!("listeners has {other} and {endpoint}: each needs a name of its own"));
            }
            let same_host = other.host == endpoint.host || other.host.is_empty() || endpoint.host.is_empty();
            if other.port == endpoint.port && endpoint.port != 0 && same_host {
                return Err(format!("listeners has {other} and {endpoint}: each needs a port of its own"));
            }
        }
    }
    for endpoint in advertised(values)? {
        if !bound.iter().any(|known| known.name == endpoint.name) {
            return Err(format!("advertised.listeners has {endpoint}: listeners has none of that name"));
        }
        let everywhere = endpoint.host == "0.0.0.0" || endpoint.host == "::";
        if everywhere && values.is_set(broker::ADVERTISED_LISTENERS) {
            return Err(format!("advertised.listeners has {endpoint}: clients cannot connect to every address"));
        }
    }
    let (among, told) = (inter_broker(values)?, advertised(values)?);
    if !told.iter().any(|endpoint| endpoint.name == among) {
        let names: Vec<&str> = told.iter().map(|endpoint| endpoint.name.as_str()).collect();
        let told = names.join(", ");
        return Err(format!(
            "inter.broker.listener.name is {among}: it must be one of the listeners that are advertised, {told}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_a_name_a_host_and_a_port() {
        let text = |text: &str| parse(text).unwrap().to_string();
        assert_eq!(text("PLAINTEXT://:9092"), "PLAINTEXT://:9092");
        assert_eq!(text("plaintext://a.b:0"), "PLAINTEXT://a.b:0");
        assert_eq!(text("X://[::1]:9"), "X://[::1]:9");
        for bad in
            ["", "9092", "PLAINTEXT:9092", "://:1", "P://a", "P://a:99999", "P://::1:9", "P://[::1:9", "P://a/b:9"]
        {
            assert!(parse(bad).unwrap_err().contains("it must be NAME://host:port"), "{bad}");
        }
    }
}
