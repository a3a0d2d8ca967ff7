//! The controllers: one log of decisions that a majority of them holds, and whoever of them may add to it.
//!
//! ```text
//!   wish --> decided, under way --(a majority has it)--> agreed --> brokers, each at its own pace; the answer to the wish
//!                    |
//!                    +--(the active controller crashes)--> agreed all the same, but nobody is answered; or lost
//! ```
//! One decision is under way at a time, and it is on the image of all those before it: that, and that the log is one, is what
//! `controller` and Raft see to, and what is tested there. Here it is given. Whoever takes over has its image from a snapshot
//! and the log behind it, and that must be the same as anybody's.

use std::collections::VecDeque;

use super::brokers::Message;
use super::{TOPIC, World};
use crate::common::ids::{NodeId, TopicPartition};
use crate::metadata::image::PartitionImage;
use crate::metadata::plan::{self, AlterIsr};
use crate::metadata::{Image, MetadataRecord};
use crate::protocol::ErrorCode;
use crate::replica::{AlterIsrWish, IsrState};

/// The log, and who is active.
#[derive(Default)]
pub(super) struct Controllers {
    /// What the log comes to.
    pub(super) image: Image,
    pub(super) log: Vec<Vec<MetadataRecord>>,
    /// Of the active controller, or of the last one that was.
    term: u32,
    crashed: bool,
    under_way: Option<Decision>,
    /// The image as records, and how much of the log is in it.
    snapshot: (usize, Vec<MetadataRecord>),
}

/// What is decided, and not agreed on yet.
struct Decision {
    records: Vec<MetadataRecord>,
    /// Who wished for another ISR, and waits for the answer.
    asked: Option<(NodeId, TopicPartition)>,
}

impl Controllers {
    /// Whether nothing is decided that is not agreed on.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// What holds, and what may hold soon: with what is under way, or is now to be, and with a wish for another ISR that may come.
    pub(super) fn images(&self, messages: &VecDeque<Message>, more: &[MetadataRecord]) -> Vec<Image> {
        let with = |image: &Image, records: &[MetadataRecord]| {
            let mut image = image.clone();
            records.iter().for_each(|record| image.apply(record).unwrap());
            image
        };
        let mut images = vec![self.image.clone()];
        images.extend(self.under_way.as_ref().map(|decision| with(&self.image, &decision.records)));
        if !more.is_empty() {
            images.push(with(&self.image, more));
        }
        for at in 0..images.len() {
            for message in messages {
                if let Message::Wish { from, epoch, wish } = message
                    && let Ok(records) = plan::alter_isr(&images[at], &alteration(*from, *epoch, wish))
                {
                    images.push(with(&images[at], &records));
                }
            }
        }
        images
    }

    /// Whether a wish can be decided on now.
    fn may_decide(&self) -> bool {
        !self.crashed && self.under_way.is_none()
    }
}

impl World {
    /// Has the active controller decide on something, if there is one and it is not busy; says whether it did. It may be agreed
    /// on at once.
    pub(super) fn decide(
        &mut self,
        asked: Option<(NodeId, TopicPartition)>,
        plan: impl FnOnce(&Image) -> Result<Vec<MetadataRecord>, ErrorCode>,
    ) -> bool {
        if !self.controllers.may_decide() {
            return false;
        }
        match plan(&self.controllers.image) {
            Ok(records) => {
                self.controllers.under_way = Some(Decision { records, asked });
                if self.chance(70) {
                    self.agree();
                }
            }
            Err(code) => {
                if let Some((to, id)) = asked {
                    self.messages.push_back(Message::Granted { to, id, answer: Err(code) });
                }
            }
        }
        true
    }

    /// A majority has what is under way.
    pub(super) fn agree(&mut self) {
        let Some(Decision { records, asked }) = self.controllers.under_way.take() else { return };
        self.commit(records);
        if let Some((to, id)) = asked {
            let partition = self.controllers.image.partition(TOPIC, 0).unwrap();
            let answer = Ok(IsrState {
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                isr: partition.isr.clone(),
            });
            self.messages.push_back(Message::Granted { to, id, answer });
        }
    }

    /// The log has a decision more.
    pub(super) fn commit(&mut self, records: Vec<MetadataRecord>) {
        if records.is_empty() {
            return;
        }
        let before = self.controllers.image.partition(TOPIC, 0).cloned();
        records.iter().for_each(|record| self.controllers.image.apply(record).unwrap());
        self.controllers.log.push(records);
        let Some(now) = self.controllers.image.partition(TOPIC, 0).cloned() else { return };
        let (leader, epoch) = (now.leader, now.leader_epoch);
        let PartitionImage { replicas, isr, eligible, last_known_eligible, .. } = &now;
        self.tell(|| {
            let last = last_known_eligible;
            format!(
                "it is agreed: {leader} leads {replicas:?} in {epoch}, in sync {isr:?}, eligible {eligible:?}, last leader {last:?}"
            )
        });
        let Some(before) = before else { return };
        let is_elsewhere = before.replicas.iter().any(|node| !now.replicas.contains(node));
        self.seen.moved += usize::from(is_elsewhere);
        if leader >= 0 && before.leader != leader {
            self.seen.eligible_led += usize::from(before.eligible.contains(&leader));
            self.seen.last_led += usize::from(before.last_known_eligible.contains(&leader) && now.recovering);
        }
        if leader >= 0 {
            let known = *self.led.entry(epoch).or_insert(leader);
            assert_eq!(known, leader, "two leaders in epoch {epoch}");
        }
    }

    /// The active controller crashes. What was under way is on a majority, or on too few and lost; nobody hears of it.
    pub(super) fn crash_controller(&mut self) {
        if self.controllers.crashed {
            return;
        }
        self.controllers.crashed = true;
        let term = self.controllers.term;
        self.tell(|| format!("the controller of term {term} crashes"));
        if let Some(Decision { records, asked }) = self.controllers.under_way.take() {
            let survives = self.chance(50);
            self.tell(|| format!("what it had under way survives: {survives}"));
            if survives {
                self.commit(records);
            }
            if let Some((to, id)) = asked {
                self.messages.push_back(Message::Granted { to, id, answer: Err(ErrorCode::REQUEST_TIMED_OUT) });
            }
        }
    }

    /// Another becomes the active one, with all that was agreed on.
    pub(super) fn take_over(&mut self) {
        if !self.controllers.crashed {
            return;
        }
        let Controllers { image, log, snapshot: (taken, records), .. } = &self.controllers;
        let mut anew = Image::default();
        for record in records.iter().chain(log[*taken..].iter().flatten()) {
            anew.apply(record).unwrap();
        }
        assert!(anew == *image, "a snapshot and the log behind it are not what the log comes to");
        self.controllers.image = anew;
        self.controllers.crashed = false;
        self.controllers.term += 1;
        let term = self.controllers.term;
        self.tell(|| format!("a controller is active in term {term}"));
    }

    /// A controller writes down its image.
    pub(super) fn snapshot(&mut self) {
        self.controllers.snapshot = (self.controllers.log.len(), self.controllers.image.records());
    }

    /// A broker's wish for another ISR has come.
    pub(super) fn decide_isr(&mut self, from: NodeId, epoch: i64, wish: AlterIsrWish) {
        let alter = alteration(from, epoch, &wish);
        let asked = Some((from, wish.id.clone()));
        if !self.decide(asked, |image| plan::alter_isr(image, &alter).map_err(|refusal| refusal.code)) {
            // Nobody is there, or too busy to answer in time.
            let answer = Err(ErrorCode::REQUEST_TIMED_OUT);
            self.messages.push_back(Message::Granted { to: from, id: wish.id, answer });
        }
    }
}

/// A broker's wish, as the controller has it.
fn alteration(from: NodeId, epoch: i64, wish: &AlterIsrWish) -> AlterIsr {
    let isr = wish.isr.iter().map(|(id, known)| (*id, if *id == from { epoch } else { *known }));
    AlterIsr {
        leader: (from, epoch),
        topic_id: wish.topic_id,
        partition: 0,
        leader_epoch: wish.leader_epoch,
        partition_epoch: wish.partition_epoch,
        isr: isr.collect(),
    }
}
