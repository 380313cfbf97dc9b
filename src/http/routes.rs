//! The table: each route once, with who may, what it takes and what it answers.

use axum::http::Method;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::config::{Archived, ConfigReport, HoldOrder, Notes, ReplaceOrder, YAML};
use super::login::{Login, SessionReport};
use super::orders::{AdminOrder, ConfigChoice, DisableOrder, DrainOrder, Empty, MaintenanceOrder, Ordered};
use super::route::Route;
use super::tokens::{TokenOrder, TokenReport};
use super::{api, changes, config, login, looking, orders, people, tokens};
use crate::access::{ADMIN, METRICS, OPERATOR, VIEWER};
use crate::config::limits::{FILE_BYTES_MAX, Range};
use crate::config::{LogSeverity, Name};
use crate::core::control::capture::{CAPTURE_PACKETS, CAPTURE_SECONDS, TOP_ROWS, TopRow};
use crate::core::control::{
    ConnectionRow, Explanation, HistoryState, LIMIT_DEFAULT, LIMIT_MAX, OrderReport, ReloadReport, State,
};
use crate::core::events::{Class, EventPage, LIMIT_DEFAULT as EVENTS_DEFAULT, LIMIT_MAX as EVENTS_MAX};

const NO_SUCH: &str = "There is no such thing.";
const CONFLICT: &str = "It is not done, because of how things are; the detail says what to do.";

/// All of them.
pub fn routes() -> Vec<Route> {
    [of_everybody(), looks(), packets(), servers(), pair(), configuration(), people()].into_iter().flatten().collect()
}

fn get<H: axum::handler::Handler<T, api::App>, T: 'static>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: H,
) -> Route {
    Route::new(Method::GET, path, id, summary, handler)
}

fn post<H: axum::handler::Handler<T, api::App>, T: 'static>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: H,
) -> Route {
    Route::new(Method::POST, path, id, summary, handler)
}

fn put<H: axum::handler::Handler<T, api::App>, T: 'static>(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    handler: H,
) -> Route {
    Route::new(Method::PUT, path, id, summary, handler)
}

/// Schema of a name of the configuration.
fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": Name::LENGTH_MAX, "pattern": "^[A-Za-z0-9._-]+$" })
}

/// Schema of an address of either family.
fn address() -> Value {
    json!({ "anyOf": [{ "type": "string", "format": "ipv4" }, { "type": "string", "format": "ipv6" }] })
}

/// What whoever may connect may ask.
fn of_everybody() -> Vec<Route> {
    vec![
        get("/healthz", "health", "That the daemon is alive", api::health).answers::<api::Health>(),
        post("/api/v1/login", "logIn", "A session of a user of the command line, as a cookie", login::log_in)
            .takes::<Login>()
            .answers::<SessionReport>()
            .fails(401, "User and password do not belong together.")
            .fails(403, "A page of another site asks.")
            .fails(429, "Too many tries with wrong tokens or passwords came from here."),
        get("/api/v1/session", "session", "Who asks, and what he may", login::who)
            .answers::<SessionReport>()
            .fails(401, "The token is not good.")
            .fails(429, "Too many tries with wrong tokens or passwords came from here."),
    ]
}

fn looks() -> Vec<Route> {
    let words = |words: &[&str]| json!({ "type": "string", "enum": words });
    vec![
        get("/metrics", "metrics", "The state, as Prometheus reads it", api::metrics)
            .for_level(METRICS)
            .answers_text(prometheus::TEXT_FORMAT),
        post("/api/v1/logout", "logOut", "Ends the session", login::log_out)
            .for_level(METRICS)
            .fails(409, "There is no session."),
        get("/api/v1/openapi.json", "description", "This description", api::description)
            .for_level(METRICS)
            .answers::<serde_json::Map<String, Value>>(),
        get("/api/v1/version", "version", "Which program it is", api::version)
            .for_level(VIEWER)
            .answers::<api::Version>(),
        get("/api/v1/state", "state", "All that is true now", api::state).for_level(VIEWER).answers::<State>(),
        get("/api/v1/history", "history", "What the servers did in the last half hour, for graphs", api::history)
            .for_level(VIEWER)
            .answers::<HistoryState>(),
        get("/api/v1/changes", "changes", "What changes of the state, as server-sent events", api::changes)
            .for_level(VIEWER)
            .header("Last-Event-ID", json!({ "type": "string", "maxLength": 64 }), "The event that was seen last.")
            .answers_text(changes::media_type()),
        get(
            "/api/v1/events",
            "events",
            "What has happened, the oldest first; the last, or those before or behind one",
            api::events,
        )
        .for_level(VIEWER)
        .query("class", words(&Class::ALL.map(Class::word)), "Of this class.")
        .query("severity", words(&LogSeverity::ALL.map(LogSeverity::word)), "As bad as this, or worse.")
        .query("since", json!({ "type": "integer", "minimum": 0 }), "Not before this, Unix time in seconds.")
        .query("before", json!({ "type": "integer", "minimum": 0 }), "With a lesser number: the page before.")
        .query("after", json!({ "type": "integer", "minimum": 0 }), "With a greater number: what has come since.")
        .query(
            "limit",
            json!({ "type": "integer", "minimum": 1, "maximum": EVENTS_MAX, "default": EVENTS_DEFAULT }),
            "At most so many.",
        )
        .answers::<EventPage>(),
        get("/api/v1/connections", "connections", "Established connections, streamed", api::connections)
            .for_level(VIEWER)
            .query("client", address(), "Of this client.")
            .query("virtual_server", name(), "To this virtual server.")
            .query("service", name(), "To services of this name.")
            .query("server", name(), "To this server.")
            .query("protocol", words(&["tcp", "udp"]), "Of this protocol.")
            .query("state", words(&["unproven", "established", "closing", "closed"]), "In this state.")
            .query(
                "limit",
                json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT }),
                "At most so many.",
            )
            .query("format", words(&["json", "ndjson"]), "One array, or an object on each line.")
            .answers::<Vec<ConnectionRow>>()
            .answers_text("application/x-ndjson"),
    ]
}

/// What the data plane does.
fn packets() -> Vec<Route> {
    let number = |range: Range| json!({ "type": "integer", "minimum": range.min, "maximum": range.max });
    let port = || json!({ "type": "integer", "minimum": 1, "maximum": 65535 });
    let flag = || json!({ "type": "boolean" });
    let text = || json!({ "type": "string", "minLength": 1 });
    const BUSY: &str = "A capture or a count is under way, or the daemon does not answer.";
    vec![
        get("/api/v1/explain", "explain", "What would become of a packet now, and why", looking::explain)
            .for_level(VIEWER)
            .needs("virtual_server", name(), "To this virtual server.")
            .needs("service", name(), "To this service of it.")
            .needs("client", address(), "From this address.")
            .needs("client_port", port(), "And this port.")
            .query("port", port(), "To this port of the service; the first if not said.")
            .query("address", address(), "To this address of the virtual server; the first of the family if not said.")
            .query("later", flag(), "TCP: a packet of a connection, not its first.")
            .query("interface", text(), "In by this port of the switch; the first uplink if not said.")
            .answers::<Explanation>()
            .fails(404, NO_SUCH),
        get("/api/v1/capture", "capture", "Packets as they pass, with what becomes of them", looking::capture)
            .for_level(ADMIN)
            .query("virtual_server", name(), "Of a service of this virtual server.")
            .query("service", name(), "Of this service.")
            .query("network", text(), "From or to this address or network.")
            .query("port", port(), "From or to this port.")
            .query("protocol", json!({ "type": "string", "enum": ["tcp", "udp"] }), "Of this protocol.")
            .query("seconds", number(CAPTURE_SECONDS), "For so long.")
            .query("packets", number(CAPTURE_PACKETS), "At most so many.")
            .query("whole", flag(), "With mail and passwords, not only headers.")
            .answers_text(looking::PCAPNG)
            .fails(404, NO_SUCH)
            .fails(503, BUSY),
        get("/api/v1/top", "top", "Who uses a service most, counted for a while", looking::top)
            .for_level(ADMIN)
            .needs("virtual_server", name(), "Of this virtual server.")
            .needs("service", name(), "Of this service.")
            .query("seconds", json!({ "type": "integer", "minimum": 1, "maximum": 29 }), "For so long; 2 if not said.")
            .query("rows", number(TOP_ROWS), "At most so many clients.")
            .answers::<Vec<TopRow>>()
            .fails(404, NO_SUCH)
            .fails(503, BUSY),
    ]
}

/// Orders about a server in all its pools, and about one in a pool.
fn servers() -> Vec<Route> {
    let order =
        |route: Route| route.for_level(OPERATOR).answers::<OrderReport>().fails(404, NO_SUCH).fails(409, CONFLICT);
    let mut routes = vec![
        post("/api/v1/config/reload", "reload", "Read the configuration file again", api::reload)
            .for_level(OPERATOR)
            .may_take::<Empty>()
            .answers::<ReloadReport>()
            .fails(422, "The file has errors; nothing has changed."),
        order(
            put("/api/v1/servers/{server}/admin", "setServer", "Set the administrative state", orders::admin)
                .takes::<AdminOrder>(),
        ),
    ];
    macro_rules! subject {
        ($path:literal, $remove:literal, $enable:literal, $drain:literal, $disable:literal) => {
            routes.extend(
                [
                    removal($path, $remove),
                    takes::<Empty>(post(concat!($path, "/enable"), $enable, "New connections again", orders::enable)),
                    takes::<DrainOrder>(post(concat!($path, "/drain"), $drain, "No new connections", orders::drain)),
                    takes::<DisableOrder>(post(
                        concat!($path, "/disable"),
                        $disable,
                        "As if it had failed",
                        orders::disable,
                    )),
                ]
                .map(order),
            );
        };
    }
    subject!("/api/v1/servers/{server}", "removeServer", "enableServer", "drainServer", "disableServer");
    subject!("/api/v1/pools/{pool}/members/{server}", "removeMember", "enableMember", "drainMember", "disableMember");
    routes
}

fn takes<T: JsonSchema>(route: Route) -> Route {
    route.may_take::<T>()
}

fn removal(path: &'static str, id: &'static str) -> Route {
    Route::new(Method::DELETE, path, id, "Out of the configuration", orders::remove).query(
        "force",
        json!({ "type": "boolean" }),
        "Also what is not drained: its connections are ended.",
    )
}

fn pair() -> Vec<Route> {
    let order = |route: Route| {
        route.for_level(OPERATOR).answers::<Ordered>().fails(404, "There is no pair.").fails(409, CONFLICT)
    };
    vec![
        order(
            post("/api/v1/pair/handover", "handOver", "The other box shall own", orders::hand_over).may_take::<Empty>(),
        ),
        order(
            put(
                "/api/v1/pair/maintenance",
                "maintenance",
                "This box shall own nothing, or may again",
                orders::maintenance,
            )
            .takes::<MaintenanceOrder>(),
        ),
        order(
            post("/api/v1/pair/config", "chooseConfig", "Which of two configurations counts", orders::choose_config)
                .takes::<ConfigChoice>(),
        ),
    ]
}

fn configuration() -> Vec<Route> {
    const TREE: &str = "With the keys of docs/configuration.md.";
    let which = || json!({ "type": "string", "pattern": "^(running|startup|[0-9]{1,8})$" });
    let order = |route: Route| {
        let route = route.for_level(ADMIN).answers::<Notes>();
        route.fails(409, CONFLICT).fails(422, "It is refused; nothing has changed.")
    };
    vec![
        get("/api/v1/config", "config", "The configuration in force", config::running)
            .for_level(VIEWER)
            .query("format", json!({ "type": "string", "enum": ["json", "yaml"] }), TREE)
            .answers::<ConfigReport>()
            .answers_text(YAML),
        put("/api/v1/config", "configure", "Put another configuration in force", config::replace_all)
            .for_level(ADMIN)
            .header("If-Match", json!({ "type": "string", "pattern": "^\"[0-9]+\"$" }), "The ETag of what is replaced.")
            .takes_text::<serde_json::Map<String, Value>>(YAML, FILE_BYTES_MAX as usize)
            .answers::<ReloadReport>()
            .fails(409, CONFLICT)
            .fails(412, "It was changed by somebody else meanwhile.")
            .fails(422, "It is refused; nothing has changed.")
            .fails(428, "The request does not say what it replaces."),
        order(
            post("/api/v1/config/save", "save", "The file shall say what is in force", config::save)
                .may_take::<Empty>(),
        ),
        order(
            post("/api/v1/config/hold", "hold", "It becomes what it is now, unless confirmed in time", config::hold)
                .takes::<HoldOrder>(),
        ),
        order(post("/api/v1/config/confirm", "confirm", "What is in force stays", config::confirm).may_take::<Empty>()),
        order(post("/api/v1/config/revert", "revert", "It becomes what it was", config::revert).may_take::<Empty>()),
        order(
            post("/api/v1/config/replace", "replace", "What was saved comes into force", config::replace)
                .takes::<ReplaceOrder>()
                .fails(404, NO_SUCH)
                .fails(412, "It was changed by somebody else meanwhile."),
        ),
        get("/api/v1/config/archive", "archive", "Configurations that were saved over", config::archive)
            .for_level(ADMIN)
            .answers::<Vec<Archived>>(),
        get(
            "/api/v1/config/archive/{which}",
            "archived",
            "One of them, or `startup`: what the file says",
            config::archived,
        )
        .for_level(ADMIN)
        .answers_text(YAML)
        .fails(404, NO_SUCH)
        .fails(422, "The file has errors."),
        get(
            "/api/v1/config/differences",
            "differences",
            "What one configuration says and another one does not",
            config::differences,
        )
        .for_level(ADMIN)
        .query("from", which(), "running, startup (if not said), or a number of the archive.")
        .query("to", which(), "The same; running if not said.")
        .answers::<config::Differences>()
        .fails(404, NO_SUCH)
        .fails(422, "The file has errors."),
        post("/api/v1/tokens/{token}", "generateToken", "A new token, told this once", tokens::generate)
            .for_level(ADMIN)
            .may_take::<TokenOrder>()
            .answers::<TokenReport>()
            .fails(409, CONFLICT)
            .fails(412, "The configuration was changed by somebody else meanwhile.")
            .fails(422, "It is refused; nothing has changed."),
    ]
}

fn people() -> Vec<Route> {
    vec![
        get("/api/v1/lines", "lines", "Who is logged in at the command line", people::list)
            .for_level(VIEWER)
            .answers::<Vec<people::LineReport>>(),
        Route::new(Method::DELETE, "/api/v1/lines/{number}", "clearLine", "End a session of it", people::end)
            .for_level(ADMIN)
            .fails(404, NO_SUCH),
        get("/api/v1/log", "log", "The last that the daemon has written down", people::log)
            .for_level(ADMIN)
            .query(
                "limit",
                json!({ "type": "integer", "minimum": 1, "maximum": people::LINES_MAX }),
                "At most so many.",
            )
            .answers::<people::Log>(),
        get("/api/v1/ssh", "ssh", "The SSH listener", people::ssh).for_level(ADMIN).answers::<people::SshReport>(),
    ]
}
