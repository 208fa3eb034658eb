//! Answers requests by asking the controller.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};

use super::{
    reply::{Refusal, Reply, body, query},
    trace,
    types::{
        BackendFilter, BackendReport, Changed, ExplainQuery, Explanation, FlowFilter, Flows,
        Forgotten, Healthz, NewBackend, NewWeight, RebalanceOrder, RebalanceReport, ReloadQuery,
        Reloaded, RingChange, RingDiffReport, ServiceReport, ServiceState, SessionFilter,
        SessionsReport, Status,
    },
};
use crate::{
    config::model::{Backend, LoadLimits, Weight},
    control::{actor::Handle, error::ChangeError, overlay::CommandError},
    metrics::{self, Process},
};

/// A service and one of its backends, by their names.
type BackendPath = Path<(String, String)>;

/// The whole API.
pub fn router(controller: Handle) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/services", get(services))
        .route("/v1/backends", get(backends))
        .route("/v1/services/{service}/backends", post(add))
        .route("/v1/services/{service}/backends/{backend}", get(backend).merge(delete(remove)))
        .route("/v1/services/{service}/backends/{backend}/drain", post(drain))
        .route("/v1/services/{service}/backends/{backend}/undrain", post(undrain))
        .route("/v1/services/{service}/backends/{backend}/weight", put(weigh))
        .route(
            "/v1/services/{service}/rebalance",
            post(rebalance).get(rebalancing).delete(end_rebalancing),
        )
        .route("/v1/services/{service}/sessions", get(sessions).delete(forget_sessions))
        .route("/v1/flows", get(flows))
        .route("/v1/explain", get(explain))
        .route("/v1/reload", post(reload))
        .route("/v1/ring/diff", post(ring_diff))
        .route("/v1/trace", post(trace::trace).delete(trace::end))
        .with_state(controller.clone())
        .merge(observer(controller))
}

/// The part of the API that changes nothing and says nothing about single clients: for supervisors
/// and Prometheus, over TCP.
pub fn observer(controller: Handle) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(scrape))
        .fallback(unknown)
        .with_state(controller)
}

async fn status(State(controller): State<Handle>) -> Reply<Status> {
    Ok(Json(controller.with(|c| c.status()).await??))
}

async fn services(State(controller): State<Handle>) -> Reply<Vec<ServiceReport>> {
    Ok(Json(controller.with(|c| c.service_reports()).await??))
}

async fn backends(
    State(controller): State<Handle>,
    RawQuery(text): RawQuery,
) -> Reply<Vec<BackendReport>> {
    let filter: BackendFilter = query(text.as_deref())?;
    let mut services = controller.with(|c| c.service_reports()).await??;
    if let Some(name) = filter.service {
        services.retain(|service| service.name == *name);
        if services.is_empty() {
            return Err(ChangeError::from(CommandError::NoService(name)).into());
        }
    }
    Ok(Json(services.into_iter().flat_map(|service| service.backends).collect()))
}

async fn backend(
    State(controller): State<Handle>,
    Path((service, name)): BackendPath,
) -> Reply<BackendReport> {
    Ok(Json(controller.with(move |c| c.backend(&service, &name)).await??))
}

async fn add(
    State(controller): State<Handle>,
    Path(service): Path<String>,
    bytes: Bytes,
) -> Reply<Changed> {
    let NewBackend { name, address, port, weight } = body(&bytes)?;
    let (weight, limits) = (weight.unwrap_or(Weight::DEFAULT), LoadLimits::default());
    let added = controller.with(move |c| {
        let port = match port {
            Some(port) => port,
            None => c.service_port(&service)?,
        };
        c.add_backend(&service, &Backend { name, address, port, weight, limits })
    });
    Ok(Json(added.await??))
}

async fn remove(
    State(controller): State<Handle>,
    Path((service, name)): BackendPath,
) -> Reply<Changed> {
    Ok(Json(controller.with(move |c| c.remove_backend(&service, &name)).await??))
}

async fn drain(
    State(controller): State<Handle>,
    Path((service, name)): BackendPath,
) -> Reply<Changed> {
    Ok(Json(controller.with(move |c| c.drain(&service, &name, true)).await??))
}

async fn undrain(
    State(controller): State<Handle>,
    Path((service, name)): BackendPath,
) -> Reply<Changed> {
    Ok(Json(controller.with(move |c| c.drain(&service, &name, false)).await??))
}

async fn weigh(
    State(controller): State<Handle>,
    Path((service, name)): BackendPath,
    bytes: Bytes,
) -> Reply<Changed> {
    let NewWeight { weight } = body(&bytes)?;
    Ok(Json(controller.with(move |c| c.weigh(&service, &name, weight)).await??))
}

async fn rebalance(
    State(controller): State<Handle>,
    Path(service): Path<String>,
    bytes: Bytes,
) -> Reply<RebalanceReport> {
    let order = if bytes.is_empty() { RebalanceOrder::default() } else { body(&bytes)? };
    Ok(Json(controller.with(move |c| c.rebalance(&service, order)).await??))
}

async fn rebalancing(
    State(controller): State<Handle>,
    Path(service): Path<String>,
) -> Reply<RebalanceReport> {
    Ok(Json(controller.with(move |c| c.rebalancing(&service, false)).await??))
}

async fn end_rebalancing(
    State(controller): State<Handle>,
    Path(service): Path<String>,
) -> Reply<RebalanceReport> {
    Ok(Json(controller.with(move |c| c.rebalancing(&service, true)).await??))
}

async fn sessions(
    State(controller): State<Handle>,
    Path(service): Path<String>,
    RawQuery(text): RawQuery,
) -> Reply<SessionsReport> {
    let filter: SessionFilter = query(text.as_deref())?;
    Ok(Json(controller.with(move |c| c.sessions(&service, &filter)).await??))
}

async fn forget_sessions(
    State(controller): State<Handle>,
    Path(service): Path<String>,
    RawQuery(text): RawQuery,
) -> Reply<Forgotten> {
    let filter: SessionFilter = query(text.as_deref())?;
    Ok(Json(controller.with(move |c| c.forget_sessions(&service, &filter)).await??))
}

async fn flows(State(controller): State<Handle>, RawQuery(text): RawQuery) -> Reply<Flows> {
    let filter: FlowFilter = query(text.as_deref())?;
    Ok(Json(controller.with(move |c| c.flows(&filter)).await??))
}

async fn explain(State(controller): State<Handle>, RawQuery(text): RawQuery) -> Reply<Explanation> {
    let ExplainQuery { client, vip } = query(text.as_deref())?;
    Ok(Json(controller.with(move |c| c.explain(client, vip)).await??))
}

async fn reload(State(controller): State<Handle>, RawQuery(text): RawQuery) -> Reply<Reloaded> {
    let ReloadQuery { dry_run } = query(text.as_deref())?;
    Ok(Json(controller.with(move |c| c.reload(dry_run)).await??))
}

async fn ring_diff(State(controller): State<Handle>, bytes: Bytes) -> Reply<RingDiffReport> {
    let change: RingChange = if bytes.is_empty() { RingChange::default() } else { body(&bytes)? };
    Ok(Json(controller.with(move |c| c.ring_diff(&change)).await??))
}

async fn healthz(State(controller): State<Handle>) -> Reply<Healthz> {
    let services = controller.with(|c| c.service_reports()).await??;
    let refusing = services.into_iter().filter(|service| service.state == ServiceState::Refusing);
    Ok(Json(Healthz { ok: true, refusing: refusing.map(|service| service.name).collect() }))
}

async fn scrape(State(controller): State<Handle>) -> Result<Response, Refusal> {
    let status = controller.with(|c| c.status()).await??;
    let text = metrics::render(&status, &Process::read());
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn unknown() -> Refusal {
    let hint = "the paths begin with /v1/, such as /v1/status; see also /healthz and /metrics";
    Refusal::new(StatusCode::NOT_FOUND, &"there is nothing at this path", hint)
}
