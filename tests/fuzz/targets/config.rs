//! A `.properties` file, and what a broker, a topic and the clients make of it.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use strandline::config::alter::{Alteration, apply};
use strandline::config::{Owner, Scope, Values, listener, properties};
use strandline_fuzz::within;

fuzz_target!(|bytes: &[u8]| {
    let base = broker();
    // Each key is kept, shown and described a few times over; the tables themselves are a constant.
    within((1 << 20) + 64 * bytes.len(), || digest(&String::from_utf8_lossy(bytes), base));
});

fn broker() -> &'static Arc<Values> {
    static BROKER: OnceLock<Arc<Values>> = OnceLock::new();
    BROKER.get_or_init(|| {
        let none: [(&str, &str); 0] = [];
        Arc::new(Values::broker(none).expect("the defaults are good").0)
    })
}

fn digest(text: &str, base: &Arc<Values>) {
    let Ok(pairs) = properties::parse(text) else { return };
    let given = || pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    if let Ok((values, _notices)) = Values::broker(given()) {
        assert_eq!(listener::bound(&values).map(|all| all.is_empty()), Ok(false), "a broker nobody can reach");
        listener::advertised(&values).expect("they were checked");
        values.describe_all();
    }
    if let Ok(values) = Values::topic("t", Arc::clone(base), given()) {
        for described in values.describe_all() {
            if let Some(value) = described.value {
                // What we tell is what we take.
                Values::topic("t", Arc::clone(base), [(described.def.name, value.as_str())])
                    .map(|again| {
                        assert_eq!(again.describe(described.def.name).and_then(|again| again.value), Some(value))
                    })
                    .ok();
            }
        }
        let owner = Owner::topic("t");
        let mut layer = BTreeMap::new();
        for (at, (key, value)) in given().enumerate() {
            let value = value.to_owned();
            let change = match at % 4 {
                0 => Alteration::Append(value),
                1 => Alteration::Subtract(value),
                2 => Alteration::Delete,
                _ => Alteration::Set(value),
            };
            let _ = apply(&owner, &mut layer, &values, key, change);
        }
        let _ = Values::topic("t", Arc::clone(base), layer);
    }
    for scope in [Scope::Producer, Scope::Consumer, Scope::Admin] {
        if let Ok((values, _)) = Values::client(scope, given()) {
            values.describe_all();
        }
    }
    for line in text.lines() {
        if let Ok(endpoint) = listener::parse(line) {
            assert_eq!(listener::parse(&endpoint.to_string()), Ok(endpoint));
        }
    }
}
