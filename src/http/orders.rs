//! Orders about servers and members: what the path and the body say, as one `Order`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::Uri;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::App;
use super::body;
use super::problem::{Problem, quoted};
use crate::config::limits::DRAIN_DEADLINE;
use crate::config::yaml;
use crate::core::admin::{AdminState, Then};
use crate::core::control::pair::Side;
use crate::core::control::{Action, Order, OrderReport, PairOrder};

type Answer = Result<Json<OrderReport>, Problem>;
/// `server`, and `pool` where the order is about a member.
type Names = Result<Path<HashMap<String, String>>, PathRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object like {\"state\": \"draining\"}")]
struct AdminOrder {
    state: AdminState,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an empty object, {}")]
struct EnableOrder {}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object like {\"force\": true}")]
struct DisableOrder {
    #[serde(default)]
    force: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object like {\"deadline\": \"30m\"}")]
struct DrainOrder {
    deadline: Option<String>,
    #[serde(default)]
    then: Then,
    #[serde(default)]
    force: bool,
}

pub async fn admin(State(app): State<App>, names: Names, request: Request) -> Answer {
    let AdminOrder { state, force } = body::json(request, &app.limits, None).await?;
    let action = match state {
        AdminState::Enabled => Action::Enable,
        AdminState::Draining => Action::Drain { deadline: None, then: Then::Nothing },
        AdminState::Disabled => Action::Disable,
    };
    carry_out(app, names, action, force).await
}

pub async fn enable(State(app): State<App>, names: Names, request: Request) -> Answer {
    let EnableOrder {} = body::json(request, &app.limits, Some(EnableOrder {})).await?;
    carry_out(app, names, Action::Enable, false).await
}

pub async fn drain(State(app): State<App>, names: Names, request: Request) -> Answer {
    let order: DrainOrder = body::json(request, &app.limits, Some(DrainOrder::default())).await?;
    let deadline = order.deadline.map(|text| {
        let refused = |why| Problem::bad_request(format!("`deadline`: {why}")).with("key", "deadline");
        yaml::time(&text, DRAIN_DEADLINE).map_err(refused)
    });
    let action = Action::Drain { deadline: deadline.transpose()?, then: order.then };
    carry_out(app, names, action, order.force).await
}

pub async fn disable(State(app): State<App>, names: Names, request: Request) -> Answer {
    let DisableOrder { force } = body::json(request, &app.limits, Some(DisableOrder::default())).await?;
    carry_out(app, names, Action::Disable, force).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an empty object, {}")]
struct HandOverOrder {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object like {\"on\": true}")]
struct MaintenanceOrder {
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object like {\"take\": \"own\"}")]
struct ConfigChoice {
    take: Side,
}

pub async fn choose_config(State(app): State<App>, request: Request) -> Result<Json<Value>, Problem> {
    let ConfigChoice { take } = body::json(request, &app.limits, None).await?;
    pair_order(app, PairOrder::TakeConfig(take)).await
}

pub async fn hand_over(State(app): State<App>, request: Request) -> Result<Json<Value>, Problem> {
    let HandOverOrder {} = body::json(request, &app.limits, Some(HandOverOrder {})).await?;
    pair_order(app, PairOrder::HandOver).await
}

pub async fn maintenance(State(app): State<App>, request: Request) -> Result<Json<Value>, Problem> {
    let MaintenanceOrder { on } = body::json(request, &app.limits, None).await?;
    pair_order(app, PairOrder::Maintenance(on)).await
}

async fn pair_order(app: App, order: PairOrder) -> Result<Json<Value>, Problem> {
    let control = Arc::clone(&app.control);
    app.operate(async move { control.pair_order(order).await }).await??;
    Ok(Json(json!({ "ordered": true })))
}

/// Without a body: a browser asks before it sends any DELETE across origins, and gets no permission.
pub async fn remove(State(app): State<App>, names: Names, uri: Uri) -> Answer {
    let force = force(&uri)?;
    carry_out(app, names, Action::Remove, force).await
}

async fn carry_out(app: App, names: Names, action: Action, force: bool) -> Answer {
    let Ok(Path(mut names)) = names else {
        return Err(Problem::bad_request("a name in the path is not UTF-8"));
    };
    let server = names.remove("server").unwrap_or_default();
    let order = Order { server, pool: names.remove("pool"), action, force };
    let control = Arc::clone(&app.control);
    Ok(Json(app.operate(async move { control.order(order).await }).await??))
}

/// Whether the query says `force=true`; it has no other key.
fn force(uri: &Uri) -> Result<bool, Problem> {
    let malformed = || Problem::bad_request("the query is not of the form force=true");
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| malformed())?;
    match pairs.as_slice() {
        [] => Ok(false),
        [(key, value)] if key == "force" => value.parse().map_err(|_| {
            Problem::bad_request(format!("`force` is true or false, not {}", quoted(value))).with("key", "force")
        }),
        [(key, _)] if key != "force" => {
            let problem = Problem::bad_request(format!("there is no query key {}; there is `force`", quoted(key)));
            Err(problem.with("key", key.as_str()).with("expected", vec!["force"]))
        }
        _ => Err(malformed()),
    }
}
