//! One byte that says whose it is (`b`roker, `t`opic, `p`roducer, `c`onsumer, `a`dmin), then a `.properties` file.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use strandline::config::alter::{Alteration, apply};
use strandline::config::values::check;
use strandline::config::{Owner, Scope, Values, listener, properties};
use strandline_fuzz::within;

fuzz_target!(|bytes: &[u8]| {
    let [whose, text @ ..] = bytes else { return };
    let base = broker();
    // Each key is kept, shown and described a few times over; the tables themselves are a constant.
    within((1 << 20) + 64 * bytes.len(), || digest(*whose, &String::from_utf8_lossy(text), base));
});

fn broker() -> &'static Arc<Values> {
    static BROKER: OnceLock<Arc<Values>> = OnceLock::new();
    BROKER.get_or_init(|| {
        let none: [(&str, &str); 0] = [];
        Arc::new(Values::broker(none).expect("the defaults are good").0)
    })
}

fn digest(whose: u8, text: &str, base: &Arc<Values>) {
    for line in text.lines() {
        if let Ok(endpoint) = listener::parse(line) {
            assert_eq!(listener::parse(&endpoint.to_string()), Ok(endpoint));
        }
    }
    let Ok(pairs) = properties::parse(text) else { return };
    let given = || pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let client = |scope| Values::client(scope, given()).map(|(values, _notices)| values.describe_all().len());
    match whose {
        b't' => topic(base, given),
        b'p' => drop(client(Scope::Producer)),
        b'c' => drop(client(Scope::Consumer)),
        b'a' => drop(client(Scope::Admin)),
        _ => {
            if let Ok((values, _notices)) = Values::broker(given()) {
                assert_eq!(listener::bound(&values).map(|all| all.is_empty()), Ok(false), "a broker nobody can reach");
                listener::advertised(&values).expect("they were checked");
                values.describe_all();
            }
        }
    }
}

fn topic<'a, I: Iterator<Item = (&'a str, &'a str)>>(base: &Arc<Values>, given: impl Fn() -> I) {
    let Ok(values) = Values::topic("t", Arc::clone(base), given()) else { return };
    let owner = Owner::topic("t");
    for described in values.describe_all() {
        // What we tell is what we take.
        if let Some(value) = described.value
            && let Ok((_, again)) = check(&owner, described.def.name, &value)
        {
            assert_eq!(again.text(), Some(value), "{}", described.def.name);
        }
    }
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
