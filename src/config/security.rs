//! The keys of TLS and SASL: known by name, type and default, not honoured yet.
//!
//! Kafka has most of them twice, for brokers and for clients, with small differences.

use super::key::{Range, not_yet};
use super::value::{Bool, Class, Double, Int, IntMs, List, Long, Ms, Password, Short, Text};

use Range::{Between, Fraction, OneOf, OneOfIgnoringCase};

not_yet! {
    /// A broker's keys of TLS and SASL.
    Broker BROKER_TABLE;

    "sasl.client.callback.handler.class" Class (null);
    "sasl.enabled.mechanisms" List ("GSSAPI");
    "sasl.jaas.config" Password (null);
    "sasl.kerberos.kinit.cmd" Text ("/usr/bin/kinit");
    "sasl.kerberos.min.time.before.relogin" Long (60_000);
    "sasl.kerberos.principal.to.local.rules" List ("DEFAULT");
    "sasl.kerberos.service.name" Text (null);
    "sasl.kerberos.ticket.renew.jitter" Double (0.05);
    "sasl.kerberos.ticket.renew.window.factor" Double (0.8);
    "sasl.login.callback.handler.class" Class (null);
    "sasl.login.class" Class (null);
    "sasl.login.connect.timeout.ms" IntMs (null);
    "sasl.login.read.timeout.ms" IntMs (null);
    "sasl.login.refresh.buffer.seconds" Short (300);
    "sasl.login.refresh.min.period.seconds" Short (60);
    "sasl.login.refresh.window.factor" Double (0.8);
    "sasl.login.refresh.window.jitter" Double (0.05);
    "sasl.login.retry.backoff.max.ms" Ms (10_000);
    "sasl.login.retry.backoff.ms" Ms (100);
    "sasl.mechanism.controller.protocol" Text ("GSSAPI");
    "sasl.mechanism.inter.broker.protocol" Text ("GSSAPI");
    "sasl.oauthbearer.assertion.algorithm" Text ("RS256") OneOfIgnoringCase(&["ES256", "RS256"]);
    "sasl.oauthbearer.assertion.claim.aud" Text (null);
    "sasl.oauthbearer.assertion.claim.exp.seconds" Int (300) Between(0, 86_400);
    "sasl.oauthbearer.assertion.claim.iss" Text (null);
    "sasl.oauthbearer.assertion.claim.jti.include" Bool (false);
    "sasl.oauthbearer.assertion.claim.nbf.seconds" Int (60) Between(0, 3_600);
    "sasl.oauthbearer.assertion.claim.sub" Text (null);
    "sasl.oauthbearer.assertion.file" Text (null);
    "sasl.oauthbearer.assertion.private.key.file" Text (null);
    "sasl.oauthbearer.assertion.private.key.passphrase" Password (null);
    "sasl.oauthbearer.assertion.template.file" Text (null);
    "sasl.oauthbearer.client.credentials.client.id" Text (null);
    "sasl.oauthbearer.client.credentials.client.secret" Password (null);
    "sasl.oauthbearer.clock.skew.seconds" Int (30);
    "sasl.oauthbearer.expected.audience" List ("");
    "sasl.oauthbearer.expected.issuer" Text (null);
    "sasl.oauthbearer.jwks.endpoint.refresh.ms" Ms (3_600_000);
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms" Ms (10_000);
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms" Ms (100);
    "sasl.oauthbearer.jwks.endpoint.url" Text (null);
    "sasl.oauthbearer.jwt.retriever.class" Class ("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever");
    "sasl.oauthbearer.jwt.validator.class" Class ("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator");
    "sasl.oauthbearer.scope" Text (null);
    "sasl.oauthbearer.scope.claim.name" Text ("scope");
    "sasl.oauthbearer.sub.claim.name" Text ("sub");
    "sasl.oauthbearer.token.endpoint.url" Text (null);
    "sasl.server.callback.handler.class" Class (null);
    "sasl.server.max.receive.size" Int (524_288);
    "ssl.allow.dn.changes" Bool (false);
    "ssl.allow.san.changes" Bool (false);
    "ssl.cipher.suites" List ("");
    "ssl.client.auth" Text ("none") OneOf(&["required", "requested", "none"]);
    "ssl.enabled.protocols" List ("TLSv1.2,TLSv1.3");
    "ssl.endpoint.identification.algorithm" Text ("https");
    "ssl.engine.factory.class" Class (null);
    "ssl.key.password" Password (null);
    "ssl.keymanager.algorithm" Text ("SunX509");
    "ssl.keystore.certificate.chain" Password (null);
    "ssl.keystore.key" Password (null);
    "ssl.keystore.location" Text (null);
    "ssl.keystore.password" Password (null);
    "ssl.keystore.type" Text ("JKS");
    "ssl.principal.mapping.rules" Text ("DEFAULT");
    "ssl.protocol" Text ("TLSv1.3");
    "ssl.provider" Text (null);
    "ssl.secure.random.implementation" Text (null);
    "ssl.trustmanager.algorithm" Text ("PKIX");
    "ssl.truststore.certificates" Password (null);
    "ssl.truststore.location" Text (null);
    "ssl.truststore.password" Password (null);
    "ssl.truststore.type" Text ("JKS");
}

not_yet! {
    /// Every client's keys of TLS and SASL.
    Client CLIENT_TABLE;

    "sasl.client.callback.handler.class" Class (null);
    "sasl.jaas.config" Password (null);
    "sasl.kerberos.kinit.cmd" Text ("/usr/bin/kinit");
    "sasl.kerberos.min.time.before.relogin" Long (60_000);
    "sasl.kerberos.service.name" Text (null);
    "sasl.kerberos.ticket.renew.jitter" Double (0.05);
    "sasl.kerberos.ticket.renew.window.factor" Double (0.8);
    "sasl.login.callback.handler.class" Class (null);
    "sasl.login.class" Class (null);
    "sasl.login.connect.timeout.ms" IntMs (null);
    "sasl.login.read.timeout.ms" IntMs (null);
    "sasl.login.refresh.buffer.seconds" Short (300) Between(0, 3_600);
    "sasl.login.refresh.min.period.seconds" Short (60) Between(0, 900);
    "sasl.login.refresh.window.factor" Double (0.8) Fraction(0.5, 1.0);
    "sasl.login.refresh.window.jitter" Double (0.05) Fraction(0.0, 0.25);
    "sasl.login.retry.backoff.max.ms" Ms (10_000);
    "sasl.login.retry.backoff.ms" Ms (100);
    "sasl.mechanism" Text ("GSSAPI");
    "sasl.oauthbearer.assertion.algorithm" Text ("RS256") OneOfIgnoringCase(&["ES256", "RS256"]);
    "sasl.oauthbearer.assertion.claim.aud" Text (null);
    "sasl.oauthbearer.assertion.claim.exp.seconds" Int (300) Between(0, 86_400);
    "sasl.oauthbearer.assertion.claim.iss" Text (null);
    "sasl.oauthbearer.assertion.claim.jti.include" Bool (false);
    "sasl.oauthbearer.assertion.claim.nbf.seconds" Int (60) Between(0, 3_600);
    "sasl.oauthbearer.assertion.claim.sub" Text (null);
    "sasl.oauthbearer.assertion.file" Text (null);
    "sasl.oauthbearer.assertion.private.key.file" Text (null);
    "sasl.oauthbearer.assertion.private.key.passphrase" Password (null);
    "sasl.oauthbearer.assertion.template.file" Text (null);
    "sasl.oauthbearer.client.credentials.client.id" Text (null);
    "sasl.oauthbearer.client.credentials.client.secret" Password (null);
    "sasl.oauthbearer.clock.skew.seconds" Int (30);
    "sasl.oauthbearer.expected.audience" List ("");
    "sasl.oauthbearer.expected.issuer" Text (null);
    "sasl.oauthbearer.header.urlencode" Bool (false);
    "sasl.oauthbearer.jwks.endpoint.refresh.ms" Ms (3_600_000);
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms" Ms (10_000);
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms" Ms (100);
    "sasl.oauthbearer.jwks.endpoint.url" Text (null);
    "sasl.oauthbearer.jwt.retriever.class" Class ("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever");
    "sasl.oauthbearer.jwt.validator.class" Class ("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator");
    "sasl.oauthbearer.scope" Text (null);
    "sasl.oauthbearer.scope.claim.name" Text ("scope");
    "sasl.oauthbearer.sub.claim.name" Text ("sub");
    "sasl.oauthbearer.token.endpoint.url" Text (null);
    "security.providers" Text (null);
    "ssl.cipher.suites" List ("");
    "ssl.enabled.protocols" List ("TLSv1.2,TLSv1.3");
    "ssl.endpoint.identification.algorithm" Text ("https");
    "ssl.engine.factory.class" Class (null);
    "ssl.key.password" Password (null);
    "ssl.keymanager.algorithm" Text ("SunX509");
    "ssl.keystore.certificate.chain" Password (null);
    "ssl.keystore.key" Password (null);
    "ssl.keystore.location" Text (null);
    "ssl.keystore.password" Password (null);
    "ssl.keystore.type" Text ("JKS");
    "ssl.protocol" Text ("TLSv1.3");
    "ssl.provider" Text (null);
    "ssl.secure.random.implementation" Text (null);
    "ssl.trustmanager.algorithm" Text ("PKIX");
    "ssl.truststore.certificates" Password (null);
    "ssl.truststore.location" Text (null);
    "ssl.truststore.password" Password (null);
    "ssl.truststore.type" Text ("JKS");
}
