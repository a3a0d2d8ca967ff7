//! A cluster's features, raised and lowered while it runs, through brokers that are not the controller too.

use std::time::Duration;

use strandline::client::network::Wanted;
use strandline::protocol::ErrorCode;
use strandline::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use strandline::protocol::messages::update_features::{
    FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use crate::cluster::{Shore, numbers, run};

const ELIGIBLE: &str = "eligible.leader.replicas.version";

async fn update(shore: &Shore, level: i16, upgrade_type: i8, version: i16) -> UpdateFeaturesResponse {
    let admin = shore.admin();
    admin.network().refresh(Wanted::All, false).await.unwrap();
    let controller = shore.controller();
    let other = shore.cluster.ids().into_iter().find(|id| *id != controller).unwrap();
    let asked = admin.network().connection(other).await.unwrap();
    let key = FeatureUpdateKey {
        feature: ELIGIBLE.into(),
        max_version_level: level,
        upgrade_type,
        ..FeatureUpdateKey::default()
    };
    let request = UpdateFeaturesRequest { feature_updates: vec![key], ..UpdateFeaturesRequest::default() };
    let response = asked.call_at(&request, version, Duration::from_secs(30)).await.unwrap();
    admin.close();
    response
}

/// What the controller tells of features.
async fn told(shore: &Shore) -> ApiVersionsResponse {
    let admin = shore.admin();
    admin.network().refresh(Wanted::All, false).await.unwrap();
    let asked = admin.network().connection(shore.controller()).await.unwrap();
    let request = ApiVersionsRequest { client_software_name: "tests".into(), client_software_version: "1".into() };
    let response = asked.call_at(&request, 4, Duration::from_secs(30)).await.unwrap();
    admin.close();
    response
}

fn level(told: &ApiVersionsResponse) -> Option<i16> {
    told.finalized_features.iter().find(|feature| feature.name.as_str() == ELIGIBLE).map(|on| on.max_version_level)
}

#[test]
fn a_cluster_without_the_eligible_is_given_them_while_it_runs() {
    run(async {
        let shore = Shore::with(&[("min.insync.replicas", "2")]).await;
        shore.create("t", 3).await;
        let before = told(&shore).await;
        assert_eq!(level(&before), Some(1));
        assert_eq!(update(&shore, 0, 2, 2).await, UpdateFeaturesResponse::default());
        let without = told(&shore).await;
        assert_eq!(level(&without), None);
        assert!(without.finalized_features_epoch > before.finalized_features_epoch);
        let known = |told: &ApiVersionsResponse| {
            let of = told.supported_features.iter().find(|feature| feature.name.as_str() == ELIGIBLE).cloned();
            of.map(|feature| (feature.min_version, feature.max_version))
        };
        assert_eq!(known(&without), Some((0, 1)), "it could be on");

        // It is now as one that began before there were any; nothing of it is lost where all are started again.
        let producer = shore.producer();
        shore.send(&producer, "t", 0..20).await;
        shore.cluster.stop_all().await.unwrap();
        // A majority must be there before the first can be let in.
        let starting = shore.cluster.ids().into_iter().map(|id| shore.cluster.start_broker(id));
        for started in futures_util::future::join_all(starting).await {
            started.unwrap();
        }
        shore.send(&producer, "t", 20..40).await;
        assert_eq!(level(&told(&shore).await), None);
        let refused = update(&shore, 1, 2, 2).await;
        assert_eq!(refused.error_code, ErrorCode::INVALID_UPDATE_VERSION);
        let raised = update(&shore, 1, 1, 1).await;
        assert_eq!((raised.error_code, raised.results.len()), (ErrorCode::NONE, 1));
        assert_eq!((raised.results[0].feature.as_str(), raised.results[0].error_code), (ELIGIBLE, ErrorCode::NONE));
        assert_eq!(level(&told(&shore).await), Some(1));

        // Whoever leaves below the minimum stays eligible.
        let leader = shore.leader("t");
        let others: Vec<_> = shore.cluster.ids().into_iter().filter(|id| *id != leader).collect();
        assert_eq!(shore.values_at(leader, "t").await, numbers(0..40));
        let eligible = || {
            let broker = shore.cluster.running().into_iter().find(|broker| broker.node().id == leader).unwrap();
            broker.controller().read(|image| image.partition("t", 0).unwrap().eligible.clone())
        };
        shore.cluster.stop_broker(others[0]).await.unwrap();
        assert!(eligible().is_empty());
        shore.cluster.stop_broker(others[1]).await.unwrap();
        while eligible() != [others[1]] {
            tokio::task::yield_now().await;
        }
        drop(producer);
        shore.cluster.stop_all().await.unwrap();
    });
}
