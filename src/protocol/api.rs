//! The API table: each API that is served, said once.
//!
//! What ApiVersions answers, which versions a request may come in, from which version on a message is flexible and
//! which header stands before it: all of it is read off this table.

use std::fmt;

use super::primitives::Versions;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSpec {
    /// The number on the wire.
    pub key: i16,
    /// Kafka's name of it.
    pub name: &'static str,
    /// The versions that get a real answer.
    pub served: Versions,
    /// The versions that ApiVersions tells of. They begin below `served` where an old client must see them (Produce).
    pub advertised: Versions,
    /// The flexible versions.
    pub flexible: Versions,
    /// Whether only brokers and controllers use it among themselves: it is served on a controller's listener alone.
    pub internal: bool,
}

macro_rules! apis {
    ($(
        $key:literal $api:ident $min:literal - $max:literal, flexible $flexible:tt $(, advertised from $from:literal)?
        $(, internal $internal:literal)?;
    )+) => {
        /// An API that is served.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("API ", $key, ", versions ", $min, " to ", $max, ".")]
                $api = $key,
            )+
        }

        impl ApiKey {
            /// Every API, in the order of their keys.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$api),+];

            /// The API with this key; `None` for one that is not served.
            pub const fn from_i16(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$api),)+
                    _ => None,
                }
            }

            /// This API's line of the table.
            pub const fn spec(self) -> &'static ApiSpec {
                match self {
                    $(ApiKey::$api => &const {
                        #[allow(unused_mut)]
                        let mut advertised = Versions::new($min, $max);
                        $(advertised.min = $from;)?
                        let internal = false $(|| $internal)?;
                        ApiSpec {
                            key: $key,
                            name: stringify!($api),
                            served: Versions::new($min, $max),
                            advertised,
                            flexible: flexible!($flexible),
                            internal,
                        }
                    },)+
                }
            }
        }
    };
}

macro_rules! flexible {
    (none) => {
        Versions::NONE
    };
    ($from:literal) => {
        Versions::new($from, i16::MAX)
    };
}

apis! {
//  key  API                        served, flexible from
    0    Produce                     3-13,  flexible 9, advertised from 0;
    1    Fetch                       4-18,  flexible 12;
    2    ListOffsets                 1-11,  flexible 6;
    3    Metadata                    0-13,  flexible 9;
    8    OffsetCommit                2-10,  flexible 8;
    9    OffsetFetch                 1-10,  flexible 6;
    10   FindCoordinator             0-6,   flexible 3;
    11   JoinGroup                   0-9,   flexible 6;
    12   Heartbeat                   0-4,   flexible 4;
    13   LeaveGroup                  0-5,   flexible 4;
    14   SyncGroup                   0-5,   flexible 4;
    15   DescribeGroups              0-6,   flexible 5;
    16   ListGroups                  0-5,   flexible 3;
    18   ApiVersions                 0-4,   flexible 3;
    19   CreateTopics                2-7,   flexible 5;
    20   DeleteTopics                1-6,   flexible 4;
    21   DeleteRecords               0-2,   flexible 2;
    22   InitProducerId              0-5,   flexible 2;
    23   OffsetForLeaderEpoch        2-4,   flexible 4;
    32   DescribeConfigs             1-4,   flexible 4;
    33   AlterConfigs                0-2,   flexible 2;
    35   DescribeLogDirs             1-5,   flexible 2;
    37   CreatePartitions            0-3,   flexible 2;
    42   DeleteGroups                0-2,   flexible 2;
    43   ElectLeaders                0-2,   flexible 2;
    44   IncrementalAlterConfigs     0-1,   flexible 1;
    45   AlterPartitionReassignments 0-1,   flexible 0;
    46   ListPartitionReassignments  0-0,   flexible 0;
    47   OffsetDelete                0-0,   flexible none;
    55   DescribeQuorum              0-2,   flexible 0;
    56   AlterPartition              2-3,   flexible 0, internal true;
    57   UpdateFeatures              0-2,   flexible 0;
    58   Envelope                    0-0,   flexible 0, internal true;
    60   DescribeCluster             0-2,   flexible 0;
    61   DescribeProducers           0-0,   flexible 0;
    62   BrokerRegistration          2-4,   flexible 0, internal true;
    63   BrokerHeartbeat             0-1,   flexible 0, internal true;
    64   UnregisterBroker            0-0,   flexible 0;
    67   AllocateProducerIds         0-0,   flexible 0, internal true;
    74   ListConfigResources         0-1,   flexible 0;
    75   DescribeTopicPartitions     0-0,   flexible 0;
    80   AddRaftVoter                0-1,   flexible 0;
    81   RemoveRaftVoter             0-0,   flexible 0;
//  What our controllers say among themselves.
    10_000 QuorumVote                0-0,   flexible 0, internal true;
    10_001 QuorumAppend              0-0,   flexible 0, internal true;
    10_002 QuorumSnapshot            0-0,   flexible 0, internal true;
    10_003 QuorumHello               0-0,   flexible 0, internal true;
}

impl ApiKey {
    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Whether it is our own, for controllers among themselves: no client is told of it.
    pub const fn is_internal(self) -> bool {
        self.spec().internal
    }

    /// The version of the header before a request in `version`, which need not be one that is served.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.spec().flexible.contains(version) { 2 } else { 1 }
    }

    /// The version of the header before a response in `version`.
    ///
    /// ApiVersions always has the oldest: its client does not know yet what the broker speaks.
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.spec().flexible.contains(version) && !matches!(self, ApiKey::ApiVersions) { 1 } else { 0 }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an Apache Kafka 4.3 broker answers to ApiVersions: key, name, versions.
    const KAFKA_4_3: &[(i16, &str, i16, i16)] = &[
        (0, "Produce", 0, 13),
        (1, "Fetch", 4, 18),
        (2, "ListOffsets", 1, 11),
        (3, "Metadata", 0, 13),
        (8, "OffsetCommit", 2, 10),
        (9, "OffsetFetch", 1, 10),
        (10, "FindCoordinator", 0, 6),
        (11, "JoinGroup", 0, 9),
        (12, "Heartbeat", 0, 4),
        (13, "LeaveGroup", 0, 5),
        (14, "SyncGroup", 0, 5),
        (15, "DescribeGroups", 0, 6),
        (16, "ListGroups", 0, 5),
        (18, "ApiVersions", 0, 4),
        (19, "CreateTopics", 2, 7),
        (20, "DeleteTopics", 1, 6),
        (21, "DeleteRecords", 0, 2),
        (22, "InitProducerId", 0, 5),
        (23, "OffsetForLeaderEpoch", 2, 4),
        (32, "DescribeConfigs", 1, 4),
        (33, "AlterConfigs", 0, 2),
        (35, "DescribeLogDirs", 1, 5),
        (37, "CreatePartitions", 0, 3),
        (42, "DeleteGroups", 0, 2),
        (43, "ElectLeaders", 0, 2),
        (44, "IncrementalAlterConfigs", 0, 1),
        (45, "AlterPartitionReassignments", 0, 1),
        (46, "ListPartitionReassignments", 0, 0),
        (47, "OffsetDelete", 0, 0),
        (55, "DescribeQuorum", 0, 2),
        (57, "UpdateFeatures", 0, 2),
        (60, "DescribeCluster", 0, 2),
        (61, "DescribeProducers", 0, 0),
        (64, "UnregisterBroker", 0, 0),
        (74, "ListConfigResources", 0, 1),
        (75, "DescribeTopicPartitions", 0, 0),
        (80, "AddRaftVoter", 0, 1),
        (81, "RemoveRaftVoter", 0, 0),
    ];

    #[test]
    fn the_table_advertises_what_kafka_4_3_does() {
        let told: Vec<_> = ApiKey::ALL.iter().filter(|api| !api.spec().internal).collect();
        for api in &told {
            let spec = api.spec();
            let line = (spec.key, spec.name, spec.advertised.min, spec.advertised.max);
            assert!(KAFKA_4_3.contains(&line), "{line:?} is not what Kafka advertises");
        }
        assert_eq!(told.len(), KAFKA_4_3.len());
    }

    #[test]
    fn only_produce_advertises_more_than_it_serves() {
        let wider: Vec<_> = ApiKey::ALL.iter().filter(|api| api.spec().served != api.spec().advertised).collect();
        assert_eq!(wider, [&ApiKey::Produce]);
        assert_eq!(ApiKey::Produce.spec().served, Versions::new(3, 13));
    }

    #[test]
    fn keys_rise_and_lead_back_to_their_api() {
        assert!(ApiKey::ALL.is_sorted_by(|a, b| a.spec().key < b.spec().key));
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_i16(*api as i16), Some(*api));
        }
        assert_eq!(ApiKey::from_i16(-1), None);
        assert_eq!(ApiKey::from_i16(4), None);
    }

    #[test]
    fn headers_follow_the_flexible_versions() {
        assert_eq!((ApiKey::Fetch.request_header_version(11), ApiKey::Fetch.response_header_version(11)), (1, 0));
        assert_eq!((ApiKey::Fetch.request_header_version(12), ApiKey::Fetch.response_header_version(12)), (2, 1));
        assert_eq!(ApiKey::ApiVersions.request_header_version(99), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(4), 0);
        assert_eq!(ApiKey::OffsetDelete.request_header_version(0), 1);
    }
}
