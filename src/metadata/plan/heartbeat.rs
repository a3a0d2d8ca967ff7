//! Heartbeats: how a broker comes to lead, and how it stops without anybody noticing.
//!
//! ```text
//!             registers            caught up               is about to stop               leads nothing
//! (unknown) ------------> fenced -----------> active -----------------------> leaving ----------------> fenced, may stop
//!                           ^                   |                                |
//!                           +--- not heard of within its session (failover) -----+
//! ```
//! A broker tells the controller every `broker.heartbeat.interval.ms` how far it has read the metadata and what it wants;
//! the answer is where it stands. When it was last heard of is not told here: whoever keeps the time fences it.

use super::{Refusal, failover};
use crate::common::ids::NodeId;
use crate::metadata::image::{BrokerImage, Image};
use crate::metadata::records::{BrokerRegistrationChangeRecord, MetadataRecord};
use crate::protocol::ErrorCode;

/// What a broker tells and wants (BrokerHeartbeat).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Its node id.
    pub id: NodeId,
    /// The epoch of its registration.
    pub epoch: i64,
    /// Whether it has read the metadata up to its own registration, and so knows what it may lead.
    pub is_caught_up: bool,
    /// Whether it wants to be left out.
    pub want_fence: bool,
    /// Whether it is about to stop.
    pub want_shut_down: bool,
}

/// Where a broker stands once the records of its heartbeat are in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is fenced.
    pub is_fenced: bool,
    /// Whether it may stop now: nothing waits for it.
    pub may_stop: bool,
}

/// Answers a heartbeat.
///
/// # Errors
/// BROKER_ID_NOT_REGISTERED, STALE_BROKER_EPOCH for one that was started before the one that is registered.
pub fn heartbeat(image: &Image, beat: &Heartbeat) -> Result<(Standing, Vec<MetadataRecord>), Refusal> {
    let id = beat.id;
    let Some(broker) = image.broker(id) else {
        return Err(Refusal::new(ErrorCode::BROKER_ID_NOT_REGISTERED, format!("no broker {id} is registered")));
    };
    if broker.epoch != beat.epoch {
        let sentence = format!("broker {id} is registered at epoch {}, not at {}", broker.epoch, beat.epoch);
        return Err(Refusal::new(ErrorCode::STALE_BROKER_EPOCH, sentence));
    }
    let stands = |is_fenced, may_stop| Standing { is_fenced, may_stop };
    if broker.fenced {
        let may_lead = beat.is_caught_up && !beat.want_fence && !beat.want_shut_down;
        let records = if may_lead { failover::unfence_broker(image, id) } else { Vec::new() };
        return Ok((stands(!may_lead, beat.want_shut_down), records));
    }
    if beat.want_shut_down {
        if leads(image, id) && !broker.in_controlled_shutdown {
            return Ok((stands(false, false), begin_shutdown(image, broker)));
        }
        // What is left has no other replica in sync: it goes without a leader until this broker is back.
        return Ok((stands(true, true), failover::fence_broker(image, id)));
    }
    let records = if beat.want_fence { failover::fence_broker(image, id) } else { Vec::new() };
    Ok((stands(beat.want_fence, false), records))
}

/// Hands over what a broker leads, and counts it as in sync nowhere.
fn begin_shutdown(image: &Image, broker: &BrokerImage) -> Vec<MetadataRecord> {
    let change = BrokerRegistrationChangeRecord {
        broker_id: broker.id,
        broker_epoch: broker.epoch,
        in_controlled_shutdown: 1,
        ..Default::default()
    };
    let mut records = vec![MetadataRecord::BrokerRegistrationChange(change)];
    records.extend(failover::leave(image, broker.id));
    records
}

fn leads(image: &Image, id: NodeId) -> bool {
    image.topics().any(|topic| topic.partitions.iter().any(|partition| partition.leader == id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::ids::Uuid;
    use crate::metadata::plan::{self, CreateTopic, NO_LEADER, Registration};

    fn apply(image: &mut Image, records: Vec<MetadataRecord>) {
        records.into_iter().for_each(|record| image.apply(&record).unwrap());
    }

    fn register(image: &mut Image, id: NodeId) {
        let wish = Registration::new(id, ("localhost", 9092), Uuid::random());
        let records = plan::register_broker(image, &wish, false).unwrap();
        apply(image, records);
    }

    fn beat(image: &mut Image, id: NodeId, want: impl FnOnce(&mut Heartbeat)) -> Standing {
        let epoch = image.broker(id).unwrap().epoch;
        let mut beat = Heartbeat { id, epoch, is_caught_up: true, want_fence: false, want_shut_down: false };
        want(&mut beat);
        let (standing, records) = heartbeat(image, &beat).unwrap();
        apply(image, records);
        assert_eq!(image.broker(id).unwrap().fenced, standing.is_fenced);
        standing
    }

    fn cluster() -> Image {
        let mut image = Image::default();
        (1..=3).for_each(|id| register(&mut image, id));
        (1..=3).for_each(|id| assert!(!beat(&mut image, id, |_| ()).is_fenced));
        let assignments = [(0, vec![1, 2, 3]), (1, vec![1])].into_iter().collect();
        let wish =
            CreateTopic { name: "t".into(), partitions: -1, replication_factor: -1, assignments, ..Default::default() };
        let none: [(&str, &str); 0] = [];
        let values = std::sync::Arc::new(crate::config::Values::broker(none).unwrap().0);
        let records = plan::create_topic(&image, &wish, &values).unwrap();
        apply(&mut image, records);
        image
    }

    #[test]
    fn a_broker_leads_once_it_is_caught_up() {
        let mut image = cluster();
        register(&mut image, 4);
        assert!(beat(&mut image, 4, |beat| beat.is_caught_up = false).is_fenced);
        assert!(beat(&mut image, 4, |beat| beat.want_fence = true).is_fenced);
        assert!(!beat(&mut image, 4, |_| ()).is_fenced);
        assert!(beat(&mut image, 4, |beat| beat.want_fence = true).is_fenced);
    }

    #[test]
    fn a_broker_that_stops_hands_over_first() {
        let mut image = cluster();
        let stop = |beat: &mut Heartbeat| beat.want_shut_down = true;
        assert_eq!(beat(&mut image, 1, stop), Standing { is_fenced: false, may_stop: false });
        let shared = image.partition("t", 0).unwrap();
        assert_eq!((shared.leader, &shared.isr[..]), (2, &[2, 3][..]));
        assert_eq!(image.partition("t", 1).unwrap().leader, NO_LEADER);
        assert_eq!(beat(&mut image, 1, stop), Standing { is_fenced: true, may_stop: true });
        // Started again, it takes back what only it has.
        register(&mut image, 1);
        assert!(!image.broker(1).unwrap().in_controlled_shutdown);
        beat(&mut image, 1, |_| ());
        assert_eq!(image.partition("t", 1).unwrap().leader, 1);
        assert_eq!(image.partition("t", 0).unwrap().leader, 2);
    }

    #[test]
    fn a_broker_that_leads_nothing_may_stop_at_once() {
        let mut image = cluster();
        assert!(beat(&mut image, 3, |beat| beat.want_shut_down = true).may_stop);
    }

    #[test]
    fn who_was_started_before_is_told() {
        let mut image = cluster();
        let old = image.broker(1).unwrap().epoch;
        register(&mut image, 1);
        let late = |epoch| Heartbeat { id: 1, epoch, is_caught_up: true, want_fence: false, want_shut_down: false };
        assert_eq!(heartbeat(&image, &late(old)).unwrap_err().code, ErrorCode::STALE_BROKER_EPOCH);
        let unknown = Heartbeat { id: 9, ..late(old) };
        assert_eq!(heartbeat(&image, &unknown).unwrap_err().code, ErrorCode::BROKER_ID_NOT_REGISTERED);
    }

    #[test]
    fn a_broker_that_comes_back_has_left_what_it_was_in_sync_with() {
        let mut image = cluster();
        register(&mut image, 1);
        let shared = image.partition("t", 0).unwrap();
        assert_eq!((shared.leader, &shared.isr[..]), (2, &[2, 3][..]));
        let wish = Registration::new(1, ("localhost", 9092), Uuid::random());
        let refusal = plan::register_broker(&image, &wish, true).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::DUPLICATE_BROKER_REGISTRATION);
        let copy = Registration { id: 7, log_dirs: image.broker(2).unwrap().log_dirs.clone(), ..wish };
        let refusal = plan::register_broker(&image, &copy, false).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::DUPLICATE_BROKER_REGISTRATION);
    }

    #[test]
    fn a_broker_that_did_not_hear_that_it_is_registered_keeps_its_epoch() {
        let mut image = cluster();
        let wish = Registration::new(1, ("localhost", 9092), Uuid::random());
        let records = plan::register_broker(&image, &wish, false).unwrap();
        apply(&mut image, records);
        beat(&mut image, 1, |_| ());
        let before = image.clone();
        // It asked twice, and the first that it asked comes last: it may lead by now.
        let records = plan::register_broker(&image, &wish, true).unwrap();
        apply(&mut image, records);
        assert_eq!(image, before);
    }

    #[test]
    fn a_lone_broker_that_comes_back_changes_nothing() {
        let mut image = Image::default();
        let wish = Registration::new(1, ("localhost", 9092), Uuid::random());
        let records = plan::register_broker(&image, &wish, false).unwrap();
        apply(&mut image, records);
        assert!(image.broker(1).unwrap().is_active(), "there is nobody to wait for");
        let again = Registration { incarnation_id: Uuid::random(), ..wish };
        assert_eq!(plan::register_broker(&image, &again, false), Ok(Vec::new()));
    }
}
