//! Orders about servers and members: what the path and the body say, as one `Order`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::App;
use super::problem::Problem;
use super::{body, query};
use crate::config::limits::DRAIN_DEADLINE;
use crate::config::yaml;
use crate::core::admin::{AdminState, Then};
use crate::core::control::pair::Side;
use crate::core::control::{Action, Order, OrderReport, PairOrder};

type Answer = Result<Json<OrderReport>, Problem>;
/// `server`, and `pool` where the order is about a member.
type Names = Result<Path<HashMap<String, String>>, PathRejection>;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"state\": \"draining\"}")]
pub struct AdminOrder {
    #[schemars(with = "String", extend("enum" = ["enabled", "draining", "disabled"]))]
    state: AdminState,
    /// Also if nobody else is left.
    #[serde(default)]
    force: bool,
}

/// What needs no more words.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an empty object, {}")]
pub struct Empty {}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"force\": true}")]
pub struct DisableOrder {
    /// Also if nobody else is left.
    #[serde(default)]
    force: bool,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"deadline\": \"30m\"}")]
pub struct DrainOrder {
    /// What is left after this time is reset: 1s to 7d.
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,3}(s|m)$"))]
    deadline: Option<String>,
    #[serde(default)]
    #[schemars(with = "String", extend("enum" = ["nothing", "remove"]))]
    then: Then,
    /// Also if nobody else is left.
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
    let Empty {} = body::json(request, &app.limits, Some(Empty {})).await?;
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"on\": true}")]
pub struct MaintenanceOrder {
    on: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "an object like {\"take\": \"own\"}")]
pub struct ConfigChoice {
    /// This box's, or the other one's.
    #[schemars(with = "String", extend("enum" = ["own", "peer"]))]
    take: Side,
}

pub async fn choose_config(State(app): State<App>, request: Request) -> Result<Json<Ordered>, Problem> {
    let ConfigChoice { take } = body::json(request, &app.limits, None).await?;
    pair_order(app, PairOrder::TakeConfig(take)).await
}

pub async fn hand_over(State(app): State<App>, request: Request) -> Result<Json<Ordered>, Problem> {
    let Empty {} = body::json(request, &app.limits, Some(Empty {})).await?;
    pair_order(app, PairOrder::HandOver).await
}

pub async fn maintenance(State(app): State<App>, request: Request) -> Result<Json<Ordered>, Problem> {
    let MaintenanceOrder { on } = body::json(request, &app.limits, None).await?;
    pair_order(app, PairOrder::Maintenance(on)).await
}

/// It is on its way; the state shows what came of it.
#[derive(Serialize, JsonSchema)]
pub struct Ordered {
    ordered: bool,
}

async fn pair_order(app: App, order: PairOrder) -> Result<Json<Ordered>, Problem> {
    let control = Arc::clone(&app.control);
    app.operate(async move { control.pair_order(order).await }).await??;
    Ok(Json(Ordered { ordered: true }))
}

/// Without a body: a browser asks before it sends any DELETE across origins, and gets no permission.
pub async fn remove(State(app): State<App>, names: Names, uri: Uri) -> Answer {
    let force = query::force(&uri)?;
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
