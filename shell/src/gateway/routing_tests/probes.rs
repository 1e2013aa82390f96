//! Probes that go on whatever endpoints do with them.

use super::*;

/// Answers whether it is there, and nothing about its models.
struct Silent;

impl Endpoint for Silent {
    fn infer<'a>(
        &'a self,
        _model: &'a str,
        _version: Option<&'a str>,
        _request: InferRequest,
    ) -> Answer<'a, Result<InferResponse, EndpointError>> {
        Box::pin(pending())
    }

    fn metadata<'a>(
        &'a self,
        _model: &'a str,
        _version: Option<&'a str>,
    ) -> Answer<'a, Result<ModelMetadata, EndpointError>> {
        Box::pin(pending())
    }

    fn is_ready(&self) -> Answer<'_, bool> {
        Box::pin(ready(true))
    }
}

fn health(gateway: &Gateway, name: &str) -> &'static str {
    gateway.standings().iter().find(|standing| standing.name == name).unwrap().health
}

#[tokio::test(start_paused = true)]
async fn whoever_is_gone_is_found_by_three_probes_though_another_says_nothing_of_its_many_models() {
    let gone = Fake::new(Does::Answers);
    gone.is_ready.store(false, Ordering::Relaxed);
    let known = Arc::clone(&gone);
    let connect = move |url: &str| match url {
        "http://a:1" => Ok(Arc::new(Silent) as Arc<dyn Endpoint>),
        _ => Ok(Arc::clone(&known) as Arc<dyn Endpoint>),
    };
    let (options, local) = (GatewayOptions::default(), Fake::new(Does::Answers));
    let gateway = Gateway::new(Clock::start(), options, local, Box::new(connect)).unwrap();
    let models: String =
        (0..300).map(|number| format!("[[models]]\nname = \"m{number}\"\n")).collect();
    let table = entry("a") + &entry("b") + &models;
    gateway.publish(Routes::from_toml(&table).unwrap()).unwrap();
    let gateway = Arc::new(gateway);
    let probing = tokio::spawn(Arc::clone(&gateway).keep_probing());
    let moment = Duration::from_millis(100);
    tokio::time::sleep(2 * options.probe_every + moment).await;
    assert_eq!((health(&gateway, "a"), health(&gateway, "b")), ("healthy", "unreachable"));
    gone.is_ready.store(true, Ordering::Relaxed);
    tokio::time::sleep(2 * options.probe_every).await;
    assert_eq!(health(&gateway, "b"), "healthy", "and so is that it is back");
    probing.abort();
}
